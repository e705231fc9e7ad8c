// Learning from pairs and from rewards on a tiny model: it does what it should, resumes exactly, and gives the same bytes
// for every thread count.

import { assert, assertEquals, assertRejects } from "@std/assert";
import { loadParameters, loadStates, readTraining } from "../../src/checkpoint/mod.ts";
import { UserError } from "../../src/errors.ts";
import type { Example } from "../../src/data/mod.ts";
import { PANEL, Runtime } from "../../src/kernels/mod.ts";
import { GPT, memoryEstimate, presets } from "../../src/model/mod.ts";
import {
  type Corpus,
  largestBatch,
  loadCorpus,
  needsReference,
  type Recipe,
  recipes,
  type RunState,
  startOfRun,
  type StepEvent,
  train,
  type TrainingEvent,
} from "../../src/training/mod.ts";
import { withDirectory } from "./helpers.ts";

const BASE: Recipe = {
  ...recipes.conversations,
  vocabulary: "corpus",
  maxTokens: 32,
  validation: 0,
  epochs: 10,
  batchSize: 4,
  learningRate: 1e-2,
  warmupSteps: 0,
  schedule: "constant",
  dropout: 0,
  sampleEvery: 0,
};

const colours = ["red", "green", "blue", "white", "black", "brown", "pink", "grey"];
const questions = colours.map((colour) => ({
  prompt: `What is ${colour}?`,
  completion: `A colour named ${colour}.`,
  intent: colour,
}));
const pairs = colours.map((colour) => ({
  prompt: `What is ${colour}?`,
  chosen: `A colour named ${colour}.`,
  rejected: `Named colour a ${colour}.`,
}));

const DPO: Recipe = {
  ...recipes.dpo,
  formats: [{ name: "human-assistant" }],
  maxTokens: 32,
  epochs: 4,
  batchSize: 2,
  learningRate: 3e-3,
  warmupSteps: 0,
  schedule: "constant",
  unsure: 0,
  sampleEvery: 0,
};

const GRPO: Recipe = {
  ...DPO,
  preference: "grpo",
  beta: 0.02,
  groupSize: 6,
  batchSize: 4,
  answerTokens: 12,
  rewards: { stops: 1, intent: 2 },
  epochs: 12,
};

function write(path: string, lines: readonly unknown[]): string {
  Deno.writeTextFileSync(path, lines.map((line) => JSON.stringify(line)).join("\n"));
  return path;
}

function corpusOf(path: string, recipe: Recipe, base?: Corpus): Corpus {
  const files = { training: [path], validation: [], skipBadLines: false };
  return loadCorpus(files, recipe, base?.tokenizer);
}

interface Outcome {
  readonly steps: StepEvent[];
  readonly events: TrainingEvent[];
  readonly weights: Float32Array;
  readonly history: string;
}

/** Where the weights come from: `learned`, or made and taught so. */
async function runTraining(
  directory: string,
  o: {
    readonly recipe: Recipe;
    readonly corpus: Corpus;
    readonly base?: Float32Array[];
    readonly threads?: number;
    readonly stopAfter?: number;
    readonly resume?: boolean;
  },
): Promise<Outcome & { readonly all: Float32Array[] }> {
  const runtime = await Runtime.start({ threads: o.threads ?? 1 });
  try {
    const { corpus, recipe } = o;
    const configuration = {
      ...presets.nano,
      ...{ n_embd: 16, n_layer: 1, n_positions: 64, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 },
      vocab_size: corpus.tokenizer.vocabularySize,
    };
    const model = new GPT(runtime, configuration, { training: true });
    const names = model.parameters.table.map(({ name }) => name);
    const begin = (to: GPT) => {
      if (o.base === undefined) return to.initialize(recipe.seed);
      names.forEach((name, i) => to.writeParameter(name, "parameter", o.base![i]!));
    };
    begin(model);
    let reference: GPT | undefined;
    if (needsReference(recipe)) {
      reference = new GPT(runtime, configuration, { training: false });
      begin(reference);
    }
    let state: RunState = {
      version: 1,
      momentSteps: 0,
      recipeName: "test",
      recipe,
      init: null,
      data: [],
      validationData: [],
      skipBadLines: false,
      fingerprint: corpus.fingerprint,
      progress: startOfRun(),
    };
    let history: string[] = [];
    if (o.resume) {
      const saved = readTraining(`${directory}/run/last`);
      state = saved.state as RunState;
      history = saved.history.trim().split("\n");
      loadParameters(`${directory}/run/last`, model);
      loadStates(`${directory}/run/last`, model);
    }
    const events: TrainingEvent[] = [], steps: StepEvent[] = [];
    const stop = new AbortController();
    await train({
      model,
      reference,
      tokenizer: corpus.tokenizer,
      corpus,
      state,
      directory: `${directory}/run`,
      history,
      signal: stop.signal,
      onEvent: (event) => {
        events.push(event);
        if (event.event !== "step") return;
        steps.push(event);
        if (steps.length === o.stopAfter) stop.abort();
      },
    });
    const all = names.map((name) => model.readParameter(name));
    return {
      events,
      steps,
      all,
      weights: Float32Array.from(all.flatMap((values) => Array.from(values))),
      history: Deno.readTextFileSync(`${directory}/run/last/training/history.jsonl`),
    };
  } finally {
    runtime.close();
  }
}

/** A model that knows the questions' answers a little, made once. */
let taught: Promise<{ corpus: Corpus; base: Float32Array[] }> | undefined;
function teach() {
  return taught ??= withDirectory(async (directory) => {
    const corpus = corpusOf(write(`${directory}/data.jsonl`, questions), BASE);
    const { all } = await runTraining(directory, { recipe: BASE, corpus });
    return { corpus, base: all };
  });
}

/** Runs a recipe from the taught model, on lines of its own. */
async function learn(
  recipe: Recipe,
  lines: readonly unknown[],
  parts: readonly { readonly stopAfter?: number }[] = [{}],
  threads = 1,
): Promise<Outcome> {
  const known = await teach();
  return await withDirectory(async (directory) => {
    const corpus = corpusOf(write(`${directory}/data.jsonl`, lines), recipe, known.corpus);
    let outcome: Outcome | undefined;
    for (const [i, { stopAfter }] of parts.entries()) {
      const { base } = known;
      const resume = i > 0;
      outcome = await runTraining(directory, { recipe, corpus, base, threads, stopAfter, resume });
    }
    return outcome!;
  });
}

function assertSame(actual: Outcome, expected: Outcome): void {
  const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);
  const theirs = bits(expected.weights);
  assert(bits(actual.weights).every((bit, i) => bit === theirs[i]), "weights differ");
  assertEquals(actual.history, expected.history);
}

Deno.test("largestBatch counts both answers of a pair, and every answer that grpo samples", () => {
  const text = (length: number) => ({ tokens: new Int32Array(length) }) as Example;
  const training = [{ ...text(11), rejected: text(8) }, { ...text(5), rejected: text(4) }];
  const corpus = { training, validation: [] } as unknown as Corpus;
  assertEquals(largestBatch(corpus, { ...DPO, batchSize: 1 }), 10 + 7);
  assertEquals(largestBatch(corpus, { ...DPO, batchSize: 2 }), 10 + 7 + 4 + 3);
  const grpo = { ...GRPO, batchSize: 1, groupSize: 3, answerTokens: 20 };
  assertEquals(largestBatch(corpus, grpo), 3 * (11 + 20));
});

Deno.test("the reference's memory is foretold: another set of parameters, and nothing else", () => {
  const o = { training: true, tokens: 100 };
  const rise = memoryEstimate(presets.nano, { ...o, reference: true }) -
    memoryEstimate(presets.nano, o);
  assertEquals(
    rise,
    memoryEstimate(presets.nano, { ...o, tokens: 0, training: false }) -
      4 * Math.ceil(presets.nano.vocab_size / PANEL) * PANEL,
  );
  assert(needsReference(GRPO) && !needsReference({ ...GRPO, beta: 0 }) && !needsReference(DPO));
});

for (const preference of ["dpo", "ipo", "simpo"] as const) {
  Deno.test(`${preference}: the margin rises until every pair is ranked right`, async () => {
    const { steps, events } = await learn({ ...DPO, preference }, pairs);
    const first = steps[0]!.pairs!, last = steps.at(-1)!.pairs!;
    if (preference !== "simpo") {
      assertEquals(first, { accuracy: 0, margin: 0 }, "the model is what it was");
    }
    assert(last.margin > first.margin, `${first.margin} to ${last.margin}`);
    assertEquals(last.accuracy, 1);
    const epochs = events.filter((event) => event.event === "epoch");
    assertEquals(epochs.at(-1)!.pairs!.accuracy, 1);
    assert(epochs.at(-1)!.learned_loss < epochs[0]!.learned_loss);
  });
}

Deno.test("dpo: the loss of the first step is ln 2", async () => {
  const { steps } = await learn({ ...DPO, epochs: 1 }, pairs);
  assert(Math.abs(steps[0]!.loss - Math.LN2) < 1e-12, `${steps[0]!.loss}`);
});

Deno.test("pairs set aside are ranked too, and their loss is what validates", async () => {
  const recipe = { ...DPO, validation: 0.25, stopOn: "validation", patience: 9 } as const;
  const { events } = await learn(recipe, pairs);
  const epochs = events.filter((event) => event.event === "epoch");
  assert(epochs.every(({ pairs, validation_loss }) => pairs !== undefined && validation_loss! > 0));
});

Deno.test("grpo: the reward rises, and with it every reward that it is made of", async () => {
  const { steps } = await learn(GRPO, questions);
  const mean = (some: StepEvent[], value: (event: StepEvent) => number) =>
    some.reduce((sum, event) => sum + value(event), 0) / some.length;
  const first = steps.slice(0, 4), last = steps.slice(-4);
  const rise = (value: (event: StepEvent) => number) => mean(last, value) - mean(first, value);
  assert(rise(({ rollouts }) => rollouts!.reward) > 0.3, "reward");
  assert(rise(({ rollouts }) => rollouts!.parts.intent!) > 0.1, "intent");
  assertEquals(steps[0]!.rollouts!.divergence, 0, "the model is what it was");
  assert(steps.at(-1)!.rollouts!.divergence > 0);
  assertEquals(Object.keys(steps[0]!.rollouts!.parts), ["stops", "intent"]);
});

Deno.test("grpo: a larger beta keeps the model nearer to what it was", async () => {
  const divergence = async (beta: number) =>
    (await learn({ ...GRPO, beta, epochs: 6 }, questions)).steps.at(-1)!.rollouts!.divergence;
  const [near, far] = [await divergence(3), await divergence(1e-3)];
  assert(near < far, `${near} against ${far}`);
});

for (
  const [name, recipe, lines] of [
    ["dpo", { ...DPO, validation: 0.25 }, pairs],
    ["grpo", { ...GRPO, epochs: 3, accumulate: 2, batchSize: 2 }, questions],
    ["grpo without a reference", { ...GRPO, epochs: 3, beta: 0 }, questions],
  ] as const
) {
  Deno.test(`${name}: a run stopped twice ends with the bytes of one that was not`, async () => {
    const whole = await learn(recipe, lines);
    const parts = await learn(recipe, lines, [{ stopAfter: 1 }, { stopAfter: 2 }, {}]);
    assertSame(parts, whole);
  });

  Deno.test(`${name}: the same bytes for 1, 2 and 3 threads, others for another seed`, async () => {
    const one = await learn(recipe, lines);
    assertSame(await learn(recipe, lines, [{}], 2), one);
    assertSame(await learn(recipe, lines, [{}], 3), one);
    const other = await learn({ ...recipe, seed: 7 }, lines);
    assert(other.weights.some((value, i) => value !== one.weights[i]));
  });
}

Deno.test("grpo asks questions: plain text and questions without room are refused", async () => {
  await assertRejects(
    () => learn(GRPO, [...questions, { text: "All work and no play." }]),
    UserError,
    "is plain text; --preference grpo needs questions",
  );
  await assertRejects(
    () => learn({ ...GRPO, answerTokens: 60 }, questions),
    UserError,
    "leaves no room for an answer",
  );
});
