// A vocabulary made for a corpus: the same text back, the same tokens for what the corpus has.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { randomNumbers } from "../../src/random.ts";
import {
  checkVocabulary,
  CompactTokenizer,
  loadTokenizer,
  vocabularyOf,
} from "../../src/tokenizer/mod.ts";

const gpt2 = loadTokenizer();
const corpus = ["Python is a programming language.", "What is a neural network?"];
const compact = new CompactTokenizer(gpt2, vocabularyOf(corpus, gpt2));

Deno.test("compact vocabulary: text of the corpus keeps GPT-2's tokens, in few numbers", () => {
  for (const text of corpus) {
    const own = compact.encode(text);
    assertEquals(own.map((token) => compact.kept[token]), gpt2.encode(text));
    assertEquals(compact.decode(own), text);
  }
  assert(compact.vocabularySize < 256 + 20 + 4);
});

Deno.test("compact vocabulary: any other text comes back too", () => {
  const random = randomNumbers(4);
  const texts = Array.from({ length: 200 }, () =>
    String.fromCodePoint(
      ...Array.from({ length: Math.floor(random() * 30) }, () => {
        const point = Math.floor(random() * (random() < 0.5 ? 0x7f : 0x1f9ff));
        return point >= 0xd800 && point <= 0xdfff ? 0x41 : point;
      }),
    ));
  for (const text of [...texts, "Pythonista networks 🙂"]) {
    const tokens = compact.encode(text);
    assertEquals(compact.decode(tokens), text);
    assert(tokens.every((token) => token >= 0 && token < compact.kept.length));
  }
});

Deno.test("compact vocabulary: special tokens stand behind the others, and are spelled on request", () => {
  const { endOfText, pad, startOfText, unknown } = compact.special;
  assertEquals(
    [endOfText, pad, startOfText, unknown],
    [0, 1, 2, 3].map((i) => compact.kept.length + i),
  );
  assertEquals(compact.decode([endOfText, unknown]), "");
  assertEquals(compact.decode([endOfText], { spellSpecial: true }), "<|endoftext|>");
  assertThrows(() => compact.decode([compact.vocabularySize]), RangeError, "token must be");
});

Deno.test("compact vocabulary: a damaged list is refused", () => {
  checkVocabulary(compact.kept);
  for (const bad of [[1, 2], [...compact.kept, 50256], [...compact.kept, 7], [0.5]]) {
    assertThrows(() => checkVocabulary(bad), RangeError, "ascending GPT-2 tokens");
  }
});

Deno.test("compact vocabulary: tokens of intents come last, are never read and spell nothing", () => {
  const named = new CompactTokenizer(gpt2, compact.kept, ["python", "network"]);
  assertEquals(named.vocabularySize, compact.vocabularySize + 2);
  assertEquals([...named.intents], [
    ["python", compact.vocabularySize],
    ["network", compact.vocabularySize + 1],
  ]);
  const tokens = named.encode(corpus[0]!);
  assertEquals(tokens, compact.encode(corpus[0]!));
  assertEquals(named.decode([named.intents.get("python")!, ...tokens]), corpus[0]);
  assertEquals(
    named.decodeBytes([named.intents.get("network")!], { spellSpecial: true }).length,
    0,
  );
  assertThrows(() => named.decode([named.vocabularySize]), RangeError, "token must be");
});
