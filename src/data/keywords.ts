// Made-up questions of a few telling words, for data that name their intents: words of an answer, or of two
// questions of the same intent. They teach which words belong together when each intent has few questions.

import { randomNumbers } from "../random.ts";
import type { Conversation, Entry } from "./entry.ts";
import { UNKNOWN } from "./entry.ts";

/** Words that tell nothing about what a question is about. */
const COMMON = new Set(
  ("a an the is are was were do does did i you it in on of to for and or what how why when where who " +
    "which can could my me your tell about explain please with from by at as be this that have has " +
    "there not no get use used like one any some many much between more most into than out if so up " +
    "will would should they them its their such also but then each only own").split(" "),
);

/** How such questions are put. */
const FRAMES = [
  "{}",
  "{}?",
  "What has to do with {}?",
  "Explain {}.",
  "I mean {}.",
  "It is about {}.",
  "{} what is that",
  "How is it with {}?",
  "Something with {}, what is it?",
  "What do you call it: {}?",
];

function tellingWords(text: string): string[] {
  const words = text.match(/[\p{L}\p{N}+#.'-]*[\p{L}\p{N}+#]/gu) ?? [];
  return words.filter((word) => !COMMON.has(word.toLowerCase()));
}

/** `count` different items, in random order. */
function draw<T>(from: readonly T[], count: number, random: () => number): T[] {
  const left = [...from];
  return Array.from(
    { length: Math.min(count, left.length) },
    () => left.splice(Math.floor(random() * left.length), 1)[0]!,
  );
}

function between(low: number, high: number, random: () => number): number {
  return low + Math.floor(random() * (high - low + 1));
}

/** A question and its answer of one intent. */
interface Pair {
  readonly question: string;
  readonly answer: string;
}

function pairOf({ messages }: Conversation): Pair {
  const of = (role: string) => messages.findLast((message) => message.role === role)?.content ?? "";
  return { question: of("user"), answer: of("assistant") };
}

/**
 * `count` questions of words of the answers, and as many of words of the questions, for every intent among the
 * entries but "unknown". The same seed gives the same.
 */
export function keywordQuestions(
  entries: readonly Entry[],
  count: number,
  seed: number,
): Conversation[] {
  const random = randomNumbers(seed);
  const intents = Map.groupBy(
    entries.filter((entry): entry is Conversation =>
      entry.kind === "conversation" && entry.intent !== undefined && entry.intent !== UNKNOWN
    ),
    ({ intent }) => intent!,
  );
  return [...intents].flatMap(([intent, group]) => {
    const pairs = group.map(pairOf);
    const ask = (words: readonly string[], answer: string): Conversation => ({
      kind: "conversation",
      messages: [
        { role: "user", content: draw(FRAMES, 1, random)[0]!.replace("{}", words.join(" ")) },
        { role: "assistant", content: answer },
      ],
      source: `made up for ${intent}`,
      intent,
    });
    return Array.from({ length: count }, () => {
      const [{ answer }] = draw(pairs, 1, random) as [Pair];
      const some = draw(tellingWords(answer), between(2, 5, random), random);
      const [first, second = first] = draw(pairs, 2, random) as [Pair, Pair?];
      const mixed = [first, second].flatMap(({ question }) =>
        draw(tellingWords(question), between(1, 3, random), random)
      );
      return [ask(some, answer), ask(draw(mixed, mixed.length, random), first.answer)];
    }).flat().filter(({ messages }) => /[\p{L}\p{N}]/u.test(messages[0]!.content));
  });
}
