// Lines with a chosen and a rejected answer: their shapes, their mistakes, and the examples made of them.

import { assertEquals, assertThrows } from "@std/assert";
import { type Conversation, makeExamples, readEntries } from "../../src/data/mod.ts";
import { UserError } from "../../src/errors.ts";
import { CompactTokenizer, loadTokenizer, type Message } from "../../src/tokenizer/mod.ts";

function withFile<T>(content: string, work: (path: string) => T, name = "pairs.jsonl"): T {
  const directory = Deno.makeTempDirSync();
  try {
    const path = `${directory}/${name}`;
    Deno.writeTextFileSync(path, content);
    return work(path);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function read(lines: readonly unknown[], skipBadLines = false) {
  const content = lines.map((line) => typeof line === "string" ? line : JSON.stringify(line));
  return withFile(content.join("\n"), (path) => {
    const { entries, skipped } = readEntries([path], { pairs: true, skipBadLines });
    return { entries: entries as Conversation[], skipped };
  });
}

const user: Message = { role: "user", content: "Why?" };
const turn = (content: string): Message[] => [{ role: "assistant", content }];
const PAIR = { prompt: "Why?", chosen: "Because.", rejected: "No." };

Deno.test("pairs: prompt as text or turns, answers as text or turns, with and without intents", () => {
  const { entries } = read([
    PAIR,
    { ...PAIR, prompt: [user] },
    { messages: [user], chosen: [user, ...turn("Because.")], rejected: turn("No.") },
    { ...PAIR, intent: "why", rejected_intent: "no", rejected_open: true },
    { ...PAIR, intent: "why" },
    { ...PAIR, rejected: "Because.", intent: "why", rejected_intent: "no" },
  ]);
  for (const { messages } of entries) assertEquals(messages, [user, ...turn("Because.")]);
  assertEquals(entries.map(({ intent, rejected }) => [intent, rejected]), [
    [undefined, { content: "No." }],
    [undefined, { content: "No." }],
    [undefined, { content: "No." }],
    ["why", { content: "No.", intent: "no", open: true }],
    ["why", { content: "No.", intent: "why" }],
    ["why", { content: "Because.", intent: "no" }],
  ]);
});

Deno.test("pairs: a bad line is told with file, line and reason, or left out", () => {
  const bad: [unknown, RegExp][] = [
    [{ prompt: "Why?", chosen: "Because." }, /pairs\.jsonl:2: "rejected" must be text, is missing/],
    [{ ...PAIR, chosen: 7 }, /:2: "chosen" must be text, is a number/],
    [{ ...PAIR, rejected: " " }, /:2: "rejected" is empty/],
    [{ ...PAIR, rejected: "Because." }, /:2: "chosen" and "rejected" are the same/],
    [{ chosen: "a", rejected: "b" }, /:2: "prompt" must be text, is missing/],
    [{ prompt: "Why?", completion: "Because." }, /:2: "chosen" must be text, is missing/],
    [{ ...PAIR, prompt: turn("I ask.") }, /:2: "prompt" must end in a user's turn/],
    [{ ...PAIR, chosen: [user] }, /:2: "chosen" must end in an assistant's turn/],
    ["[1]", /:2: must be an object, is a list/],
    ["{", /:2: is not valid JSON/],
  ];
  for (const [line, message] of bad) {
    const error = assertThrows(() => read([PAIR, line]), UserError);
    assertEquals(message.test(error.message), true, error.message);
    const { entries, skipped } = read([PAIR, line], true);
    assertEquals([entries.length, skipped.length], [1, 1]);
  }
  withFile("Why? Because.", (path) => {
    assertThrows(() => readEntries([path], { pairs: true }), UserError, "must end in .jsonl");
  }, "pairs.txt");
});

Deno.test("pairs: where plain data are wanted, a pair is told which option reads it", () => {
  withFile(JSON.stringify(PAIR), (path) => {
    assertThrows(() => readEntries([path]), UserError, "learn from it with --preference dpo");
  });
});

Deno.test("pairs: both answers become examples of the same question, each with its intent's token and its end", () => {
  const gpt2 = loadTokenizer();
  const kept = Array.from({ length: 256 }, (_, byte) => byte);
  const tokenizer = new CompactTokenizer(gpt2, kept, ["no", "why"]);
  const { entries } = read([
    { ...PAIR, intent: "why", rejected_intent: "no" },
    { ...PAIR, rejected_open: true },
  ]);
  const { examples, truncated } = makeExamples(entries, [0, 1], tokenizer, {
    formats: [{ name: "human-assistant" }],
    maxTokens: 40,
    endOfText: true,
    promptLossWeight: 0,
    augment: false,
  });
  assertEquals(truncated, 0);
  const answerOf = ({ tokens, weights }: { tokens: Int32Array; weights: Float32Array }) =>
    Array.from(tokens).filter((_, i) => weights[i]! > 0);
  const { endOfText } = tokenizer.special;
  const [why, no] = ["why", "no"].map((name) => tokenizer.intents.get(name)!);
  const [first, second] = examples;
  assertEquals(answerOf(first!), [why!, ...tokenizer.encode(" Because."), endOfText]);
  assertEquals(answerOf(first!.rejected!), [no!, ...tokenizer.encode(" No."), endOfText]);
  assertEquals(answerOf(second!), [...tokenizer.encode(" Because."), endOfText]);
  assertEquals(answerOf(second!.rejected!), tokenizer.encode(" No."));
  const given = first!.tokens.length - answerOf(first!).length;
  assertEquals(first!.tokens.subarray(0, given), first!.rejected!.tokens.subarray(0, given));
});
