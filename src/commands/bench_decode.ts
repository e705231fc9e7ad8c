// Generation, measured: how fast a prompt is read and an answer written in each number format, beside plain
// reading of the same bytes.

import { loadParameters, readCheckpointInfo, tokenizerOf } from "../checkpoint/mod.ts";
import { logSoftmax } from "../generation/mod.ts";
import type { Precision, Runtime } from "../kernels/mod.ts";
import { type Configuration, GPT } from "../model/mod.ts";
import { fastest } from "./bench_gemm.ts";

/** One number format's figures. */
export interface DecodeResult {
  readonly precision: Precision;
  readonly threads: number;
  /** A prompt of 512 tokens, or as long as the model reads. */
  readonly prefill_tokens_per_second: number;
  /** One text, a token at a time. */
  readonly decode_tokens_per_second: number;
  /** Four texts side by side, all their tokens. */
  readonly decode_4_tokens_per_second: number;
  /** Bytes of all weights that a token needs, times tokens a second. */
  readonly weights_gbps: number;
  /** Plain reading over the same bytes. */
  readonly memory_read_gbps: number;
}

/** GB/s of plain reading over the model's parameters, on all threads. */
export function measureRead(model: GPT, rounds = 8): number {
  const { parameters, runtime } = model;
  return runtime.arena.scope(() => {
    const result = runtime.arena.allocate([16]);
    const lines = Math.floor(parameters.length / 16);
    const from = parameters.array("parameter");
    const seconds = fastest(
      rounds,
      () => runtime.pool.run("memory_read", lines, 4096, from, result.pointer),
    );
    return lines * 64 / seconds / 1e9;
  });
}

const PROMPT = 512, ROUNDS = 24;

/** Random weights: speed does not depend on what they are. */
function randomModel(runtime: Runtime, configuration: Configuration, precision: Precision): GPT {
  const model = new GPT(runtime, configuration, { training: false, precision });
  for (const { name, shape } of model.parameters.table) {
    const values = new Float32Array(shape.reduce((a, b) => a * b));
    for (let i = 0; i < values.length; i++) {
      values[i] = ((i * 2654435761 >>> 8) % 1000) / 25000 - 0.02;
    }
    model.writeParameter(name, "parameter", values);
  }
  return model;
}

/** Measures one number format on all of a runtime's threads. */
export function measureDecode(
  runtime: Runtime,
  configuration: Configuration,
  precision: Precision,
): DecodeResult {
  const model = randomModel(runtime, configuration, precision);
  const length = Math.min(PROMPT, configuration.n_positions - ROUNDS - 1);
  const token = (i: number) => i * 31 % configuration.vocab_size;
  const prompt = Array.from({ length }, (_, i) => token(i));
  const cache = model.createCache({ tokens: length + 8 * ROUNDS, sequences: 4 });
  const sequence = cache.sequence();
  const prefill = fastest(3, () => {
    sequence.truncate(0);
    sequence.append(prompt);
  });
  sequence.truncate(16);
  // In turns, so that a slow second of the machine hits both.
  let one = Infinity, memory_read_gbps = 0;
  for (let round = 0; round < ROUNDS; round++) {
    one = Math.min(one, fastest(1, () => sequence.append([token(round)])));
    memory_read_gbps = Math.max(memory_read_gbps, measureRead(model, 1));
  }
  sequence.truncate(16);
  const four = [sequence, sequence.fork(), sequence.fork(), sequence.fork()];
  const together = fastest(
    ROUNDS,
    () => cache.append(four.map((sequence, i) => ({ sequence, tokens: [token(i)] }))),
  );
  cache.dispose();
  // Every weight but the positions' is read for a token.
  const bytes = 4 * (model.parameters.length - configuration.n_positions * configuration.n_embd);
  return {
    precision,
    threads: runtime.threads,
    prefill_tokens_per_second: length / prefill,
    decode_tokens_per_second: 1 / one,
    decode_4_tokens_per_second: 4 / together,
    weights_gbps: bytes / one / 1e9,
    memory_read_gbps,
  };
}

/** What narrower weights cost in accuracy, on real texts through the steps of decoding. */
export interface AccuracyResult {
  readonly weights: string;
  readonly tokens: number;
  readonly perplexity: Readonly<Record<Precision, number>>;
  /** Largest difference of any logit from f32's. */
  readonly largest_logit_difference: Readonly<Record<Exclude<Precision, "f32">, number>>;
}

const PRECISIONS = ["f32", "bf16", "int8"] as const;
/** Texts read side by side, and their tokens at most. */
const TEXTS = 32, TEXT_TOKENS = 64;

/** Reads texts token by token with a checkpoint's weights in every number format. */
export function measureAccuracy(
  runtime: Runtime,
  directory: string,
  texts: readonly string[],
): AccuracyResult {
  const { configuration, metadata } = readCheckpointInfo(directory);
  const tokenizer = tokenizerOf(metadata);
  const encoded = texts.map((text) => tokenizer.encode(text).slice(0, TEXT_TOKENS))
    .filter(({ length }) => length > 1).slice(0, TEXTS);
  const readers = PRECISIONS.map((precision) => {
    const model = new GPT(runtime, configuration, { training: false, precision });
    loadParameters(directory, model);
    return { precision, model };
  });
  const crossEntropy = [0, 0, 0], difference = [0, 0, 0];
  const size = { tokens: TEXTS * TEXT_TOKENS, sequences: TEXTS };
  const caches = readers.map(({ model }) => model.createCache(size));
  const sequences = caches.map((cache) => encoded.map(() => cache.sequence()));
  let tokens = 0;
  for (let at = 0; at + 1 < TEXT_TOKENS; at++) {
    const going = [...encoded.keys()].filter((i) => at + 1 < encoded[i]!.length);
    if (going.length === 0) break;
    const logits = caches.map((cache, r) =>
      cache.append(
        going.map((i) => ({ sequence: sequences[r]![i]!, tokens: [encoded[i]![at]!] })),
      ).map((row) => row.slice())
    );
    going.forEach((i, row) => {
      logits.forEach((of, r) => {
        of[row]!.forEach((logit, token) => {
          difference[r] = Math.max(difference[r]!, Math.abs(logit - logits[0]![row]![token]!));
        });
      });
      logits.forEach((of, r) => {
        logSoftmax(of[row]!);
        crossEntropy[r]! -= of[row]![encoded[i]![at + 1]!]!;
      });
    });
    tokens += going.length;
  }
  for (const cache of caches.reverse()) cache.dispose();
  const perplexity = crossEntropy.map((sum) => Math.exp(sum / tokens));
  return {
    weights: directory,
    tokens,
    perplexity: { f32: perplexity[0]!, bf16: perplexity[1]!, int8: perplexity[2]! },
    largest_logit_difference: { bf16: difference[1]!, int8: difference[2]! },
  };
}
