// The other optimisers in f64, as their papers define them; AdamW is in training.ts.

import { matmul } from "./layers.ts";

type Numbers = ArrayLike<number>;

export interface LionOptions {
  learningRate: number;
  beta1: number;
  beta2: number;
  weightDecay: number;
  gradientScale?: number;
}

/** One step of Lion (Chen et al. 2023, algorithm 2): what becomes of p and m, and what the sign was taken of. */
export function lion(p: Numbers, g: Numbers, m: Numbers, o: LionOptions) {
  const n = p.length;
  const result = { p: new Float64Array(n), m: new Float64Array(n), direction: new Float64Array(n) };
  for (let i = 0; i < n; i++) {
    const gradient = g[i]! * (o.gradientScale ?? 1);
    const direction = o.beta1 * m[i]! + (1 - o.beta1) * gradient;
    result.direction[i] = direction;
    result.p[i] = p[i]! - o.learningRate * (Math.sign(direction) + o.weightDecay * p[i]!);
    result.m[i] = o.beta2 * m[i]! + (1 - o.beta2) * gradient;
  }
  return result;
}

/** Newton and Schulz's five rounds on x [rows, columns] (Jordan et al. 2024). */
export function newtonSchulz(x: Numbers, rows: number, columns: number): Float64Array {
  const [a, b, c] = [3.4445, -4.775, 2.0315] as const;
  let size = 0;
  for (let i = 0; i < x.length; i++) size += x[i]! ** 2;
  let y = Float64Array.from(x, (value) => value / Math.max(Math.sqrt(size), 1e-7));
  for (let round = 0; round < 5; round++) {
    const gram = matmul(y, y, rows, rows, columns, { transposeB: true });
    const square = matmul(gram, gram, rows, rows, rows);
    const factor = gram.map((value, i) => b * value + c * square[i]!);
    const pulled = matmul(factor, y, rows, columns, rows);
    y = y.map((value, i) => a * value + pulled[i]!);
  }
  return y;
}
