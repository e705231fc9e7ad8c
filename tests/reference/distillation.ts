// Distillation in f64: what its kernels must compute; see layers.ts for the manner.

import { softmax } from "./layers.ts";

type Numbers = ArrayLike<number>;

/** A reverse divergence takes a teacher's probability for at least this. */
export const LEAST = 1e-10;

/**
 * Divergence of q = softmax(logits / temperature) from the probabilities p of the listed tokens and, as one class
 * more, `rest` of all others: sum p ln(p / q), or with `reverse` sum q ln(q / p); and its gradient by the logits.
 */
export function distillation(
  logits: Numbers,
  tokens: Numbers,
  probabilities: Numbers,
  rest: number,
  { temperature, reverse }: { readonly temperature: number; readonly reverse: boolean },
): { value: number; dlogits: Float64Array } {
  const V = logits.length;
  const dlogits = new Float64Array(V);
  if (tokens.length === 0) return { value: 0, dlogits };
  const q = softmax(Array.from(logits, (z) => z / temperature));
  // The class of each token: its place in the list, or the last.
  const classOf = new Int32Array(V).fill(tokens.length);
  Array.from(tokens).forEach((token, j) => classOf[token] = j);
  const own = new Float64Array(tokens.length + 1);
  for (let i = 0; i < V; i++) own[classOf[i]!]! += q[i]!;
  const classes = tokens.length < V ? own.length : tokens.length;
  const p = Float64Array.from([...Array.from(probabilities), rest].slice(0, classes));
  const mass = p.reduce((a, b) => a + b, 0);
  const ratio = p.map((value, c) => Math.log(own[c]! / Math.max(value, LEAST)));
  const value = p.reduce((sum, value, c) => {
    if (reverse) return sum + own[c]! * ratio[c]!;
    return value === 0 ? sum : sum - value * Math.log(own[c]! / value);
  }, 0);
  for (let i = 0; i < V; i++) {
    const c = classOf[i]!;
    // d own[c] / d logits[i] is q[i] (1 if i is of class c else 0, less own[c]) / temperature.
    const slope = reverse ? ratio[c]! - value : mass - p[c]! / own[c]!;
    dlogits[i] = q[i]! * slope / temperature;
  }
  return { value, dlogits };
}
