// What the commands that use a trained model have in common: its options, and loading it.

import {
  findCheckpoint,
  loadParameters,
  type Metadata,
  readCheckpointInfo,
} from "../checkpoint/mod.ts";
import { Runtime } from "../kernels/mod.ts";
import { GPT } from "../model/mod.ts";
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
    help: "checkpoint, or a run's directory; the newest under weights/ if not given",
  },
  threads: threadsOption,
} as const satisfies OptionTable;

export const SAMPLING_OPTIONS = {
  temperature: {
    type: "number",
    minimum: 0,
    maximum: 10,
    help: "0 always takes the likeliest token, 1 samples as trained",
  },
  "top-k": {
    type: "integer",
    minimum: 0,
    placeholder: "K",
    help: "sample among the K likeliest tokens; 0 for all",
  },
  "top-p": {
    type: "number",
    minimum: 0,
    maximum: 1,
    above: true,
    placeholder: "P",
    help: "sample among the likeliest tokens that together have probability P",
  },
  seed: { type: "integer", minimum: 0, maximum: 2 ** 32 - 1, help: "another seed, another sample" },
  "max-tokens": { type: "integer", minimum: 1, maximum: 4096, help: "longest answer" },
} as const satisfies OptionTable;

/** A model ready to generate. */
export interface LoadedModel {
  readonly model: GPT;
  readonly runtime: Runtime;
  readonly metadata: Metadata;
  readonly directory: string;
}

/** Loads the checkpoint that --weights names, or the newest. */
export async function loadModel(
  options: { weights: string | undefined; threads: number | undefined },
): Promise<LoadedModel> {
  const directory = findCheckpoint(options.weights, invocation("train"));
  const { configuration, metadata } = readCheckpointInfo(directory);
  const runtime = await Runtime.start({ threads: options.threads });
  try {
    const model = new GPT(runtime, configuration, { training: false });
    loadParameters(directory, model);
    return { model, runtime, metadata, directory };
  } catch (error) {
    runtime.close();
    throw error;
  }
}
