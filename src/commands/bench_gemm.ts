// The matrix products of a model, measured beside the machine's own limits and, on request, OpenBLAS.

import {
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  packWeight,
  type Runtime,
  type Tensor,
  type Weight,
  weightLength,
} from "../kernels/mod.ts";
import { type Configuration, innerWidth } from "../model/mod.ts";
import type { Blas, BlasMatrix } from "./blas.ts";

/** Seconds of the fastest of several runs: what the machine can do when nothing disturbs it. */
export function fastest(rounds: number, work: () => void): number {
  let milliseconds = Infinity;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    work();
    milliseconds = Math.min(milliseconds, performance.now() - start);
  }
  return milliseconds / 1000;
}

/** One product at one size, in GFLOP/s. */
export interface GemmResult {
  readonly layer: string;
  /** forward: y = x W; input: dx = dy W^T; weight: dW += x^T dy */
  readonly pass: "forward" | "input" | "weight";
  /** Tokens. */
  readonly n: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly threads: number;
  readonly gemm_gflops: number;
  /** One thread's multiply-add peak in the same seconds: a shared machine's speed changes. */
  readonly fma_peak_gflops: number;
  readonly openblas_gflops?: number;
}

/** Operations that one call of the register-only loop makes per repeat. */
const FMA_OPERATIONS = 96;

/** Seconds that a product is measured for, and its rounds at least. */
const SECONDS = 0.6, FEWEST_ROUNDS = 5;

/**
 * GFLOP/s of 128-bit multiply-adds that touch no memory, on the calling thread. As many operations as the
 * product that is measured has: a short burst would find quiet moments that a longer product cannot.
 */
function fmaPeak(runtime: Runtime, operations: number): number {
  const repeats = Math.ceil(Math.min(operations, 2e9) / FMA_OPERATIONS);
  return FMA_OPERATIONS * repeats / fastest(1, () => runtime.exports.fma_peak!(repeats, 0.5)) / 1e9;
}

/** The linear layers of a model, the tied head among them. */
function layersOf(c: Configuration): { layer: string; inputs: number; outputs: number }[] {
  const C = c.n_embd, F = innerWidth(c);
  return [
    { layer: "attn.c_attn", inputs: C, outputs: 3 * C },
    { layer: "attn.c_proj", inputs: C, outputs: C },
    { layer: "mlp.c_fc", inputs: C, outputs: F },
    { layer: "mlp.c_proj", inputs: F, outputs: C },
    { layer: "head", inputs: C, outputs: c.vocab_size },
  ];
}

interface Operands {
  readonly x: Tensor; // [n, inputs]
  readonly y: Tensor; // [n, outputs]
  readonly matrix: Tensor; // [inputs, outputs] row-major, as BLAS reads it
  readonly weight: Weight;
}

function operands(runtime: Runtime, n: number, inputs: number, outputs: number): Operands {
  const { arena } = runtime;
  const fill = (tensor: Tensor) => {
    const values = runtime.f32(tensor);
    for (let i = 0; i < values.length; i++) values[i] = (i * 2654435761 % 1000) / 1000 - 0.5;
    return tensor;
  };
  const matrix = fill(arena.allocate([inputs, outputs]));
  const weight = {
    pointer: arena.allocate([weightLength(inputs, outputs)]).pointer,
    inputs,
    outputs,
  };
  packWeight(runtime, weight, matrix, false);
  return {
    x: fill(arena.allocate([n, inputs])),
    y: fill(arena.allocate([n, outputs])),
    matrix,
    weight,
  };
}

/** Ours and BLAS's way to compute one pass of a layer. */
function contenders(runtime: Runtime, o: Operands, pass: GemmResult["pass"], blas: Blas | null) {
  const n = o.x.shape[0]!, { inputs, outputs } = o.weight;
  const plain = (tensor: Tensor): BlasMatrix => ({ tensor, transposed: false });
  const transposed = (tensor: Tensor): BlasMatrix => ({ tensor, transposed: true });
  if (pass === "forward") {
    return {
      ours: () => linearForward(runtime, o.y, o.x, o.weight, null),
      theirs: () => blas?.multiply([n, outputs, inputs], plain(o.x), plain(o.matrix), 0, o.y),
    };
  }
  if (pass === "input") {
    return {
      ours: () => linearBackwardInput(runtime, o.x, o.y, o.weight),
      theirs: () => blas?.multiply([n, inputs, outputs], plain(o.y), transposed(o.matrix), 0, o.x),
    };
  }
  return {
    ours: () => linearBackwardWeight(runtime, o.weight, o.x, o.y),
    theirs: () => blas?.multiply([inputs, outputs, n], transposed(o.x), plain(o.y), 1, o.matrix),
  };
}

/** Measures every layer at n tokens on all of a runtime's threads; BLAS takes turns with ours. */
export function measureGemm(
  runtime: Runtime,
  configuration: Configuration,
  n: number,
  blas: Blas | null,
  passes: readonly GemmResult["pass"][],
): GemmResult[] {
  if (blas !== null) blas.threads = runtime.threads;
  return layersOf(configuration).flatMap(({ layer, inputs, outputs }) =>
    runtime.arena.scope(() => {
      const operation = operands(runtime, n, inputs, outputs);
      return passes.map((pass) => {
        const { ours, theirs } = contenders(runtime, operation, pass, blas);
        const operations = 2 * n * inputs * outputs;
        let our = Infinity, their = Infinity, fma_peak_gflops = 0;
        // All in turns, so that a slow second of the machine hits all of them.
        const start = performance.now();
        const left = () => performance.now() - start < SECONDS * 1000;
        for (let round = 0; round < FEWEST_ROUNDS || left(); round++) {
          fma_peak_gflops = Math.max(fma_peak_gflops, fmaPeak(runtime, operations));
          our = Math.min(our, fastest(1, ours));
          if (blas !== null) their = Math.min(their, fastest(1, theirs));
        }
        const result = {
          ...{ layer, pass, n, inputs, outputs, threads: runtime.threads },
          gemm_gflops: operations / our / 1e9,
          fma_peak_gflops,
        };
        return blas === null ? result : { ...result, openblas_gflops: operations / their / 1e9 };
      });
    })
  );
}
