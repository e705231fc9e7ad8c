// The loss and the optimiser in f64, as PyTorch defines them; see layers.ts for the manner.

import { softmax } from "./layers.ts";

type Numbers = ArrayLike<number>;

/**
 * Cross-entropy of logits [rows, V] as F.cross_entropy(label_smoothing) has it: a row's loss is
 * (1 - e) * -log p[target] + e / V * sum over all classes of -log p, times its weight (1 if absent);
 * a row with target -1 counts for nothing. Losses are sums; `dlogits` is the gradient of
 * scale * loss; `correct` counts the rows whose first largest logit is the target's.
 */
export function crossEntropy(
  logits: Numbers,
  targets: Numbers,
  weights: Numbers | null,
  labelSmoothing: number,
  scale = 1,
) {
  const rows = targets.length;
  const classes = logits.length / rows;
  const dlogits = new Float64Array(logits.length);
  const sums = { loss: 0, crossEntropy: 0, weight: 0, targets: 0, correct: 0 };
  for (let r = 0; r < rows; r++) {
    const target = targets[r]!;
    if (target < 0) continue;
    const weight = weights?.[r] ?? 1;
    const row = Array.from({ length: classes }, (_, c) => logits[r * classes + c]!);
    const largest = Math.max(...row);
    const logSum = largest +
      Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
    const meanLoss = row.reduce((sum, logit) => sum + logSum - logit, 0) / classes;
    const targetLoss = logSum - row[target]!;
    sums.loss += weight * ((1 - labelSmoothing) * targetLoss + labelSmoothing * meanLoss);
    sums.crossEntropy += weight * targetLoss;
    sums.weight += weight;
    sums.targets += 1;
    if (row.indexOf(largest) === target) sums.correct += 1;
    const probabilities = softmax(row);
    for (let c = 0; c < classes; c++) {
      const wanted = labelSmoothing / classes + (c === target ? 1 - labelSmoothing : 0);
      dlogits[r * classes + c] = scale * weight * (probabilities[c]! - wanted);
    }
  }
  return { ...sums, dlogits };
}

/** What clip_grad_norm_ multiplies the gradients by; its 1e-6 keeps a norm of 0 from dividing. */
export function clipScale(gradientNorm: number, clip: number): number {
  return Math.min(1, clip / (gradientNorm + 1e-6));
}

export function sumOfSquares(x: Numbers): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!;
  return sum;
}

export interface AdamWOptions {
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  weightDecay: number;
  /** From 1. */
  step: number;
  /** Multiplies the gradient first: clipping. */
  gradientScale?: number;
}

/** One step of AdamW (Loshchilov and Hutter, 2019): what becomes of p, m and v given g. */
export function adamW(p: Numbers, g: Numbers, m: Numbers, v: Numbers, o: AdamWOptions) {
  const n = p.length;
  const result = { p: new Float64Array(n), m: new Float64Array(n), v: new Float64Array(n) };
  for (let i = 0; i < n; i++) {
    const gradient = g[i]! * (o.gradientScale ?? 1);
    result.m[i] = o.beta1 * m[i]! + (1 - o.beta1) * gradient;
    result.v[i] = o.beta2 * v[i]! + (1 - o.beta2) * gradient * gradient;
    const mean = result.m[i]! / (1 - o.beta1 ** o.step);
    const variance = result.v[i]! / (1 - o.beta2 ** o.step);
    const decayed = p[i]! * (1 - o.learningRate * o.weightDecay);
    result.p[i] = decayed - o.learningRate * mean / (Math.sqrt(variance) + o.epsilon);
  }
  return result;
}
