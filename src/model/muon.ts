// Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum, whose matrix is brought near to the closest
// orthogonal one, U V^T of its singular value decomposition, before it becomes a step.

import {
  elementCount,
  matmul,
  matrixPolynomial,
  muonMomentum,
  muonStep,
  packWeight,
  PANEL,
  type Runtime,
  scale,
  sumOfSquares,
  type Tensor,
  unpackWeight,
  weightLength,
} from "../kernels/mod.ts";
import type { Parameters } from "./parameters.ts";

/** a x + b x^3 + c x^5: so steep at 0 that five rounds bring every singular value to between 0.7 and 1.2. */
const COEFFICIENTS = [3.4445, -4.775, 2.0315] as const;
const ROUNDS = 5;
const EPSILON = 1e-7;
/** The root mean square of AdamW's steps over its rate, which Muon's are scaled to (Liu et al. 2025, 2502.16982). */
const ADAMW_SIZE = 0.2;

export interface MuonStep {
  readonly gradientScale: number;
  readonly momentum: number;
  readonly learningRate: number;
  readonly weightDecay: number;
}

/**
 * Matrices that lie side by side in one tensor: c_attn [C, 3C] is the queries', the keys' and the values', and
 * each is orthogonalised on its own, since no product mixes them.
 */
function partsOf(name: string): number {
  return name.endsWith(".attn.c_attn.weight") ? 3 : 1;
}

/**
 * One step of each matrix [in, out]: p = p (1 - rate decay) - rate 0.2 sqrt(max(in, out)) orthogonal(update), update
 * being Nesterov's momentum of its gradient.
 */
export function muonUpdate(parameters: Parameters, names: readonly string[], o: MuonStep): void {
  for (const name of names) {
    parameters.runtime.arena.scope(() => updateMatrix(parameters, name, o));
  }
}

function updateMatrix(parameters: Parameters, name: string, o: MuonStep): void {
  const { runtime } = parameters, { arena } = runtime;
  const weight = parameters.weight(name), { inputs, outputs } = weight;
  const length = weightLength(inputs, outputs), parts = partsOf(name), rows = outputs / parts;
  const [gradient, moment] = (["gradient", "exp_avg"] as const)
    .map((kind) => parameters.weight(name, kind).pointer) as [number, number];
  const update = arena.allocate([length]); // in panels
  muonMomentum(runtime, update.pointer, gradient, moment, length, o.gradientScale, o.momentum);
  // Transposed, so that a part is a run of rows.
  const matrix = arena.allocate([outputs, inputs]);
  const panels = { inputs, outputs, pointer: update.pointer };
  unpackWeight(runtime, panels, matrix, true);
  for (let part = 0; part < parts; part++) {
    const pointer = matrix.pointer + part * rows * inputs * 4;
    orthogonalize(runtime, { pointer, shape: [rows, inputs], type: "f32" });
  }
  packWeight(runtime, panels, matrix, true);
  const { learningRate, weightDecay } = o;
  const rate = learningRate * ADAMW_SIZE * Math.sqrt(Math.max(inputs, rows));
  muonStep(runtime, weight.pointer, update.pointer, length, 1 - learningRate * weightDecay, rate);
}

/**
 * Newton and Schulz's iteration in place: x [m, n] / ||x||, then five times x = a x + b (x x^T) x + c (x x^T)^2 x,
 * through the smaller of x x^T and x^T x. m n must be a multiple of 16, the smaller of them one of 4.
 */
export function orthogonalize(runtime: Runtime, x: Tensor): void {
  const [m, n] = x.shape as [number, number], isWide = m <= n, k = Math.min(m, n);
  const size = Math.sqrt(sumOfSquares(runtime, x.pointer, elementCount(x.shape)));
  scale(runtime, x, 1 / Math.max(size, EPSILON));
  runtime.arena.scope(() => {
    const gram = runtime.arena.allocate([k, k]), square = runtime.arena.allocate([k, k]);
    const next = runtime.arena.allocate(x.shape);
    for (let round = 0, from = x, to = next; round < ROUNDS; round++, [from, to] = [to, from]) {
      matmul(runtime, gram, from, from, isWide ? "b" : "a");
      matmul(runtime, square, gram, gram);
      matrixPolynomial(runtime, square, gram, COEFFICIENTS);
      if (isWide) matmul(runtime, to, square, from);
      else matmul(runtime, to, from, square);
    }
    runtime.f32(x).set(runtime.f32(next)); // an odd number of rounds
  });
}

/** Floats of scratch memory that the step of a matrix [inputs, outputs] takes at most. */
export function muonScratch(inputs: number, outputs: number): number {
  const k = Math.min(inputs, outputs);
  const packed = (k + PANEL) * (Math.max(inputs, outputs) + PANEL); // an operand of a product
  return weightLength(inputs, outputs) + 2 * inputs * outputs + 2 * k * k + packed;
}
