// AdamW, the gradient's norm and seeded initial values: typed wrappers over whole arrays.

import { checkMultiple } from "./check.ts";
import { ELEMENTS_PER_CHUNK } from "./chunks.ts";
import { momentGroup, type Moments } from "./moments.ts";
import type { Runtime } from "./runtime.ts";

export interface AdamWStep {
  readonly gradientScale: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly epsilon: number;
  /** Counts from 1. */
  readonly step: number;
}

/** Where the stochastic rounding of moments takes its random bits from. */
export interface RoundingStream {
  readonly keyA: number;
  readonly keyB: number;
  /** Number of the first element among those that the stream counts. */
  readonly first: number;
}

/**
 * One AdamW step over `length` floats (a multiple of 16, with moments in int8 of 256) of parameters and gradients,
 * and as many moments of one format. Gradients become zero. Only f32 moments do without `rounding`.
 */
export function adamw(
  runtime: Runtime,
  parameters: number,
  gradients: number,
  moments: Moments,
  squares: Moments,
  length: number,
  o: AdamWStep,
  rounding: RoundingStream = { keyA: 0, keyB: 0, first: 0 },
): void {
  const { format } = moments, group = momentGroup(format);
  checkMultiple("adamw length", length, group);
  if (squares.format !== format) throw new TypeError(`adamw: ${format} and ${squares.format}`);
  const { keyA, keyB, first } = rounding;
  runtime.pool.run(
    { f32: "adamw", bf16: "adamw_bf16", int8: "adamw_int8" }[format],
    length / group,
    ELEMENTS_PER_CHUNK / group,
    parameters,
    gradients,
    moments.pointer,
    squares.pointer,
    ...(format === "int8" ? [moments.scales, squares.scales] : []),
    o.gradientScale,
    o.beta1,
    o.beta2,
    1 - o.learningRate * o.weightDecay,
    o.learningRate / (1 - o.beta1 ** o.step),
    1 / Math.sqrt(1 - o.beta2 ** o.step),
    o.epsilon,
    ...(format === "f32" ? [] : [first, keyA, keyB]),
  );
}

/** to = keep * to + (1 - keep) * from, over `length` floats (a multiple of 16). */
export function average(
  runtime: Runtime,
  to: number,
  from: number,
  length: number,
  keep: number,
): void {
  checkMultiple("average length", length, 16);
  runtime.pool.run("average", length / 16, ELEMENTS_PER_CHUNK / 16, to, from, keep);
}

const SQUARES_BLOCK = 65536; // as in assembly/adamw.ts

/** Sum of squares of `length` floats (a multiple of 16), the same for every number of threads. */
export function sumOfSquares(runtime: Runtime, pointer: number, length: number): number {
  checkMultiple("sumOfSquares length", length, 16);
  const blocks = Math.ceil(length / SQUARES_BLOCK);
  return runtime.arena.scope(() => {
    const results = runtime.arena.allocate([blocks * 2]); // f64
    runtime.pool.run("sum_of_squares", blocks, 1, results.pointer, pointer, length);
    const sums = new Float64Array(runtime.memory.buffer, results.pointer, blocks);
    return sums.reduce((total, sum) => total + sum, 0);
  });
}

/** Fills `length` floats (a multiple of 16) with deviation * normal(0, 1) of the stream of two keys. */
export function fillNormal(
  runtime: Runtime,
  pointer: number,
  length: number,
  deviation: number,
  keyA: number,
  keyB: number,
): void {
  checkMultiple("fillNormal length", length, 16);
  const chunk = ELEMENTS_PER_CHUNK / 16;
  runtime.pool.run("normal", length / 16, chunk, pointer, deviation, keyA, keyB);
}
