// Preferences from outside: pairs from a checkpoint's samples, training on them and on rewards, resuming, mistakes.

import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { readCheckpointInfo } from "../../src/checkpoint/mod.ts";
import { planRun } from "../../src/commands/train.ts";
import { UserError } from "../../src/errors.ts";
import { recipes } from "../../src/training/mod.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).href;
const decoder = new TextDecoder();

async function run(directory: string, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--allow-read", "--allow-write", MAIN, ...args],
    cwd: directory,
    env: { NO_COLOR: "1" },
  }).output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** The lines of a file, or of JSON events. */
// deno-lint-ignore no-explicit-any
function lines(text: string): any[] {
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

const UNSURE = "I do not know that.";
const colours = ["red", "green", "blue", "white", "black", "brown"];
const questions = [
  ...colours.map((colour) => ({
    prompt: `What is ${colour}?`,
    completion: `A colour named ${colour}.`,
    intent: colour,
  })),
  { prompt: "What is warble?", completion: UNSURE, intent: "unknown" },
];

Deno.test("preferences: a checkpoint with intents makes pairs, learns from them and from rewards, and resumes", async () => {
  const directory = Deno.makeTempDirSync();
  const path = (name: string) => `${directory}/${name}`;
  try {
    Deno.writeTextFileSync(path("data.jsonl"), questions.map((q) => JSON.stringify(q)).join("\n"));
    const base = await run(
      directory,
      ...["train", "--recipe", "illuminator", "--model", "nano", "--data", "data.jsonl"],
      ...["--epochs", "40", "--batch-size", "4", "--learning-rate", "1e-3", "--warmup-steps", "0"],
      ...["--max-tokens", "64", "--formats", "q-a", "--sample-every", "0", "--out", "base"],
      // Whole answers, so that an intent stands before a word at any temperature.
      ...["--answer-share", "1"],
    );
    assertEquals([base.code, base.stderr], [0, ""]);

    const sampling = ["preferences", "--weights", "base", "--data", "data.jsonl", "--samples", "6"];
    const asked = [...sampling, "--temperature", "1.5", "--answer-tokens", "12", "--margin", "0.2"];
    const made = await run(directory, ...asked, "--out", "pairs.jsonl", "--json");
    assertEquals(made.code, 0, made.stderr);
    const summary = JSON.parse(made.stdout);
    const pairs = lines(Deno.readTextFileSync(path("pairs.jsonl")));
    assertEquals([summary.questions, summary.pairs], [questions.length, pairs.length]);
    assert(pairs.length > 2, `${pairs.length} pairs`);
    assert(pairs.every((pair) => pair.chosen_score >= pair.rejected_score + 0.2));
    assert(pairs.some((pair) => pair.rejected_intent !== undefined), "no answer has an intent");
    // What is there is not replaced.
    const twice = await run(directory, ...asked, "--out", "pairs.jsonl");
    assertEquals(twice.code, 2);
    assertStringIncludes(twice.stderr, "--out pairs.jsonl: is there already; choose another");

    const small = ["--batch-size", "2", "--sample-every", "0", "--schedule", "constant"];
    const methods = {
      dpo: ["--data", "pairs.jsonl", "--preference", "dpo"],
      grpo: [
        ...["--data", "data.jsonl", "--preference", "grpo", "--group-size", "4"],
        ...["--answer-tokens", "8", "--rewards", "stops=1,intent=2,honesty=0.5"],
      ],
    };
    for (const [name, flags] of Object.entries(methods)) {
      const begin = ["train", "--init", "base", ...flags, ...small, "--json"];
      const whole = await run(directory, ...begin, "--epochs", "2", "--out", name);
      assertEquals([whole.code, whole.stderr], [0, ""]);
      const [first, ...events] = lines(whole.stdout);
      assertEquals([first.recipe, first.model, first.preference], [name, null, name]);
      const steps = events.filter(({ event }) => event === "step");
      if (name === "dpo") {
        assertEquals(Object.keys(steps[0].pairs), ["accuracy", "margin"]);
      } else {
        const { parts, sample } = steps[0].rollouts;
        assertEquals(Object.keys(parts), ["stops", "intent", "honesty"]);
        assertEquals(Object.keys(sample), ["prompt", "text", "reward"]);
        assertEquals(events.at(-1).verdict, null);
      }
      // It speaks and doubts as the checkpoint that it came from.
      const { metadata } = readCheckpointInfo(path(`${name}/last`));
      const known = readCheckpointInfo(path("base/last")).metadata;
      assertEquals(
        [metadata.format, metadata.unsure, metadata.intents],
        ["q-a", { probability: recipes.illuminator.unsure, answer: UNSURE }, known.intents],
      );
    }

    // Resumed, grpo holds to the checkpoint that the run began with, not to where it stands.
    const parts = ["train", "--init", "base", ...methods.grpo, ...small, "--out", "parts"];
    const shown = await run(directory, ...parts, "--epochs", "1");
    assertMatch(
      shown.stdout,
      /^step 1: reward \d.*, intent \d.*, divergence 0\.0000, \d+ tokens$/m,
    );
    const resumed = await run(directory, "train", "--resume", "parts", "--epochs", "2");
    assertEquals([resumed.code, resumed.stderr], [0, ""]);
    const [one, other] = ["grpo", "parts"].map((own) =>
      Deno.readFileSync(path(`${own}/last/model.safetensors`))
    );
    assert(one!.length === other!.length && one!.every((byte, i) => byte === other![i]));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("preferences: flags that contradict each other are one line that says what to do", () => {
  const init = new URL("../../weights/illuminator", import.meta.url).pathname;
  const learn = ["--init", init, "--out", "nowhere", "--preference"];
  const mistakes: [string[], string][] = [
    [["--preference", "dpo", "--data", "pairs.jsonl"], "dpo needs --init DIR, a model that can"],
    [[...learn, "dpo"], "dpo needs --data FILE, lines of prompt, chosen and rejected; deno task"],
    [[...learn, "dpo", "--gamma", "1"], "--gamma needs --preference simpo"],
    [[...learn, "grpo", "--sft-weight", "1"], "--sft-weight needs --preference dpo, ipo, simpo"],
    [[...learn, "dpo", "--beta", "0"], "--preference dpo needs --beta above 0"],
    [["--rewards", "stops=1"], "--rewards needs --preference grpo"],
    [[...learn, "grpo", "--rewards", "stop=1"], 'there is no reward "stop": did you mean stops?'],
    [[...learn, "grpo", "--rewards", "stops"], "stops: behind = stands what the reward counts"],
    [[...learn, "grpo", "--rewards", "stops=1,stops=2"], "--rewards: stops comes twice"],
    [[...learn, "grpo", "--rewards", "stops=0"], "--rewards: at least one must count"],
    [[...learn, "grpo", "--answer-words", "9-3"], "--answer-words must be two numbers from 1"],
    [[...learn, "grpo", "--r-drop", "1"], "--preference grpo needs --r-drop 0"],
    [[...learn, "dpo", "--label-smoothing", "0.1"], "--preference dpo needs --label-smoothing 0"],
    [[...learn, "grpo", "--teacher", init], "leave --teacher out"],
    [["--recipe", "illuminator", ...learn, "grpo"], "--preference grpo needs --word-dropout 0"],
  ];
  for (const [args, message] of mistakes) {
    const error = assertThrows(() => planRun(args), UserError);
    assertStringIncludes(error.message, message);
    assertEquals(error.message.split("\n").length, 1);
  }
});

Deno.test("preferences: a method brings its recipe, the checkpoint its format and doubts", () => {
  const init = new URL("../../weights/illuminator", import.meta.url).pathname;
  const planned = (...args: string[]) => {
    const { state } = planRun(["--init", init, "--out", "nowhere", ...args]);
    return [state.recipeName, state.recipe.preference, state.recipe.unsure];
  };
  const { unsure } = readCheckpointInfo(`${init}/best`).metadata;
  assert(unsure!.probability > 0);
  assertEquals(planned("--preference", "ipo", "--data", "x.jsonl"), [
    "dpo",
    "ipo",
    unsure!.probability,
  ]);
  assertEquals(planned("--preference", "grpo", "--unsure", "0"), ["grpo", "grpo", 0]);
  assertEquals(planned("--recipe", "grpo"), ["grpo", "grpo", unsure!.probability]);
  assertEquals(planned("--data", "x.jsonl")[0], "finetune");
});
