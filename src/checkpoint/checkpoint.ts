// A checkpoint: config.json, model.safetensors, and under training/ what continuing a run needs.

import { UserError } from "../errors.ts";
import {
  type Configuration,
  type GPT,
  type IntentSpread,
  type MomentKind,
  type Normalization,
  NORMALIZATIONS,
  parameterTable,
} from "../model/mod.ts";
import {
  checkVocabulary,
  CompactTokenizer,
  type FormatName,
  formats,
  loadTokenizer,
  type Tokenizer,
} from "../tokenizer/mod.ts";
import { writeAdapter } from "./adapter.ts";
import { recoverDirectory, replaceDirectory, writeFlushed } from "./directory.ts";
import { readJson } from "./files.ts";
import { writeIntentSpread } from "./intents.ts";
import { writeMoments, writeStates } from "./moments.ts";
import { SafetensorsFile, writeSafetensors } from "./safetensors.ts";

/** What we add to Hugging Face's configuration, under `illuminator`. */
export interface Metadata {
  /** The format that conversations were trained in first. */
  readonly format: FormatName;
  /** Questions with their answers that nearly all training conversations stay within. */
  readonly turns: number;
  /** Optimiser steps and epochs behind these weights. */
  readonly step: number;
  readonly epoch: number;
  /** The recipe as it was really used. */
  readonly recipe?: unknown;
  /**
   * When the model is guessing: the least probability of an answer that it should give, and what to say otherwise.
   */
  readonly unsure?: { readonly probability: number; readonly answer: string };
  /** The GPT-2 tokens of a compact vocabulary, ascending; absent for GPT-2's own. */
  readonly vocabulary?: readonly number[];
  /** With a compact vocabulary: the intents that have a token, which the model says before its answer. */
  readonly intents?: readonly string[];
  /** False where not all that a model with intents learned from named one: an answer may begin with its words, too. */
  readonly decides?: boolean;
}

export interface SaveOptions {
  readonly metadata: Metadata;
  /** Number format of the weights; f32 if absent. Continuing a run exactly needs f32. */
  readonly type?: "f32" | "bf16";
  /** The model that adapters stand beside. */
  readonly base?: string;
  /** How the logits of the model's intents spread, where that is known. */
  readonly spread?: IntentSpread | null;
  /** What continuing needs beside weights: adds training/ with the moments. */
  readonly training?: {
    readonly state: unknown;
    /** Lines of JSON. */
    readonly history: string;
  };
}

const CONFIG = "config.json", MODEL = "model.safetensors";
const STATE = "training/state.json";
const HISTORY = "training/history.jsonl";

/** Replaces the checkpoint in `directory` as a whole. */
export function saveCheckpoint(directory: string, model: GPT, options: SaveOptions): void {
  const { training, spread } = options;
  saveWeights(directory, model.configuration, options, {
    values: (name) => model.readParameter(name),
    beside: (temporary) => {
      if (model.parameters.adapters !== null) writeAdapter(temporary, model, options.base ?? "");
      if (spread) writeIntentSpread(temporary, spread);
      if (training === undefined) return;
      Deno.mkdirSync(`${temporary}/training`);
      writeStates(temporary, model.learned);
      writeFlushed(`${temporary}/${STATE}`, JSON.stringify(training.state, null, 2) + "\n");
      writeFlushed(`${temporary}/${HISTORY}`, training.history);
    },
  });
}

/** Where saved weights come from. */
export interface WeightsSource {
  /** A tensor of the parameter table. */
  values(name: string, shape: readonly number[]): Float32Array;
  /** AdamW's moments of a tensor, where there are any. */
  moments?:
    | ((kind: MomentKind, name: string, shape: readonly number[]) => Float32Array)
    | undefined;
  /** Writes what else belongs into the directory. */
  beside?(temporary: string): void;
}

/** Replaces the checkpoint in `directory` by weights that need not be in a model. */
export function saveWeights(
  directory: string,
  configuration: Configuration,
  options: SaveOptions,
  source: WeightsSource,
): void {
  const tensors = parameterTable(configuration).map(({ name, shape }) => ({
    name,
    shape,
    values: () => source.values(name, shape),
  }));
  replaceDirectory(directory, CONFIG, (temporary) => {
    writeSafetensors(`${temporary}/${MODEL}`, tensors, options.type === "bf16" ? "BF16" : "F32");
    if (source.moments !== undefined) {
      Deno.mkdirSync(`${temporary}/training`);
      writeMoments(temporary, parameterTable(configuration), source.moments);
    }
    source.beside?.(temporary);
    // Last: a directory with a configuration is complete.
    const config = configOf(configuration, options);
    writeFlushed(`${temporary}/${CONFIG}`, JSON.stringify(config, null, 2) + "\n");
  });
}

/** What a model calls itself that only we read, so that nobody takes it for a GPT-2. */
const OWN_TYPE = "illuminator";

/** Hugging Face's GPT-2 fields, and ours. */
function configOf(configuration: Configuration, { metadata, type }: SaveOptions) {
  const { endOfText, pad } = tokenizerOf(metadata).special;
  const { normalization = "layernorm", ...gpt2 } = configuration;
  const isGpt2 = normalization === "layernorm";
  return {
    ...(isGpt2 ? { architectures: ["GPT2LMHeadModel"] } : {}),
    model_type: isGpt2 ? "gpt2" : OWN_TYPE,
    torch_dtype: type === "bf16" ? "bfloat16" : "float32",
    ...gpt2,
    n_ctx: configuration.n_positions,
    bos_token_id: endOfText,
    eos_token_id: endOfText,
    pad_token_id: pad,
    tie_word_embeddings: true,
    illuminator: isGpt2 ? metadata : { ...metadata, normalization },
  };
}

/** What Hugging Face's GPT-2 can also be, and ours cannot. */
const FIXED = {
  tie_word_embeddings: true,
  scale_attn_weights: true,
  scale_attn_by_inverse_layer_idx: false,
  add_cross_attention: false,
} as const;

const ACTIVATIONS: Readonly<Record<string, Configuration["activation_function"]>> = {
  gelu: "gelu",
  gelu_new: "gelu_new",
  gelu_pytorch_tanh: "gelu_new",
};

/** A checkpoint's description. */
export interface CheckpointInfo {
  readonly configuration: Configuration;
  readonly metadata: Metadata;
}

/**
 * Reads config.json.
 * @throws UserError when there is none or it is damaged
 */
export function readCheckpointInfo(directory: string): CheckpointInfo {
  recoverDirectory(directory);
  const path = `${directory}/${CONFIG}`;
  const config = readJson(path, "is no checkpoint: it") as Record<string, unknown>;
  if (config.model_type !== "gpt2" && config.model_type !== OWN_TYPE) {
    throw new UserError(
      `${path}: model_type must be "gpt2", is ${JSON.stringify(config.model_type)}`,
    );
  }
  const number = (name: string, fallback?: number) => {
    const value = config[name] ?? fallback;
    if (typeof value === "number") return value;
    throw new UserError(`${path}: ${name} must be a number, is ${JSON.stringify(value)}`);
  };
  for (const [name, value] of Object.entries(FIXED)) {
    if ((config[name] ?? value) === value) continue;
    throw new UserError(`${path}: ${name} must be ${value}, is ${JSON.stringify(config[name])}`);
  }
  const activation = ACTIVATIONS[String(config.activation_function ?? "gelu_new")];
  if (activation === undefined) {
    throw new UserError(
      `${path}: activation_function must be gelu or gelu_new, is ${config.activation_function}`,
    );
  }
  return {
    configuration: {
      vocab_size: number("vocab_size"),
      n_positions: number("n_positions"),
      n_embd: number("n_embd"),
      n_layer: number("n_layer"),
      n_head: number("n_head"),
      n_inner: config.n_inner == null ? null : number("n_inner"),
      activation_function: activation,
      resid_pdrop: number("resid_pdrop", 0.1),
      embd_pdrop: number("embd_pdrop", 0.1),
      attn_pdrop: number("attn_pdrop", 0.1),
      layer_norm_epsilon: number("layer_norm_epsilon", 1e-5),
      ...normalizationField(config.illuminator, path),
    },
    metadata: metadataOf(config.illuminator, path, number("vocab_size")),
  };
}

/** The normalisation, where it is not GPT-2's. */
function normalizationField(
  value: unknown,
  path: string,
): Pick<Configuration, "normalization"> {
  const { normalization = "layernorm" } = (value ?? {}) as { normalization?: unknown };
  if (!NORMALIZATIONS.includes(normalization as Normalization)) {
    throw new UserError(
      `${path}: illuminator.normalization must be one of ${NORMALIZATIONS.join(", ")}, is ${
        JSON.stringify(normalization)
      }`,
    );
  }
  return normalization === "layernorm" ? {} : { normalization: normalization as Normalization };
}

/** Our part of a configuration, checked. */
export function metadataOf(value: unknown, path: string, vocabularySize: number): Metadata {
  const fields = (value ?? {}) as Record<string, unknown>;
  const format = fields.format ?? "human-assistant";
  if (typeof format !== "string" || !Object.hasOwn(formats, format)) {
    throw new UserError(`${path}: illuminator.format ${JSON.stringify(format)} is unknown`);
  }
  return {
    format: format as FormatName,
    turns: Math.max(1, Math.floor(Number(fields.turns ?? 1)) || 1),
    step: Number(fields.step ?? 0),
    epoch: Number(fields.epoch ?? 0),
    recipe: fields.recipe,
    ...unsureField(fields.unsure),
    ...(fields.decides === false ? { decides: false } : {}),
    ...vocabularyFields(fields, path, vocabularySize),
  };
}

function unsureField(value: unknown): Pick<Metadata, "unsure"> {
  const { probability, answer } = (value ?? {}) as Record<string, unknown>;
  if (typeof probability !== "number" || typeof answer !== "string") return {};
  return { unsure: { probability, answer } };
}

function vocabularyFields(
  { vocabulary, intents = [] }: Record<string, unknown>,
  path: string,
  size: number,
): Pick<Metadata, "vocabulary" | "intents"> {
  if (vocabulary === undefined) return {};
  try {
    if (!Array.isArray(vocabulary)) throw new RangeError("a vocabulary must be a list");
    checkVocabulary(vocabulary);
    if (!isNames(intents)) throw new RangeError("intents must be a list of different names");
    const { vocabularySize } = new CompactTokenizer(loadTokenizer(), vocabulary, intents);
    if (vocabularySize === size) return { vocabulary, intents };
    throw new RangeError(`it makes ${vocabularySize} tokens, vocab_size is ${size}`);
  } catch (error) {
    throw new UserError(`${path}: illuminator.vocabulary: ${(error as Error).message}`);
  }
}

function isNames(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((name) => typeof name === "string") &&
    new Set(value).size === value.length;
}

/** The tokenizer that a checkpoint was trained with. */
export function tokenizerOf({ vocabulary, intents }: Metadata): Tokenizer {
  const gpt2 = loadTokenizer();
  return vocabulary === undefined ? gpt2 : new CompactTokenizer(gpt2, vocabulary, intents);
}

/** Reads the weights into a model of the checkpoint's configuration. */
export function loadParameters(directory: string, model: GPT): void {
  using file = new SafetensorsFile(`${directory}/${MODEL}`);
  for (const { name, shape } of parameterTable(model.configuration)) {
    model.writeParameter(name, "parameter", file.read(name, shape));
  }
}

/**
 * What a run left for continuing: its state and the history so far.
 * @throws UserError when the checkpoint holds none
 */
export function readTraining(directory: string): { state: unknown; history: string } {
  recoverDirectory(directory);
  const state = readJson(`${directory}/${STATE}`, "cannot be resumed: it");
  try {
    return { state, history: Deno.readTextFileSync(`${directory}/${HISTORY}`) };
  } catch {
    throw new UserError(`${directory}: cannot be resumed: it has no ${HISTORY}`);
  }
}
