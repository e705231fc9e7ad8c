// Encoding against js-tiktoken, on long runs, and of text that spells special tokens.

import { assert, assertEquals } from "@std/assert";
import { Tiktoken } from "js-tiktoken/lite";
import gpt2 from "js-tiktoken/ranks/gpt2";
import { randomNumbers } from "../../src/random.ts";
import { loadTokenizer, special } from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();
const reference = new Tiktoken(gpt2);

/** Random text from an alphabet, which decides what kind of pieces it has. */
function randomText(random: () => number, alphabet: readonly string[], length: number): string {
  return Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]).join("");
}

const ALPHABETS: Record<string, string[]> = {
  words: [..."etaoin shrdlu  \n'.,", "'s", "'ll", " the", "ing"],
  "one letter": ["a"],
  "two letters": ["a", "b"],
  spaces: [" ", " ", "\n", "\t", "x"],
  digits: [..."0123456789"],
  Unicode: [..."äßéñ日本語한국어🙂👩‍🚀\u0301\u200d", " "],
  punctuation: [..."!?-=_*#<>|/\\\"'`", " "],
};

for (const [name, alphabet] of Object.entries(ALPHABETS)) {
  Deno.test(`encode: js-tiktoken's tokens for 60 random texts of ${name}`, () => {
    const random = randomNumbers(name.length);
    for (let i = 0; i < 60; i++) {
      const text = randomText(random, alphabet, Math.floor(random() * 120));
      assertEquals(tokenizer.encode(text), reference.encode(text, [], []), JSON.stringify(text));
      assertEquals(tokenizer.decode(tokenizer.encode(text)), text);
    }
  });
}

Deno.test("encode: long runs without a break come back whole", () => {
  // 200,000 letters would take js-tiktoken hours; this test ends because the merge is n log n.
  const random = randomNumbers(1);
  const letters = [..."abcdefghijklmnopqrstuvwxyz"];
  for (
    const text of ["a".repeat(200_000), " ".repeat(200_000), randomText(random, letters, 200_000)]
  ) {
    const tokens = tokenizer.encode(text);
    assert(tokens.length < text.length + 1);
    assertEquals(tokenizer.decode(tokens) === text, true);
  }
  assertEquals(tokenizer.encode("a".repeat(400)), reference.encode("a".repeat(400)));
});

Deno.test("encode: text that spells a special token stays text", () => {
  for (const text of ["<|endoftext|>", "<|pad|>", "a<|startoftext|>b", "<|unknown|>"]) {
    const tokens = tokenizer.encode(text);
    assert(tokens.every((token) => token < special.endOfText), text);
    assertEquals(tokenizer.decode(tokens), text);
  }
});
