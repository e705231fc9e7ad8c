// Softmax and cross-entropy: typed wrappers of their kernels.

import type { Tensor } from "./arena.ts";
import { checkIndices, checkShape, matrixShape } from "./check.ts";
import { rowsPerChunk } from "./chunks.ts";
import { PANEL } from "./linear.ts";
import type { Runtime } from "./runtime.ts";

/** Softmax over the first `count` elements of every row of x [rows, stride], in place. */
export function softmax(runtime: Runtime, x: Tensor, count: number): void {
  const [rows, stride] = matrixShape("softmax x", x);
  if (!(count >= 1 && count <= stride)) throw new RangeError(`softmax: ${count} of ${stride}`);
  runtime.pool.run("softmax", rows, rowsPerChunk(stride), x.pointer, count, stride);
}

/**
 * Cross-entropy of logits [rows, stride], the first V of each row; stride is V padded to 16.
 * results [rows, 3]: smoothed loss, plain loss, and whether the target is the argmax.
 * With `gradient`, logits become (softmax - smoothed target) * weights[row] * scale.
 */
export function crossEntropy(
  runtime: Runtime,
  results: Tensor,
  logits: Tensor,
  targets: Tensor,
  weights: Tensor,
  V: number,
  o: { readonly smoothing: number; readonly scale: number; readonly gradient: boolean },
): void {
  const [rows, stride] = matrixShape("crossEntropy logits", logits);
  checkShape("crossEntropy results", results, [rows, 3]);
  checkShape("crossEntropy targets", targets, [rows]);
  checkShape("crossEntropy weights", weights, [rows]);
  if (Math.ceil(V / PANEL) * PANEL !== stride) throw new RangeError(`crossEntropy: V ${V}`);
  checkIndices("crossEntropy targets", runtime.i32(targets), -1, V);
  runtime.pool.run(
    "cross_entropy",
    rows,
    rowsPerChunk(stride),
    logits.pointer,
    targets.pointer,
    weights.pointer,
    results.pointer,
    V,
    stride,
    o.smoothing,
    o.scale,
    Number(o.gradient),
  );
}

/**
 * R-Drop's agreement of two predictions of each token, rows n and n + pairs of logits [2 pairs, stride].
 * results [pairs]: (KL(p, q) + KL(q, p)) / 2;
 * gradient [2 pairs, stride]: its gradient by the logits, times weights[n] * scale.
 */
export function agreement(
  runtime: Runtime,
  gradient: Tensor,
  results: Tensor,
  logits: Tensor,
  weights: Tensor,
  V: number,
  scale: number,
): void {
  const [rows, stride] = matrixShape("agreement logits", logits);
  if (rows % 2 !== 0) throw new RangeError(`agreement: ${rows} rows are no pairs`);
  checkShape("agreement gradient", gradient, [rows, stride]);
  checkShape("agreement results", results, [rows / 2]);
  checkShape("agreement weights", weights, [rows]);
  if (Math.ceil(V / PANEL) * PANEL !== stride) throw new RangeError(`agreement: V ${V}`);
  runtime.pool.run(
    "agreement",
    rows / 2,
    rowsPerChunk(2 * stride),
    gradient.pointer,
    results.pointer,
    logits.pointer,
    weights.pointer,
    rows / 2,
    V,
    stride,
    scale,
  );
}
