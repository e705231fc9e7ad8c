// Generation, measured: how fast a prompt is read and an answer written in each number format, beside plain
// reading of the same bytes.

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
