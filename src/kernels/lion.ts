// Lion: the typed wrapper of its kernel.

import { checkMultiple } from "./check.ts";
import { ELEMENTS_PER_CHUNK } from "./chunks.ts";
import type { Runtime } from "./runtime.ts";

export interface LionStep {
  readonly gradientScale: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly learningRate: number;
  readonly weightDecay: number;
}

/** One Lion step over `length` floats (a multiple of 16) of three arrays; gradients become zero. */
export function lion(
  runtime: Runtime,
  parameters: number,
  gradients: number,
  moments: number,
  length: number,
  o: LionStep,
): void {
  checkMultiple("lion length", length, 16);
  runtime.pool.run(
    "lion",
    length / 16,
    ELEMENTS_PER_CHUNK / 16,
    parameters,
    gradients,
    moments,
    o.gradientScale,
    o.beta1,
    o.beta2,
    1 - o.learningRate * o.weightDecay,
    o.learningRate,
  );
}
