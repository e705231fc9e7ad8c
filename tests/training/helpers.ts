// A small run for the training tests: nano on a few made-up conversations.

import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, parameterTable, presets } from "../../src/model/mod.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";
import {
  loadCorpus,
  prepareTeaching,
  type Recipe,
  recipes,
  type RunState,
  startOfRun,
  train,
  trainedModel,
  type TrainingEvent,
  validationLoss,
} from "../../src/training/mod.ts";
import {
  loadParameters,
  loadStates,
  readCheckpointInfo,
  readTraining,
} from "../../src/checkpoint/mod.ts";

/** nano with a vocabulary's worth of parameters less: the tests do not need its speed. */
const CONFIGURATION = { ...presets.nano, n_embd: 16, n_head: 2, n_positions: 64 };

export const RECIPE: Recipe = {
  ...recipes.conversations,
  model: "nano",
  maxTokens: 48,
  validation: 0.25,
  epochs: 3,
  batchSize: 2,
  warmupSteps: 2,
  labelSmoothing: 0.1,
  dropout: 0.1,
  stopOn: "validation",
  patience: 2,
  sampleEvery: 0,
};

/** Conversations in a file of their own. */
export function writeData(directory: string): string {
  const path = `${directory}/data.jsonl`;
  const topics = [
    "red",
    "green",
    "blue",
    "white",
    "black",
    "brown",
    "pink",
    "grey",
    "gold",
    "teal",
  ];
  const lines = topics.map((colour) =>
    JSON.stringify({ prompt: `What is ${colour}?`, completion: `A colour named ${colour}.` })
  );
  Deno.writeTextFileSync(path, lines.join("\n"));
  return path;
}

export interface TestRun {
  readonly events: TrainingEvent[];
  /** All parameters and moments, by kind and name. */
  readonly arrays: Map<string, Float32Array>;
  readonly history: string;
}

/** Mean cross-entropy of a checkpoint over a run's validation texts. */
export async function validate(
  checkpoint: string,
  data: string,
  recipe: Partial<Recipe> = {},
): Promise<number | null> {
  const files = { training: [data], validation: [], skipBadLines: false };
  const corpus = loadCorpus(files, { ...RECIPE, ...recipe }, loadTokenizer());
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const { configuration } = readCheckpointInfo(checkpoint);
    const model = new GPT(runtime, configuration, { training: false });
    loadParameters(checkpoint, model);
    return validationLoss(model, corpus.validation);
  } finally {
    runtime.close();
  }
}

/** Trains in `directory` until done, or until `stopAfter` steps of this part; resumes when asked. */
export async function runTraining(
  directory: string,
  options: {
    readonly recipe?: Partial<Recipe>;
    readonly threads?: number;
    readonly stopAfter?: number;
    readonly resume?: boolean;
  } = {},
): Promise<TestRun> {
  const recipe: Recipe = { ...RECIPE, ...options.recipe };
  const tokenizer = loadTokenizer();
  const data = [writeData(directory)];
  const files = { training: data, validation: [], skipBadLines: false };
  const corpus = loadCorpus(files, recipe, tokenizer);
  const runtime = await Runtime.start({ threads: options.threads ?? 1 });
  try {
    const { dropout } = recipe;
    const configuration = {
      ...CONFIGURATION,
      resid_pdrop: dropout,
      embd_pdrop: dropout,
      attn_pdrop: dropout,
      ...(recipe.normalization === "layernorm" ? {} : { normalization: recipe.normalization }),
    };
    const model = new GPT(runtime, configuration, trainedModel(recipe));
    let state: RunState = {
      version: 1,
      momentSteps: 0,
      recipeName: "test",
      recipe,
      init: null,
      data,
      validationData: [],
      skipBadLines: false,
      fingerprint: corpus.fingerprint,
      progress: startOfRun(),
    };
    let history: string[] = [];
    const last = `${directory}/run/last`;
    if (options.resume) {
      const saved = readTraining(last);
      state = saved.state as RunState;
      history = saved.history.trim().split("\n");
      loadParameters(last, model);
      loadStates(last, model);
      if (state.progress.averaged > 0) model.learned.swapAverage();
    } else model.initialize(recipe.seed);
    const stop = new AbortController();
    const events: TrainingEvent[] = [];
    if (recipe.teachers.length > 0) Deno.mkdirSync(`${directory}/run`, { recursive: true });
    const teaching = await prepareTeaching({
      ...{ runtime, corpus, recipe, directory: `${directory}/run`, signal: stop.signal },
      identity: state.teaching ?? null,
      onEvent: (event) => events.push(event),
    });
    let steps = 0;
    await train({
      model,
      tokenizer,
      corpus,
      teaching,
      state: teaching === null ? state : { ...state, teaching: teaching.identity },
      directory: `${directory}/run`,
      history,
      signal: stop.signal,
      onEvent: (event) => {
        events.push(event);
        if (event.event === "step" && ++steps === options.stopAfter) stop.abort();
      },
    });
    const arrays = new Map<string, Float32Array>();
    for (const kind of ["parameter", "exp_avg", "exp_avg_sq", "average"] as const) {
      for (const { name } of parameterTable(configuration)) {
        if (!model.learned.has(kind, name)) continue;
        arrays.set(`${kind} ${name}`, model.readParameter(name, kind));
      }
    }
    return { events, arrays, history: Deno.readTextFileSync(`${last}/training/history.jsonl`) };
  } finally {
    runtime.close();
  }
}

/** Runs `work` with a directory that is removed afterwards. */
export async function withDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = Deno.makeTempDirSync();
  try {
    return await work(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}
