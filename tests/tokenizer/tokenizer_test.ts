// The tokenizer against js-tiktoken, its speed's shape, special tokens, decoding, and the chat formats.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Tiktoken } from "js-tiktoken/lite";
import gpt2 from "js-tiktoken/ranks/gpt2";
import { randomNumbers } from "../../src/random.ts";
import {
  createStreamDecoder,
  formatNames,
  formats,
  loadTokenizer,
  render,
  renderPrompt,
  special,
  stopTexts,
} from "../../src/tokenizer/mod.ts";

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

Deno.test("decode: special tokens are silent, tokens out of range are refused", () => {
  assertEquals(tokenizer.decode([15496, special.endOfText, special.unknown]), "Hello");
  assertThrows(() => tokenizer.decode([50260]), RangeError, "50260");
  assertThrows(() => tokenizer.decode([-1]), RangeError, "-1");
});

Deno.test("stream decoder: never half a character", () => {
  const text = "naïve 🙂👩‍🚀 日本語";
  const decoder = createStreamDecoder(tokenizer);
  let streamed = "";
  for (const token of tokenizer.encode(text)) {
    const piece = decoder.push(token);
    assert(!piece.includes("\ufffd"));
    streamed += piece;
  }
  assertEquals(streamed, text);
});

const TALK = [
  { role: "user", content: "Hello" },
  { role: "assistant", content: "Hi!" },
  { role: "user", content: "What is Python?" },
  { role: "assistant", content: "A language." },
] as const;

Deno.test("render: every format to the letter", () => {
  const text = (name: keyof typeof formats) =>
    render(formats[name], TALK).map((segment) => segment.text).join("");
  const spelled = (user: string, assistant: string) =>
    `${user} Hello\n${assistant} Hi!\n${user} What is Python?\n${assistant} A language.`;
  assertEquals(text("human-assistant"), spelled("Human:", "Assistant:"));
  assertEquals(text("user-ai"), spelled("User:", "AI:"));
  assertEquals(text("q-a"), spelled("Q:", "A:"));
  assertEquals(text("question-answer"), spelled("Question:", "Answer:"));
  assertEquals(text("plain"), "Hello\nHi!\nWhat is Python?\nA language.");
});

Deno.test("render: segment by segment gives the tokens of the whole text, and of the prompt", () => {
  for (const name of formatNames) {
    const segments = render(formats[name], TALK);
    const whole = tokenizer.encode(segments.map(({ text }) => text).join(""));
    assertEquals(segments.flatMap(({ text }) => tokenizer.encode(text)), whole, name);
    const prompt = tokenizer.encode(renderPrompt(formats[name], TALK.slice(0, 3)));
    assertEquals(whole.slice(0, prompt.length), prompt, name);
    assertEquals(
      segments.filter(({ answer }) => answer).map(({ text }) => text.trim()),
      ["Hi!", ...(formats[name].user === "" ? [] : [formats[name].user]), "A language."],
    );
  }
});

Deno.test("stop texts: both speakers' next turns, none in plain", () => {
  assertEquals(stopTexts(formats["user-ai"]), ["\nUser:", "\nAI:"]);
  assertEquals(stopTexts(formats.plain), []);
});
