// Splits where one question is asked very often, and readers for files with the wrong ending.

import { assert, assertEquals } from "@std/assert";
import { type Entry, readEntries, splitEntries } from "../../src/data/mod.ts";

function pair(question: string): Entry {
  const messages = [
    { role: "user", content: question },
    { role: "assistant", content: "x" },
  ] as const;
  return { kind: "conversation", messages, source: question };
}

Deno.test("a question asked very often does not take the data to the validation side", () => {
  const entries = Array.from({ length: 100 }, (_, i) => pair(i < 90 ? "Why?" : `Question ${i}`));
  for (let seed = 0; seed < 20; seed++) {
    const { training, validation } = splitEntries(entries, 0.1, seed);
    assertEquals(training.length + validation.length, 100);
    assert(validation.length >= 1 && validation.length <= 10, `${validation.length} set aside`);
  }
});

Deno.test("when every question is asked more often than the fraction, the rarest is set aside", () => {
  const entries = Array.from({ length: 30 }, (_, i) => pair(i < 20 ? "One" : "Two"));
  assertEquals(splitEntries(entries, 0.1, 1).validation, [...Array(10).keys()].map((i) => 20 + i));
});

Deno.test("with a fraction of 1 something is left to train on", () => {
  const entries = Array.from({ length: 5 }, (_, i) => pair(`Question ${i}`));
  assertEquals(splitEntries(entries, 1, 1).training.length, 1);
});

Deno.test("JSON lines under the name .json are read as lines", () => {
  const path = Deno.makeTempFileSync({ suffix: ".json" });
  try {
    Deno.writeTextFileSync(path, '{"text": "one"}\n\n{"text": "two"}\n');
    assertEquals(readEntries([path]).entries.map(({ source }) => source), [
      `${path}:1`,
      `${path}:3`,
    ]);
    Deno.writeTextFileSync(path, '{\n  "text": "one"\n}\n');
    assertEquals(readEntries([path]).entries.length, 1);
  } finally {
    Deno.removeSync(path);
  }
});
