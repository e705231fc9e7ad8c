// Distillation from outside: train --teacher, its events and its mistakes; and a teacher's own answers as data.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { readEntries } from "../../src/data/mod.ts";
import { run, withParrot } from "./parrot.ts";

const SMALL = ["--recipe", "basic", "--model", "nano", "--max-tokens", "32", "--epochs", "1"];
const TEACHER = ["--teacher", "weights/parrot", "--sample-every", "0"];

Deno.test("generate --as-data: the answers that ended by themselves, as train reads them, with the questions' labels", () =>
  withParrot(async (directory) => {
    const prompts = [
      { prompt: "Hello", completion: "Good day.", intent: "greeting", id: 7 },
      { messages: [{ role: "user", content: "Why?" }] },
    ];
    const text = prompts.map((line) => JSON.stringify(line) + "\n").join("");
    Deno.writeTextFileSync(`${directory}/prompts.jsonl`, text);
    const files = ["--prompts", "prompts.jsonl", "--out", "answers.jsonl", "--as-data"];
    const write = (...args: string[]) => run(directory, ["generate", ...files, ...args]);
    const cut = await write("--max-tokens", "2");
    assertMatch(cut.stderr, /0 of 2 answers are in answers\.jsonl\n$/);
    const { code, stderr } = await write("--stop", "i hi");
    assertEquals(code, 0);
    assertMatch(stderr, /2 of 2 answers are in answers\.jsonl\n$/);
    const { entries } = readEntries([`${directory}/answers.jsonl`]);
    const said = entries.map((entry) =>
      entry.kind === "text" ? [] : [
        ...entry.messages.map(({ role, content }) => `${role}: ${content}`),
        entry.intent,
      ]
    );
    assertEquals(said, [
      ["user: Hello", "assistant: h", "greeting"],
      ["user: Why?", "assistant: h", undefined],
    ]);
    const data = ["--data", "answers.jsonl", ...SMALL, ...TEACHER];
    assertEquals((await run(directory, ["train", ...data])).code, 0);
  }));

Deno.test("train --teacher: says how it was asked, and shows both parts of the loss; what is kept serves a run begun again", () =>
  withParrot(async (directory) => {
    const args = ["train", ...SMALL, ...TEACHER];
    const plain = await run(directory, [...args, "--out", "plain"]);
    assertEquals([plain.code, plain.stderr], [0, ""]);
    assertMatch(plain.stdout, /^ {2}teachers: 20 texts in 0:\d\d, [\d,.]+ a second; \d/m);
    assertMatch(plain.stdout, /^epoch 1: loss [\d.]+ \(data [\d.]+, teachers [\d.]+\)$/m);

    // A run that was killed while its teachers spoke has only what they said.
    Deno.mkdirSync(`${directory}/json`);
    Deno.copyFileSync(
      `${directory}/plain/teachers.safetensors`,
      `${directory}/json/teachers.safetensors`,
    );
    const json = await run(directory, [...args, "--out", "json", "--json"]);
    assertEquals([json.code, json.stderr], [0, ""]);
    const events = json.stdout.trim().split("\n").map((line) => JSON.parse(line));
    const [start, taught, step] = events;
    assertEquals([start.event, start.teachers], ["start", ["weights/parrot"]]);
    assertEquals([taught.event, taught.kept, taught.texts], ["taught", true, 20]);
    assertEquals(taught.taught, taught.targets);
    assertEquals(step.event, "step");
    const mixed = 0.5 * step.cross_entropy + 0.5 * step.distillation;
    assert(Math.abs(step.loss - mixed) < 1e-4, JSON.stringify(step));
    assert(events.find(({ event }) => event === "epoch").train_distillation > 0);
    const read = (run: string) => Deno.readFileSync(`${directory}/${run}/last/model.safetensors`);
    assertEquals(read("json"), read("plain"));
  }));

Deno.test("train --teacher: mistakes are one line", () =>
  withParrot(async (directory) => {
    const refused: [string[], RegExp][] = [
      [["--teacher", "nowhere"], /^error: --teacher nowhere: holds no checkpoint/],
      [["--distill-temperature", "2"], /^error: --distill-temperature needs --teacher DIR/],
      [
        [...TEACHER, "--distill-weight", "2"],
        /^error: --distill-weight must be a number from 0 to 1/,
      ],
      [[...TEACHER, "--distill-divergence", "up"], /^error: --distill-divergence must be/],
      [[...TEACHER, "--out", "run"], /^error: run\/teachers\.safetensors: is damaged/],
    ];
    Deno.mkdirSync(`${directory}/run`);
    Deno.writeTextFileSync(`${directory}/run/teachers.safetensors`, "what is this");
    for (const [args, message] of refused) {
      const { code, stderr } = await run(directory, ["train", ...SMALL, ...args]);
      assertEquals(code, 2, args.join(" "));
      assertMatch(stderr, message);
      assertEquals(stderr.trim().split("\n").length, 1);
    }
    const { stderr } = await run(directory, ["generate", "--prompt", "Hi", "--as-data"]);
    assertStringIncludes(stderr, "error: --as-data needs --prompts FILE");
  }));
