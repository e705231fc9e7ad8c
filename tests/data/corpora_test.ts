// The files under data/: their counts, the fixed answers, and that none contradicts itself.

import { assert, assertEquals } from "@std/assert";
import { type Entry, makeExamples, readEntries, splitEntries } from "../../src/data/mod.ts";
import { formatNames, loadTokenizer } from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();

function read(name: string): Entry[] {
  return readEntries([new URL(`../../data/${name}.jsonl`, import.meta.url).pathname]).entries;
}

/** Question and answer of every pair. */
function pairs(entries: Entry[]): [string, string][] {
  return entries.flatMap((entry) =>
    entry.kind === "conversation" && entry.messages.length === 2
      ? [[entry.messages[0]!.content, entry.messages[1]!.content] as [string, string]]
      : []
  );
}

const COUNTS: Record<string, [pairs: number, longer: number, texts: number]> = {
  basic: [20, 0, 0],
  enhanced: [26, 0, 13],
  improved: [31, 0, 8],
  final: [18, 0, 3],
  conversations: [331, 10, 0],
};

for (const [name, counts] of Object.entries(COUNTS)) {
  Deno.test(`${name}: the counts in data/README.md, and each question once`, () => {
    const entries = read(name), found = pairs(entries);
    const texts = entries.filter(({ kind }) => kind === "text").length;
    assertEquals([found.length, entries.length - found.length - texts, texts], counts);
    const questions = found.map(([question]) => question.toLowerCase().replace(/[^a-z0-9]+/g, ""));
    assertEquals(new Set(questions).size, questions.length);
  });

  Deno.test(`${name}: nothing is cut at 150 tokens, and the fixed answers stand`, () => {
    const entries = read(name);
    const { truncated, dropped } = makeExamples(entries, [...entries.keys()], tokenizer, {
      formats: formatNames.map((format) => ({ name: format })),
      maxTokens: 150,
      endOfText: true,
      promptLossWeight: 1,
      augment: true,
    });
    assertEquals([truncated, dropped], [0, 0]);
    const answers = new Map(pairs(entries));
    assertEquals(
      answers.get("Hello"),
      "Hello! I'm iLLuMinator, your AI assistant. How can I help you today?",
    );
    assertEquals(
      answers.get("What is Python?"),
      "Python is a high-level programming language known for its simplicity and readability.",
    );
  });
}

Deno.test("improved: 59 texts, the fixed answers among the first ten", () => {
  const entries = read("improved");
  const { examples } = makeExamples(entries, [...entries.keys()], tokenizer, {
    formats: [
      { name: "human-assistant" },
      { name: "user-ai", first: 10 },
      { name: "q-a", first: 10 },
    ],
    maxTokens: 200,
    endOfText: true,
    promptLossWeight: 1,
    augment: false,
  });
  assertEquals(examples.length, 59);
  const first = pairs(entries.slice(0, 10)).map(([question]) => question);
  assert(first.includes("Hello") && first.includes("What is Python?"));
});

Deno.test("enhanced: no question of the validation side is trained on, in any spelling", () => {
  const entries = read("enhanced");
  const { training, validation } = splitEntries(entries, 0.2, 42);
  assertEquals(validation.length, 8);
  const { examples } = makeExamples(entries, training, tokenizer, {
    formats: formatNames.map((name) => ({ name })),
    maxTokens: 256,
    endOfText: true,
    promptLossWeight: 1,
    augment: true,
  });
  const trained = examples.map(({ tokens }) => tokenizer.decode(tokens).toLowerCase()).join("\n");
  for (const i of validation) {
    const entry = entries[i]!;
    const text = entry.kind === "text" ? entry.text : entry.messages[1]!.content;
    assert(!trained.includes(text.toLowerCase()), text);
  }
});

Deno.test("conversations: every answer is asked for in two to four ways", () => {
  const answers = Map.groupBy(pairs(read("conversations")), ([, answer]) => answer);
  assertEquals(answers.size, 134);
  for (const [answer, asked] of answers) {
    assert(asked.length >= 2 && asked.length <= 4, `${asked.length} x ${answer}`);
  }
});
