// The response filter: what it takes away, and that nothing shown is ever taken back.

import { assert, assertEquals } from "@std/assert";
import {
  ALL_RULES,
  copies,
  type FilterOptions,
  ResponseFilter,
  type RuleName,
} from "../../src/generation/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import { formats } from "../../src/tokenizer/mod.ts";

/** The text that a filter leaves of a whole answer, and the rules that took something away. */
function filtered(text: string, cut = false, options: FilterOptions = ALL_RULES) {
  const filter = new ResponseFilter(options);
  const { ended } = filter.push(text, cut);
  if (!ended) filter.finish(cut);
  return { text: filter.text, rules: filter.removals.map(({ rule }) => rule) };
}

Deno.test("loop: a word five times, a phrase three times, a sentence twice become one", () => {
  const loops: [string, string][] = [
    ["It is very very very very very nice", "It is very"],
    ["I can help. I can do it, I can do it, I can do it, I can", "I can help. I can do it,"],
    ["So the heavy stone the heavy stone the heavy stone", "So the heavy stone"],
    [
      "A list keeps its items in order. A list keeps its items in order.",
      "A list keeps its items in order.",
    ],
    ["One two three four five six, ONE two three four five six", "One two three four five six,"],
  ];
  for (const [said, left] of loops) assertEquals(filtered(said), { text: left, rules: ["loop"] });
});

Deno.test("loop: what people do say stays", () => {
  const fine = [
    "No, no, no! That is very, very good.",
    "Bye bye. Bye bye!",
    "Step by step by step we learn.",
    "A cat is a cat and a dog is a dog.",
    "",
  ];
  for (const text of fine) assertEquals(filtered(text), { text, rules: [] });
});

Deno.test("speaker: the answer ends before the next turn, in every format", () => {
  for (const { user, assistant } of Object.values(formats)) {
    for (const label of [user, assistant].filter((label) => label !== "")) {
      assertEquals(filtered(`Yes.\n${label} And now?`), { text: "Yes.", rules: ["speaker"] });
      assertEquals(filtered(`Yes.\n${label}`), { text: "Yes.", rules: ["speaker"] });
    }
  }
  assertEquals(filtered("A: is a letter.\nHumans: many.").rules, []);
});

Deno.test("half sentence: goes when the length limit struck, unless there is no whole one", () => {
  assertEquals(filtered("It is so. And then", true), {
    text: "It is so.",
    rules: ["half-sentence"],
  });
  assertEquals(filtered('He said "Go!" And then', true).text, 'He said "Go!"');
  assertEquals(filtered("It is so. And then", false).text, "It is so. And then");
  assertEquals(filtered("And then it", true), { text: "And then it", rules: [] });
  assertEquals(filtered("It costs 3.50 or so", true).text, "It costs 3.50 or so");
});

Deno.test("rules that are switched off do nothing", () => {
  const without = (...off: RuleName[]): FilterOptions => ({
    rules: new Set([...ALL_RULES.rules].filter((rule) => !off.includes(rule))),
  });
  const loop = "so so so so so so", turn = "Yes.\nHuman: so", half = "Yes. And";
  assertEquals(filtered(loop, false, without("loop")).text, loop);
  assertEquals(filtered(turn, false, without("speaker")).text, turn);
  assertEquals(filtered(half, true, without("half-sentence")).text, half);
});

Deno.test("copies: the question in other dress, nothing else", () => {
  assert(copies("What is Python?", "what is python"));
  assert(!copies("What is Python?", "Python is a language."));
  assert(!copies("?", ""));
});

Deno.test("whatever comes in whatever pieces, what was shown is the final text", () => {
  const random = randomNumbers(11);
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)]!;
  const parts = [
    ..."the a cat dog runs. runs, so! (so) - \u2026 3.5 I".split(" ").map((word) => ` ${word}`),
    ...["\n", "\nHuman", ":", "\nA", "\nQ:", " x", "yz", ".", "  ", " the cat runs. the cat runs."],
  ];
  for (let round = 0; round < 4000; round++) {
    const rules = new Set([...ALL_RULES.rules].filter(() => random() < 0.8));
    const filter = new ResponseFilter({ rules });
    const words = parts.slice(Math.floor(random() * 12)).slice(0, 2 + Math.floor(random() * 20));
    const length = Math.floor(random() * 40), near = random() * length;
    let shown = "", all = "", ended = false;
    for (let i = 0; i < length && !ended; i++) {
      const piece = pick(words);
      all += piece;
      const result = filter.push(piece, i > near);
      shown += result.shown;
      ended = result.ended;
      assertEquals(shown, filter.text, JSON.stringify(all));
    }
    if (!ended) shown += filter.finish(random() < 0.5);
    assertEquals(shown, filter.text, JSON.stringify(all));
    assert(all.startsWith(shown), JSON.stringify([all, shown]));
    const removed = filter.removals.map((removal) => removal.removed).join("");
    assertEquals((shown + removed).replaceAll(/\s/g, "").length <= all.length, true);
  }
});
