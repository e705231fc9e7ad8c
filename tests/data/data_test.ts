// Readers, splits, examples and batches.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  batchesOf,
  collate,
  type Entry,
  type ExampleOptions,
  makeExamples,
  readEntries,
  splitEntries,
  totalWeight,
} from "../../src/data/mod.ts";
import { UserError } from "../../src/errors.ts";
import { shuffled } from "../../src/random.ts";
import { loadTokenizer, special } from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();

/** Writes files into a directory that is removed behind `work`. */
function withFiles(files: Record<string, string | Uint8Array>, work: (dir: string) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    for (const [name, content] of Object.entries(files)) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      Deno.writeFileSync(`${directory}/${name}`, bytes);
    }
    work(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function pair(question: string, answer: string): Entry {
  const messages = [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ] as const;
  return { kind: "conversation", messages, source: question };
}

const OPTIONS: ExampleOptions = {
  formats: [{ name: "human-assistant" }],
  maxTokens: 256,
  endOfText: true,
  promptLossWeight: 1,
  augment: false,
};

Deno.test("readEntries: every shape, several files, blank lines, BOM and CRLF", () => {
  const lines = [
    { messages: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }] },
    { prompt: "a", completion: " b " },
    { instruction: "a", input: "", output: "b" },
    { conversations: [{ from: "human", value: "a" }, { from: "gpt", value: "b" }] },
  ].map((line) => JSON.stringify(line));
  const files = {
    "one.jsonl": "\ufeff" + lines.join("\r\n\r\n") + "\r\n",
    "two.jsonl": '{"text": "alone"}\n{"instruction": "a", "input": "c", "output": "b"}',
    "three.txt": "first\r\nsecond\n",
    "four.json": '[{"prompt": "x", "completion": "y"}]',
  };
  withFiles(files, (directory) => {
    const paths = Object.keys(files).map((name) => `${directory}/${name}`);
    const { entries, skipped } = readEntries(paths);
    assertEquals(skipped, []);
    const said = entries.map((entry) =>
      entry.kind === "text" ? entry.text : entry.messages.map(({ content }) => content).join("|")
    );
    assertEquals(said, ["a|b", "a|b", "a|b", "a|b", "alone", "a\nc|b", "first\nsecond", "x|y"]);
    assertEquals(entries[1]!.source, `${directory}/one.jsonl:3`);
  });
});

const BAD: Record<string, [line: string, reason: string]> = {
  "no JSON": ["{", "is not valid JSON"],
  "a list": ["[1]", "must be an object, is a list"],
  "no known shape": ['{"a": 1}', "none of the known shapes"],
  "a number for text": ['{"prompt": 1, "completion": "b"}', '"prompt" must be text, is a number'],
  "an empty answer": ['{"prompt": "a", "completion": " "}', '"completion" is empty'],
  "an unknown role": ['{"messages": [{"role": "cat", "content": "x"}]}', 'is "cat"'],
  "no answer": ['{"messages": [{"role": "user", "content": "x"}]}', "no assistant's turn"],
  "a role that every object has": [
    '{"messages": [{"role": "toString", "content": "x"}]}',
    "toString",
  ],
};

for (const [what, [line, reason]] of Object.entries(BAD)) {
  Deno.test(`readEntries: ${what} is refused with file and line, or skipped`, () => {
    const files = { "data.jsonl": `{"text": "good"}\n${line}\n{"text": "good too"}` };
    withFiles(files, (directory) => {
      const path = `${directory}/data.jsonl`;
      const { message } = assertThrows(() => readEntries([path]), UserError, `${path}:2: `);
      assert(message.includes(reason), message);
      const { entries, skipped } = readEntries([path], { skipBadLines: true });
      assertEquals(entries.length, 2);
      assertEquals(skipped.length, 1);
    });
  });
}

Deno.test("readEntries: files that cannot be read at all", () => {
  const files = {
    "empty.jsonl": "\n\n",
    "latin1.txt": Uint8Array.of(0xe4, 0x20),
    "picture.png": "x",
    "latin1.jsonl": Uint8Array.of(0xe4, 0x0a),
  };
  withFiles(files, (directory) => {
    const refused = (name: string, reason: string) =>
      assertThrows(() => readEntries([`${directory}/${name}`]), UserError, reason);
    refused("empty.jsonl", "nothing to learn from");
    refused("latin1.txt", "is not UTF-8 text");
    refused("latin1.jsonl", "latin1.jsonl:1: is not UTF-8 text");
    refused("picture.png", "must end in .jsonl");
    refused("missing.jsonl", "there is no such file");
    refused(".", "is not a file");
  });
});

Deno.test("readEntries: a file and a line of a gigabyte are refused, unread and undecoded", () => {
  withFiles({ "huge.jsonl": "", "long.jsonl": '{"text": "a"}\n' }, (directory) => {
    // Sparse files: they take no room on the disk.
    Deno.truncateSync(`${directory}/huge.jsonl`, 2 ** 30);
    Deno.truncateSync(`${directory}/long.jsonl`, 2 ** 24 + 100);
    const read = (name: string, skipBadLines = false) =>
      readEntries([`${directory}/${name}`], { skipBadLines });
    assertThrows(() => read("huge.jsonl"), UserError, "is larger than 256 MiB; give a part of it");
    assertThrows(() => read("long.jsonl"), UserError, "long.jsonl:2: is longer than 16 MiB");
    assertEquals(read("long.jsonl", true).entries.length, 1);
  });
});

Deno.test("splitEntries: by question, whatever its case and punctuation, and never one side empty", () => {
  const entries = Array.from(
    { length: 40 },
    (_, i) => pair(`Question ${i % 20}${i < 20 ? "?" : ""}`, "x"),
  );
  entries[25] = pair("QUESTION 5 !", "y");
  const { training, validation } = splitEntries(entries, 0.2, 7);
  assertEquals(training.length + validation.length, 40);
  assertEquals(validation.length, 8);
  for (const i of validation) assert(validation.includes((i + 20) % 40), `${i} stands alone`);
  assertEquals(splitEntries(entries, 0.2, 7).validation, validation);
  assert(String(splitEntries(entries, 0.2, 8).validation) !== String(validation));
  assertEquals(splitEntries(entries, 0, 7).validation, []);
  assertEquals(splitEntries(entries.slice(0, 2), 0.01, 7).validation.length, 1);
  assertEquals(splitEntries(entries.slice(0, 1), 0.5, 7).validation, []);
});

Deno.test("makeExamples: the end-of-text token is there and counts, unless left out", () => {
  const entries = [pair("Hello", "Hi!")];
  const [with_] = makeExamples(entries, [0], tokenizer, OPTIONS).examples;
  assertEquals(with_!.tokens.at(-1), special.endOfText);
  assertEquals(with_!.weights.at(-1), 1);
  assertEquals(tokenizer.decode(with_!.tokens), "Human: Hello\nAssistant: Hi!");
  const [without] =
    makeExamples(entries, [0], tokenizer, { ...OPTIONS, endOfText: false }).examples;
  assertEquals(without!.tokens, with_!.tokens.slice(0, -1));
});

Deno.test("makeExamples: prompts weigh what was asked, answers and their end weigh 1", () => {
  const options = { ...OPTIONS, promptLossWeight: 0.25 };
  const [example] = makeExamples([pair("Hello", "Hi!")], [0], tokenizer, options).examples;
  const answer = tokenizer.encode(" Hi!").length + 1;
  const prompt = example!.tokens.length - answer;
  assertEquals([...example!.weights], [...Array(prompt).fill(0.25), ...Array(answer).fill(1)]);
});

Deno.test("makeExamples: formats for all or the first few, texts once, augmentation bounded", () => {
  const entries: Entry[] = [
    pair("What IS this?", "A test."),
    pair("Why?", "Because."),
    { kind: "text", text: "A fact.", source: "x" },
  ];
  const options = {
    ...OPTIONS,
    formats: [{ name: "q-a" }, { name: "user-ai", first: 1 }],
    augment: true,
  } as const;
  const { examples } = makeExamples(entries, [0, 1, 2], tokenizer, options);
  assertEquals(examples.map(({ tokens }) => tokenizer.decode(tokens)), [
    "Q: What IS this?\nA: A test.",
    "Q: what is this\nA: A test.",
    "Q: Please tell me: What IS this?\nA: A test.",
    "Q: Why?\nA: Because.",
    "Q: why\nA: Because.",
    "Q: Please tell me: Why?\nA: Because.",
    "User: What IS this?\nAI: A test.",
    "A fact.",
  ]);
  assertEquals(examples.map(({ entry }) => entry), [0, 0, 0, 1, 1, 1, 0, 2]);
});

Deno.test("makeExamples: a long conversation is cut and counted, a long text becomes windows", () => {
  const long = "one two three four five six seven eight nine ten ".repeat(10).trim();
  const options = { ...OPTIONS, maxTokens: 16 };
  const cut = makeExamples([pair("Count", long)], [0], tokenizer, options);
  assertEquals(cut.truncated, 1);
  assertEquals(cut.examples[0]!.tokens.length, 16);
  const text: Entry = { kind: "text", text: long, source: "x" };
  const { examples } = makeExamples([text], [0], tokenizer, options);
  // Every token but the first is a target exactly once.
  const targets = examples.flatMap(({ tokens }) => [...tokens.subarray(1)]);
  assertEquals(targets, [...tokenizer.encode(long).slice(1), special.endOfText]);
});

Deno.test("collate: ragged, targets shifted, no loss where nothing weighs", () => {
  const example = (tokens: number[], weights: number[]) => ({
    tokens: Int32Array.from(tokens),
    weights: Float32Array.from(weights),
    entry: 0,
    format: null,
    truncated: false,
    user: new Uint8Array(tokens.length),
  });
  const batch = collate([example([1, 2, 3], [1, 0, 0.5]), example([4, 5], [1, 1])]);
  assertEquals(batch.tokens, Int32Array.of(1, 2, 4));
  assertEquals(batch.targets, Int32Array.of(-1, 3, 5));
  assertEquals(batch.positions, Int32Array.of(0, 1, 0));
  assertEquals(batch.offsets, Int32Array.of(0, 2, 3));
  assertEquals(totalWeight(batch), 1.5);
  assertThrows(() => collate([]), RangeError);
  assertThrows(() => collate([example([1], [1])]), RangeError);
});

Deno.test("batchesOf: all examples in order, within the size", () => {
  const entries = Array.from({ length: 9 }, (_, i) => pair(`Question ${i}`, "An answer."));
  const { examples } = makeExamples(entries, [...entries.keys()], tokenizer, OPTIONS);
  const batches = batchesOf(examples, 40);
  assert(batches.length > 1 && batches.every(({ tokens }) => tokens.length <= 40));
  assertEquals(batches.flatMap(({ tokens }) => [...tokens]), [...collate(examples).tokens]);
});

Deno.test("shuffled: a permutation of its own for every seed and epoch", () => {
  const one = shuffled(100, 1, 1);
  assertEquals([...one].sort((a, b) => a - b), [...Array(100).keys()]);
  assertEquals(shuffled(100, 1, 1), one);
  assert(String(shuffled(100, 1, 2)) !== String(one));
  assert(String(shuffled(100, 2, 1)) !== String(one));
});

Deno.test("data/: every file of the repository is read without a complaint", () => {
  const names = Array.from(Deno.readDirSync("data"), ({ name }) => name);
  const paths = names.filter((name) => name.endsWith(".jsonl")).map((name) => `data/${name}`);
  assert(paths.length >= 4);
  readEntries(paths);
});
