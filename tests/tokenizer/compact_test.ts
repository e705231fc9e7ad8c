// A vocabulary made for a corpus: the same text back, the same tokens for what the corpus has.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { randomNumbers } from "../../src/random.ts";
import {
  checkVocabulary,
  CompactTokenizer,
  loadTokenizer,
  spelledMerges,
  spelledTokens,
  vocabularyOf,
  withSteps,
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

const random = randomNumbers(4);
const texts = Array.from({ length: 200 }, () =>
  String.fromCodePoint(
    ...Array.from({ length: Math.floor(random() * 30) }, () => {
      const point = Math.floor(random() * (random() < 0.5 ? 0x7f : 0x1f9ff));
      return point >= 0xd800 && point <= 0xdfff ? 0x41 : point;
    }),
  ));

Deno.test("compact vocabulary: any other text comes back too", () => {
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

Deno.test("compact vocabulary: with all steps it is a plain BPE, by its own list of merges", () => {
  const kept = withSteps(compact.kept);
  assertEquals([kept.length > compact.kept.length, withSteps(kept)], [true, kept]);
  const whole = new CompactTokenizer(gpt2, kept, ["python"]);
  const tokens = spelledTokens(whole), idOf = new Map(tokens.map((token, id) => [token, id]));
  assertEquals(tokens.length, whole.vocabularySize);
  assertEquals(tokens.slice(-2), ["<|unknown|>", "<|intent:python|>"]);
  const rankOf = new Map(spelledMerges(whole).map((merge, rank) => [merge, rank]));
  const byteToken = new Map(kept.slice(0, 256).map((_, id) => [whole.decodeBytes([id])[0], id]));
  // Words without spaces are one piece of GPT-2's pattern.
  for (const word of ["Python", "language", "programming", "anguish", "neuralnet", "ünïcödé"]) {
    let parts = Array.from(new TextEncoder().encode(word), (byte) => tokens[byteToken.get(byte)!]!);
    for (;;) {
      const ranks = parts.slice(1).map((part, i) => rankOf.get(`${parts[i]} ${part}`) ?? Infinity);
      const best = Math.min(...ranks), at = ranks.indexOf(best);
      if (best === Infinity) break;
      parts = [...parts.slice(0, at), parts[at]! + parts[at + 1]!, ...parts.slice(at + 2)];
    }
    assertEquals(parts.map((part) => idOf.get(part)), whole.encode(word), word);
  }
  for (const text of texts) assertEquals(whole.decode(whole.encode(text)), text);
  assertThrows(() => spelledMerges(compact), Error, "parts");
});

Deno.test("compact vocabulary: steps change nothing in text of kept tokens", () => {
  const whole = new CompactTokenizer(gpt2, withSteps(compact.kept));
  for (const text of corpus) {
    assertEquals(whole.encode(text).map((token) => whole.kept[token]), gpt2.encode(text));
  }
});
