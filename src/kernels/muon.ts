// What Muon does element by element: typed wrappers of its kernels.

import { elementCount, type Tensor } from "./arena.ts";
import { checkMultiple, checkShape } from "./check.ts";
import { ELEMENTS_PER_CHUNK, rowsPerChunk } from "./chunks.ts";
import type { Runtime } from "./runtime.ts";

const CHUNK = ELEMENTS_PER_CHUNK / 16;

/**
 * Takes `length` gradients (a multiple of 16) into their moments by Nesterov's rule and zeros them:
 * update [length] = what is to be orthogonalised.
 */
export function muonMomentum(
  runtime: Runtime,
  update: number,
  gradients: number,
  moments: number,
  length: number,
  gradientScale: number,
  momentum: number,
): void {
  checkMultiple("muonMomentum length", length, 16);
  const pointers = [update, gradients, moments];
  runtime.pool.run("muon_momentum", length / 16, CHUNK, ...pointers, gradientScale, momentum);
}

/** x *= factor, its elements a multiple of 16. */
export function scale(runtime: Runtime, x: Tensor, factor: number): void {
  const count = elementCount(x.shape);
  checkMultiple("scale elements", count, 16);
  runtime.pool.run("muon_scale", count / 16, CHUNK, x.pointer, factor);
}

/** square [n, n] = c square + b gram [n, n] + a identity, n a multiple of 4. */
export function matrixPolynomial(
  runtime: Runtime,
  square: Tensor,
  gram: Tensor,
  [a, b, c]: readonly [number, number, number],
): void {
  const n = square.shape[0]!;
  checkMultiple("matrixPolynomial n", n, 4);
  checkShape("matrixPolynomial square", square, [n, n]);
  checkShape("matrixPolynomial gram", gram, [n, n]);
  const pointers = [square.pointer, gram.pointer];
  runtime.pool.run("muon_polynomial", n, rowsPerChunk(n), ...pointers, n, a, b, c);
}

/** parameters = parameters * keep - rate * update, over `length` floats (a multiple of 16). */
export function muonStep(
  runtime: Runtime,
  parameters: number,
  update: number,
  length: number,
  keep: number,
  rate: number,
): void {
  checkMultiple("muonStep length", length, 16);
  runtime.pool.run("muon_step", length / 16, CHUNK, parameters, update, keep, rate);
}
