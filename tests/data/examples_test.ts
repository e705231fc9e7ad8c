// Examples at their borders: turns, truncation, windows, augmentation, what is dropped.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Entry, type ExampleOptions, makeExamples } from "../../src/data/mod.ts";
import {
  CompactTokenizer,
  formatNames,
  loadTokenizer,
  type Message,
  special,
  vocabularyOf,
} from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();

const OPTIONS: ExampleOptions = {
  formats: [{ name: "human-assistant" }],
  maxTokens: 256,
  endOfText: true,
  promptLossWeight: 1,
  augment: false,
};

function conversation(...contents: string[]): Entry {
  const messages = contents.map((content, i): Message => ({
    role: i % 2 === 0 ? "user" : "assistant",
    content,
  }));
  return { kind: "conversation", messages, source: "test:1" };
}

function make(entries: Entry[], options: Partial<ExampleOptions> = {}) {
  return makeExamples(entries, [...entries.keys()], tokenizer, { ...OPTIONS, ...options });
}

Deno.test("with a weight on the prompt, answers and what ends them still weigh 1", () => {
  const [example] = make([conversation("a", "b", "c", "d")], { promptLossWeight: 0.5 }).examples;
  const weighted = (weight: number) =>
    tokenizer.decode([...example!.tokens].filter((_, i) => example!.weights[i] === weight));
  assertEquals(weighted(0.5), "Human: a\nAssistant: c\nAssistant:");
  assertEquals(weighted(1), " b\nHuman: d");
  assertEquals(example!.weights.at(-1), 1);
});

Deno.test("an intent with a token: it stands before the last answer and is learned; others change nothing", () => {
  const named = new CompactTokenizer(
    tokenizer,
    vocabularyOf(["Human: Assistant: abcd\n"], tokenizer),
    [
      "x",
    ],
  );
  const token = named.intents.get("x")!;
  const entry = conversation("a", "b", "c", "d");
  const examplesOf = (intent?: string, intentWeight?: number) => {
    const options = { ...OPTIONS, promptLossWeight: 0, intentWeight };
    return makeExamples([{ ...entry, intent } as Entry], [0], named, options).examples[0]!;
  };
  const plain = examplesOf(), known = examplesOf("x");
  assertEquals(examplesOf("y"), plain);
  const at = known.tokens.indexOf(token);
  assertEquals([...known.tokens].toSpliced(at, 1), [...plain.tokens]);
  assertEquals(
    named.decode(known.tokens.slice(0, at)),
    "Human: a\nAssistant: b\nHuman: c\nAssistant:",
  );
  assertEquals([known.weights[at], known.user[at], known.weights[at - 1]], [1, 0, 0]);
  const weighed = examplesOf("x", 16);
  assertEquals([...weighed.weights], [...known.weights].with(at, 16));
  assertEquals(examplesOf("y", 16), plain);
});

Deno.test("a weight of 0 leaves only the answers", () => {
  const [example] = make([conversation("a", "b")], { promptLossWeight: 0 }).examples;
  assertEquals(example!.weights.filter((weight) => weight === 1).length, 2);
});

Deno.test("a conversation of just the limit stays whole; one token more is cut, end of text first", () => {
  const entries = [conversation("Hello", "Hi!")];
  const [whole] = make(entries).examples;
  const limit = whole!.tokens.length;
  const fits = make(entries, { maxTokens: limit });
  assertEquals(fits.truncated, 0);
  assertEquals(fits.examples[0]!.truncated, false);
  assertEquals(fits.examples[0]!.tokens, whole!.tokens);
  const cut = make(entries, { maxTokens: limit - 1 });
  assertEquals(cut.truncated, 1);
  assertEquals(cut.examples[0]!.truncated, true);
  assertEquals(cut.examples[0]!.tokens, whole!.tokens.slice(0, -1));
});

Deno.test("a conversation cut in several formats counts once", () => {
  const made = make([conversation("Count", "one two three ".repeat(30).trim())], {
    formats: formatNames.map((name) => ({ name })),
    maxTokens: 20,
  });
  assertEquals(made.examples.length, formatNames.length);
  assertEquals(made.truncated, 1);
});

Deno.test("windows: none is longer than the limit, and only the last ends in end of text", () => {
  const text = "one two three four five six ".repeat(20).trim();
  const tokens = tokenizer.encode(text);
  for (const maxTokens of [2, 3, 7, tokens.length, tokens.length + 1, tokens.length + 2]) {
    const { examples, truncated } = make([{ kind: "text", text, source: "x" }], { maxTokens });
    assertEquals(truncated, 0);
    assert(examples.every((example) => example.tokens.length <= maxTokens), `limit ${maxTokens}`);
    const targets = examples.flatMap((example) => [...example.tokens.subarray(1)]);
    assertEquals(targets, [...tokens.slice(1), special.endOfText], `limit ${maxTokens}`);
    assert(examples.every((example) => example.entry === 0 && example.format === null));
  }
});

Deno.test("a single token predicts nothing: it is dropped and counted", () => {
  const texts: Entry[] = ["a", "a b"].map((text) => ({ kind: "text", text, source: "x" }));
  const { examples, dropped } = make(texts, { endOfText: false });
  assertEquals(examples.length, 1);
  assertEquals(dropped, 1);
  assertEquals(make(texts).dropped, 0);
});

Deno.test("a limit that leaves nothing to predict is refused", () => {
  for (const maxTokens of [1, 0, NaN]) {
    assertThrows(() => make([conversation("a", "b")], { maxTokens }), RangeError, "maxTokens");
  }
});

Deno.test("augmentation adds at most two spellings, in the first format, with the same answer", () => {
  const texts = (entry: Entry) =>
    make([entry], { formats: [{ name: "q-a" }, { name: "plain" }], augment: true }).examples.map(
      ({ tokens }) => tokenizer.decode(tokens),
    );
  assertEquals(texts(conversation("What IS it?", "A Test.")), [
    "Q: What IS it?\nA: A Test.",
    "Q: what is it\nA: A Test.",
    "Q: Please tell me: What IS it?\nA: A Test.",
    "What IS it?\nA Test.",
  ]);
  // Spellings that change nothing are no copies.
  assertEquals(texts(conversation("hello", "Hi!")), ["Q: hello\nA: Hi!", "hello\nHi!"]);
  assert(!texts(conversation("?", "What?")).includes("Q: \nA: What?"), "an empty question");
});

Deno.test("copies carry the entry that they came from, and only the chosen entries are used", () => {
  const entries = [conversation("A?", "b"), conversation("C?", "d"), conversation("E?", "f")];
  const { examples } = makeExamples(entries, [2, 0], tokenizer, { ...OPTIONS, augment: true });
  assertEquals(examples.map(({ entry }) => entry), [2, 2, 2, 0, 0, 0]);
});

Deno.test("an answer is decided by the token of its intent, where the tokenizer has one and it fits", () => {
  const entries = [{ ...conversation("a", "b"), intent: "letters" }, conversation("c", "d")];
  const own = new CompactTokenizer(
    tokenizer,
    vocabularyOf(["Human: a\nAssistant: b"], tokenizer),
    ["letters"],
  );
  const { examples } = makeExamples(entries as Entry[], [0, 1], own, OPTIONS);
  const { decision, tokens } = examples[0]!;
  assertEquals(tokens[decision!], own.intents.get("letters"));
  assertEquals(examples[1]!.decision, undefined);
  const cut = makeExamples(entries as Entry[], [0], own, { ...OPTIONS, maxTokens: decision! });
  assertEquals(cut.examples[0]!.decision, undefined);
});
