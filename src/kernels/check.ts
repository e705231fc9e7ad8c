// The checks that stand between TypeScript and kernels, which trust every address and index.

import type { Tensor } from "./arena.ts";

/** @throws RangeError unless the tensor has exactly this shape */
export function checkShape(what: string, tensor: Tensor, shape: readonly number[]): void {
  const { shape: actual } = tensor;
  if (actual.length === shape.length && actual.every((size, i) => size === shape[i])) return;
  throw new RangeError(`${what}: must have shape [${shape}], got [${actual}]`);
}

/** @throws RangeError unless every index lies in [low, high) */
export function checkIndices(
  what: string,
  indices: ArrayLike<number>,
  low: number,
  high: number,
): void {
  for (let i = 0; i < indices.length; i++) {
    const index = indices[i]!;
    if (index >= low && index < high) continue;
    throw new RangeError(`${what}[${i}]: must be from ${low} to ${high - 1}, got ${index}`);
  }
}

/** @throws RangeError unless x is a multiple of `factor` */
export function checkMultiple(what: string, x: number, factor: number): void {
  if (x % factor !== 0) throw new RangeError(`${what}: must be a multiple of ${factor}, got ${x}`);
}

/**
 * The two dimensions of a matrix.
 * @throws RangeError when it is none
 */
export function matrixShape(what: string, x: Tensor): [rows: number, channels: number] {
  const [rows, channels] = x.shape;
  if (x.shape.length !== 2) throw new RangeError(`${what}: must be a matrix, got [${x.shape}]`);
  return [rows!, channels!];
}

/** @throws RangeError unless p is a probability below 1, by whose rest kernels divide */
export function checkProbability(what: string, p: number): void {
  if (!(p >= 0 && p < 1)) throw new RangeError(`${what}: must be from 0 to below 1, got ${p}`);
}
