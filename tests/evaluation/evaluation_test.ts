// Figures about answers, by hand; accuracy by intent; the lookup baseline.

import { assert, assertEquals } from "@std/assert";
import type { Entry } from "../../src/data/mod.ts";
import {
  acceptedAnswers,
  copiedFrom,
  distinct,
  isRight,
  nearestQuestion,
  sequenceRepetition,
  tokenF1,
} from "../../src/evaluation/mod.ts";

Deno.test("distinct, seq-rep-4 and token F1 by hand", () => {
  assertEquals(distinct(["a b a", "A c"], 1), 3 / 5);
  assertEquals(distinct(["a b a", "a c"], 2), 1);
  assertEquals(distinct([""], 1), 1);
  // 4-grams of "a b c d a b c d": abcd bcda cdab dabc abcd, one of five said before.
  assert(Math.abs(sequenceRepetition(["a b c d a b c d", "x"]) - 0.1) < 1e-12);
  assertEquals(tokenF1("The cat sat.", "the cat ran away"), 2 * 2 / 7);
  assertEquals(tokenF1("a a b", "a c"), 2 * 1 / 5);
  assertEquals(tokenF1("", "a"), 0);
});

Deno.test("copiedFrom: five words or more, word for word", () => {
  const isCopied = copiedFrom(["One two three four five six.", "Seven eight."]);
  assert(isCopied("two, three FOUR five six"));
  assert(!isCopied("two three four five"));
  assert(!isCopied("two three five six seven"));
  assert(!isCopied("four five six seven eight"));
});

function pair(question: string, answer: string, intent: string): Entry {
  const messages = [
    { role: "user" as const, content: question },
    { role: "assistant" as const, content: answer },
  ];
  return { kind: "conversation", messages, source: "x", intent };
}

const entries = [
  pair("What is red?", "Red is a warm colour of long waves.", "red"),
  pair("What is blue?", "Blue is a cold colour of short waves.", "blue"),
  pair("Say blue", "Blue is the colour of the sky.", "blue"),
];

Deno.test("isRight: like enough to an accepted answer, and more than to any other intent's", () => {
  const answers = acceptedAnswers(entries);
  assert(isRight(answers, "blue", "Blue is the colour of the sky."));
  assert(isRight(answers, "blue", "blue is a cold colour of short waves"));
  assert(isRight(answers, "blue", "Blue is a colour of short waves"));
  assert(!isRight(answers, "blue", "Red is a warm colour of long waves."));
  assert(!isRight(answers, "red", "Blue is a cold colour of waves."));
  assert(!isRight(answers, "blue", "I do not know."));
  assert(!isRight(answers, "other", "Blue is the colour of the sky."));
});

Deno.test("nearestQuestion: the answer of the question with the same rare words", () => {
  const lookup = nearestQuestion(entries);
  assertEquals(lookup("is it red, what?"), "Red is a warm colour of long waves.");
  assertEquals(lookup("please say the blue thing"), "Blue is the colour of the sky.");
});
