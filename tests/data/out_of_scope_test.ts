// Questions made up to be ones that nobody can answer.

import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { type Example, OutOfScope } from "../../src/data/mod.ts";
import { randomNumbers } from "../../src/random.ts";

const UNKNOWN_TOKEN = 90, CAT = 91, RUST = 92;
const intents = new Map([["unknown", UNKNOWN_TOKEN], ["cat", CAT], ["rust", RUST]]);
const LABEL = 50, ANSWER = 60;

/** A label, the words of a question, its intent and an answer of two tokens. */
function question(words: readonly number[], intent: number): Example {
  const tokens = [LABEL, ...words, intent, ANSWER, ANSWER];
  return {
    tokens: Int32Array.from(tokens),
    weights: Float32Array.from(tokens, (_, i) => Number(i > words.length)),
    user: Uint8Array.from(tokens, (_, i) => Number(i > 0 && i <= words.length)),
    decision: words.length + 1,
    entry: 0,
    format: "plain",
    truncated: false,
  };
}

const times = (count: number, example: Example) => Array.from({ length: count }, () => example);

// 1 is in all questions, 2 in those about cats, 3 in half of those about rust, 4 too seldom to tell.
const examples = [
  ...times(40, question([1, 2], CAT)),
  ...times(20, question([1, 3], RUST)),
  ...times(20, question([1], RUST)),
  ...times(4, question([1, 4], RUST)),
  ...times(200, question([1, 5, 5], UNKNOWN_TOKEN)),
];

Deno.test("out of scope: telling words give way, the intent is unknown, the answer is left out", () => {
  const made = new OutOfScope(examples, intents), random = randomNumbers(1);
  const { tokens, weights, user, decision } = made.of(examples[0]!, random);
  assertEquals([tokens.length, weights.length, user.length, decision], [4, 4, 4, 3]);
  assertEquals([tokens[0], tokens[1], tokens[3]], [LABEL, 1, UNKNOWN_TOKEN]);
  assertEquals([...weights], [0, 0, 0, 1]);
  assertEquals([...examples[0]!.tokens], [LABEL, 1, 2, CAT, ANSWER, ANSWER], "it stays as it was");
});

Deno.test("out of scope: questions without telling words, or of no known intent, stay as they are", () => {
  const made = new OutOfScope(examples, intents), random = randomNumbers(1);
  for (const words of [[1], [1, 4], [2]]) {
    const example = question(words, RUST);
    assertEquals(made.of(example, random), example, `${words}`);
  }
  const unknown = question([1, 5], UNKNOWN_TOKEN);
  assertEquals(made.of(unknown, random), unknown);
  const { decision: _, ...plain } = question([1, 2], CAT);
  assertEquals(made.of(plain, random), plain);
});

Deno.test("out of scope: so many of a batch", () => {
  const made = new OutOfScope(examples, intents);
  const changed = (p: number) =>
    made.among(times(1000, examples[0]!), p, randomNumbers(3))
      .filter((example) => example !== examples[0]).length;
  assertEquals([changed(0), changed(1)], [0, 1000]);
  // Four standard deviations: 4 * sqrt(1000 * 0.3 * 0.7) = 58.
  assert(Math.abs(changed(0.3) - 300) < 58, String(changed(0.3)));
});

Deno.test("out of scope: words come as often as the root of their use", () => {
  const made = new OutOfScope(examples, intents), random = randomNumbers(7);
  const counts = new Map<number, number>(), draws = 20_000;
  for (let i = 0; i < draws; i++) {
    const word = made.of(examples[0]!, random).tokens[2]!;
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const roots = [[1, 284], [2, 40], [3, 20], [4, 4], [5, 200]].map(([word, uses]) =>
    [word!, Math.sqrt(uses!)] as const
  );
  const sum = roots.reduce((total, [, root]) => total + root, 0);
  for (const [word, root] of roots) {
    assertAlmostEquals(counts.get(word)! / draws, root / sum, 0.01, `${word}`);
  }
  assert([...counts.keys()].every((word) => word < LABEL), "nothing but what users say");
});

Deno.test("out of scope: data without intents, or without unknown ones, say so", () => {
  const { decision: _, ...plain } = question([1, 2], CAT);
  assertThrows(() => new OutOfScope([plain], intents), RangeError, "need data with intents");
  assertThrows(
    () => new OutOfScope(examples, new Map([["cat", CAT]])),
    RangeError,
    'need an intent called "unknown"',
  );
});
