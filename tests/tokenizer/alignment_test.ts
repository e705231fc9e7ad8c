// One text in two tokenizers: which tokens mean the same, and where both begin one.

import { assert, assertEquals } from "@std/assert";
import {
  areAlike,
  CompactTokenizer,
  loadTokenizer,
  mapTokens,
  special,
  type Tokenizer,
  Translator,
  vocabularyOf,
} from "../../src/tokenizer/mod.ts";

const gpt2 = loadTokenizer();
const compact = (texts: string[], intents?: string[]) =>
  new CompactTokenizer(gpt2, vocabularyOf(texts, gpt2), intents);

const small = compact(["Hello world"], ["greeting", "weather"]);
const other = compact(["Hello there, is Python?"], ["weather", "python"]);

Deno.test("mapTokens: by GPT-2's number, special role and intent's name; words in pieces by their first", () => {
  const map = mapTokens(other, small);
  const one = (tokenizer: Tokenizer, text: string) => {
    const tokens = tokenizer.encode(text);
    assertEquals(tokens.length, 1, text);
    return tokens[0]!;
  };
  assertEquals(map[one(other, "Hello")], one(small, "Hello"));
  const pieces = small.encode(" Python");
  assert(pieces.length > 1);
  assertEquals(map[one(other, " Python")], pieces[0]);
  for (const role of ["endOfText", "pad", "startOfText", "unknown"] as const) {
    assertEquals(map[other.special[role]], small.special[role]);
  }
  assertEquals(map[other.intents.get("weather")!], small.intents.get("weather"));
  assertEquals(map[other.intents.get("python")!], small.vocabularySize);
  const wide = mapTokens(small, gpt2);
  assertEquals(wide.subarray(0, small.kept.length), Int32Array.from(small.kept));
  assertEquals(wide[small.special.endOfText], special.endOfText);
  assertEquals(wide[small.intents.get("greeting")!], gpt2.vocabularySize);
});

Deno.test("areAlike: the same tokens under the same numbers, and no others", () => {
  const again = compact(["Hello world"], ["greeting", "weather"]);
  assert(areAlike(small, again) && areAlike(gpt2, gpt2));
  assert(!areAlike(small, other) && !areAlike(small, gpt2));
  assert(!areAlike(small, compact(["Hello world"], ["weather", "greeting"])));
  assert(!areAlike(small, compact(["Hello world"])));
});

Deno.test("Translator: a text's tokens in the other's, and where both begin one", () => {
  const { endOfText } = small.special, weather = small.intents.get("weather")!;
  const own = Int32Array.from([
    ...small.encode("Hello Python"),
    weather,
    ...small.encode(" world 👋"),
    endOfText,
  ]);
  for (const to of [other, gpt2]) {
    const { tokens, begins } = new Translator(small, to).translate(own)!;
    const intents = to === other ? [other.intents.get("weather")!] : [];
    assertEquals([...tokens], [
      ...to.encode("Hello Python"),
      ...intents,
      ...to.encode(" world 👋"),
      to.special.endOfText,
    ]);
    // Wherever one begins, as many bytes stand before it.
    begins.forEach((at, i) => {
      if (at < 0) return;
      assertEquals(to.decodeBytes(tokens.subarray(0, at)), small.decodeBytes(own.subarray(0, i)));
    });
    const first = small.encode("Hello").length;
    assertEquals([begins[0], begins[first]], [0, 1]);
    // " Python" is one token there: its later pieces begin none.
    assert(begins.slice(first + 1, small.encode("Hello Python").length).every((at) => at < 0));
    assertEquals(begins[own.indexOf(weather)]! >= 0, to === other);
    assertEquals(begins.at(-1), tokens.length - 1);
  }
});

Deno.test("Translator: text that is no UTF-8 is refused, an empty one is empty", () => {
  const translator = new Translator(small, gpt2);
  const wave = small.encode("👋");
  assert(wave.length > 1);
  assertEquals(translator.translate(Int32Array.from(wave.slice(1))), null);
  assertEquals(translator.translate(new Int32Array())!.tokens.length, 0);
});
