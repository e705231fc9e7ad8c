// Planted faults are found, and nothing else.

import { assertEquals } from "@std/assert";
import { type Entry, findFaults, likeness, shinglesOf } from "../../src/data/mod.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";

const options = { tokenizer: loadTokenizer(), maxTokens: 40, threshold: 0.75 };

function pair(question: string, answer: string, intent?: string): Entry {
  return {
    kind: "conversation",
    messages: [{ role: "user", content: question }, { role: "assistant", content: answer }],
    source: question.slice(0, 12),
    ...(intent === undefined ? {} : { intent }),
  };
}

function kinds(...files: Entry[][]) {
  const named = files.map((entries, i) => ({ path: `file ${i}`, entries }));
  return findFaults(named, options).map(({ kind, serious }) => serious ? kind.toUpperCase() : kind);
}

const RED = pair("What is the colour red like?", "Warm.", "red");

Deno.test("likeness: shared words and pairs over all of them", () => {
  assertEquals(likeness(shinglesOf("a b c"), shinglesOf("A, b!")), 3 / 5);
  assertEquals(likeness(shinglesOf("a"), shinglesOf("b")), 0);
});

Deno.test("a sound corpus has no fault", () => {
  const other = pair("How cold is blue?", "Rather cold.", "blue");
  assertEquals(kinds([RED, other], [pair("Tell me what red looks like.", "Warm.", "red")]), []);
});

Deno.test("planted faults are found", () => {
  assertEquals(kinds([RED, pair("what is the COLOUR red like", "Warm.", "red")]), ["DUPLICATE"]);
  assertEquals(kinds([RED, pair("So what is the colour red like?", "Warm.", "red")]), [
    "near duplicate",
  ]);
  assertEquals(kinds([RED], [pair("So what is the colour red like?", "Warm.", "red")]), ["LEAK"]);
  assertEquals(kinds([RED, pair("What is the colour red like?", "Cold.", "blue")]), [
    "CONTRADICTION",
  ]);
  assertEquals(kinds([pair("One?", "Yes."), pair("one", "No.")]), ["contradiction"]);
  assertEquals(kinds([pair("Why?", "so it ".repeat(60))]), ["too long"]);
  assertEquals(kinds([pair("Why?", "It\u2019s cafe\u0301.")]), ["encoding"]);
  assertEquals(kinds([pair("Why?", "Open it with With care.")]), ["repeated word"]);
  // Not of a question, which nobody learns to say; nor parts of words, nor across a mark.
  assertEquals(kinds([pair("Why why?", "The then there, there is a late tea.")]), []);
  assertEquals(kinds([pair("Why?", "Itâ€™s so.")]), ["ENCODING"]);
  assertEquals(kinds([pair("Why?", "It \uFFFD.")]), ["ENCODING"]);
});
