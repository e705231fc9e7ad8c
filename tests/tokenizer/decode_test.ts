// Decoding to the last byte: every token, special tokens, byte order marks, streams.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Tiktoken } from "js-tiktoken/lite";
import gpt2 from "js-tiktoken/ranks/gpt2";
import { createStreamDecoder, loadTokenizer, special } from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();

Deno.test("known tokens, among them GPT-2's first and last", () => {
  assertEquals(tokenizer.encode("Hello world"), [15496, 995]);
  assertEquals(tokenizer.encode("!"), [0]);
  assertEquals(tokenizer.encode(" gazed"), [50255]);
  assertEquals(tokenizer.encode(""), []);
  assertEquals(tokenizer.decode([]), "");
  assertEquals(tokenizer.vocabularySize, 50260);
});

Deno.test("every token decodes as js-tiktoken's", () => {
  const reference = new Tiktoken(gpt2);
  for (let token = 0; token < special.endOfText; token++) {
    assert(tokenizer.decodeBytes([token]).length > 0);
    // js-tiktoken drops a byte order mark, which is a character of the text.
    assertEquals(tokenizer.decode([token]).replace(/^\ufeff/, ""), reference.decode([token]));
  }
});

Deno.test("special tokens are left out of a text, or spelled when asked", () => {
  const tokens = [15496, special.endOfText, special.pad, special.startOfText, special.unknown, 995];
  assertEquals(tokenizer.decode(tokens), "Hello world");
  assertEquals(
    tokenizer.decode(tokens, { spellSpecial: true }),
    "Hello<|endoftext|><|pad|><|startoftext|><|unknown|> world",
  );
});

Deno.test("numbers that are no tokens are refused", () => {
  for (const token of [-1, 50260, 1.5, NaN, Infinity]) {
    assertThrows(() => tokenizer.decode([15496, token]), RangeError, `got ${token}`);
    assertThrows(() => createStreamDecoder(tokenizer).push(token), RangeError, `got ${token}`);
  }
});

Deno.test("a byte order mark survives, a lone surrogate becomes U+FFFD", () => {
  assertEquals(tokenizer.decode(tokenizer.encode("\ufeffa\ufeffb")), "\ufeffa\ufeffb");
  assertEquals(tokenizer.decode(tokenizer.encode("\ud83d")), "\ufffd");
  const stream = createStreamDecoder(tokenizer);
  assertEquals(tokenizer.encode("\ufeffa").map((token) => stream.push(token)).join(""), "\ufeffa");
});

Deno.test("a stream holds half a character back until its rest comes, and shares nothing", () => {
  const tokens = tokenizer.encode("😀");
  assert(tokens.length > 1);
  const one = createStreamDecoder(tokenizer), other = createStreamDecoder(tokenizer);
  for (const token of tokens.slice(0, -1)) assertEquals(one.push(token), "");
  assertEquals(one.push(special.endOfText), "");
  assertEquals(other.push(15496), "Hello");
  assertEquals(one.push(tokens.at(-1)!), "😀");
});
