// What the commands that use a trained model have in common: its options, and loading it.

import {
  checkTokens,
  findCheckpoint,
  loadWeights,
  type Metadata,
  readIntentSpread,
  readWeightsInfo,
  tokenizerOf,
} from "../checkpoint/mod.ts";
import { type Precision, Runtime } from "../kernels/mod.ts";
import { GPT, type IntentSpread } from "../model/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { invocation, type OptionTable } from "./options.ts";

export const threadsOption = {
  type: "integer",
  minimum: 1,
  maximum: 64,
  help: "threads at work; all cores if not given",
} as const;

export const MODEL_OPTIONS = {
  weights: {
    type: "string",
    placeholder: "DIR",
    help: "checkpoint, a run's directory, Hugging Face's GPT-2 or a .gguf file; the newest under " +
      "weights/ if not given",
  },
  threads: threadsOption,
} as const satisfies OptionTable;

export const PRECISION_OPTION = {
  precision: {
    type: "string",
    placeholder: "NAME",
    choices: ["f32", "bf16", "int8"],
    help: "number format of the weights: the fewer bits, the faster",
    default: "int8",
  },
} as const satisfies OptionTable;

/** A model ready to generate. */
export interface LoadedModel {
  readonly model: GPT;
  readonly runtime: Runtime;
  readonly metadata: Metadata;
  readonly directory: string;
  readonly tokenizer: Tokenizer;
  /** How the logits of its intents spread, where that is known. */
  readonly spread: IntentSpread | null;
}

/** Loads the checkpoint that --weights names, or the newest. */
export async function loadModel(
  options: { weights: string | undefined; threads: number | undefined; precision?: string },
): Promise<LoadedModel> {
  const directory = findCheckpoint(options.weights, invocation("train"));
  const info = readWeightsInfo(directory);
  checkTokens(info, directory);
  const { configuration, metadata } = info;
  const spread = readIntentSpread(directory, metadata.intents?.length ?? 0);
  const runtime = await Runtime.start({ threads: options.threads });
  try {
    const precision = (options.precision ?? "f32") as Precision;
    const model = new GPT(runtime, configuration, { training: false, precision });
    await loadWeights(directory, model);
    return { model, runtime, metadata, directory, tokenizer: tokenizerOf(metadata), spread };
  } catch (error) {
    runtime.close();
    throw error;
  }
}
