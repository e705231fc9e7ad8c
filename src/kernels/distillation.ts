// Knowledge distillation: typed wrappers of its kernels.

import type { Tensor } from "./arena.ts";
import { checkIndices, checkShape, matrixShape } from "./check.ts";
import { rowsPerChunk } from "./chunks.ts";
import { PANEL } from "./linear.ts";
import type { Runtime } from "./runtime.ts";

function checkTemperature(temperature: number): void {
  if (temperature > 0 && temperature < Infinity) return;
  throw new RangeError(`temperature must be above 0, got ${temperature}`);
}

/**
 * Adds a teacher's probabilities at a temperature to those of others:
 * mean[to[n], map[v]] += shares[n] * softmax(logits[n] / temperature)[v]; the logits [rows, stride] are used up.
 * mean [*, V + 1]: the last column is for tokens that the student lacks. map [teacher's V], null for v itself.
 * No two rows may go to the same one.
 */
export function addSoftened(
  runtime: Runtime,
  mean: Tensor,
  logits: Tensor,
  o: {
    readonly to: Tensor;
    readonly shares: Tensor;
    readonly map: Tensor | null;
    /** The teacher's V. */
    readonly V: number;
    readonly temperature: number;
  },
): void {
  const [rows, stride] = matrixShape("addSoftened logits", logits);
  const [all, width] = matrixShape("addSoftened mean", mean);
  checkShape("addSoftened to", o.to, [rows]);
  checkShape("addSoftened shares", o.shares, [rows]);
  checkIndices("addSoftened to", runtime.i32(o.to), 0, all);
  checkTemperature(o.temperature);
  if (Math.ceil(o.V / PANEL) * PANEL !== stride) throw new RangeError(`addSoftened: V ${o.V}`);
  if (o.map === null) {
    if (o.V >= width) throw new RangeError(`addSoftened: ${o.V} tokens into ${width - 1}`);
  } else {
    checkShape("addSoftened map", o.map, [o.V]);
    checkIndices("addSoftened map", runtime.i32(o.map), 0, width);
  }
  runtime.pool.run(
    "add_softened",
    rows,
    rowsPerChunk(stride),
    mean.pointer,
    width,
    o.to.pointer,
    o.shares.pointer,
    o.map?.pointer ?? 0,
    logits.pointer,
    o.V,
    stride,
    1 / o.temperature,
  );
}

/**
 * The k largest probabilities above `least` of each row of mean [rows, V + 1], falling: tokens and probabilities
 * [rows, k], -1 and 0 where there are fewer; rests [rows]: the sum of all others. Mean is used up.
 */
export function topK(
  runtime: Runtime,
  result: { readonly tokens: Tensor; readonly probabilities: Tensor; readonly rests: Tensor },
  mean: Tensor,
  least: number,
): void {
  const [rows, width] = matrixShape("topK mean", mean);
  const [, k] = matrixShape("topK tokens", result.tokens);
  checkShape("topK tokens", result.tokens, [rows, k]);
  checkShape("topK probabilities", result.probabilities, [rows, k]);
  checkShape("topK rests", result.rests, [rows]);
  if (k < 1) throw new RangeError("topK: k must be at least 1");
  runtime.pool.run(
    "top_k",
    rows,
    rowsPerChunk(width),
    result.tokens.pointer,
    result.probabilities.pointer,
    result.rests.pointer,
    mean.pointer,
    width - 1,
    k,
    least,
  );
}

/** What teachers say of `rows` tokens: for each some tokens with their probabilities, and that of all the others. */
export interface SparseTargets {
  readonly first: Tensor; // [rows + 1] where each row's list begins; one of length 0 says nothing
  readonly tokens: Tensor; // [entries], no token twice in a row
  readonly probabilities: Tensor; // [entries]
  readonly rests: Tensor; // [rows]
}

/**
 * Divergence of softmax(logits / temperature), logits [rows, stride], from the teachers', over the listed tokens and
 * all the others as one: KL(teachers, student), or KL(student, teachers) when `reverse`.
 * results [rows]; gradient [rows, stride]: its gradient by the logits, times weights[row] * scale.
 */
export function distillation(
  runtime: Runtime,
  gradient: Tensor,
  results: Tensor,
  logits: Tensor,
  weights: Tensor,
  targets: SparseTargets,
  V: number,
  o: { readonly temperature: number; readonly scale: number; readonly reverse: boolean },
): void {
  const [rows, stride] = matrixShape("distillation logits", logits);
  const entries = targets.tokens.shape[0]!;
  checkShape("distillation gradient", gradient, [rows, stride]);
  checkShape("distillation results", results, [rows]);
  checkShape("distillation weights", weights, [rows]);
  checkShape("distillation first", targets.first, [rows + 1]);
  checkShape("distillation probabilities", targets.probabilities, [entries]);
  checkShape("distillation rests", targets.rests, [rows]);
  const first = runtime.i32(targets.first);
  const rising = first.every((at, i) => at >= (first[i - 1] ?? 0));
  if (!rising || first[rows]! > entries) throw new RangeError("distillation first: must rise");
  checkIndices("distillation tokens", runtime.i32(targets.tokens), 0, V);
  checkTemperature(o.temperature);
  if (Math.ceil(V / PANEL) * PANEL !== stride) throw new RangeError(`distillation: V ${V}`);
  runtime.pool.run(
    "distillation",
    rows,
    rowsPerChunk(stride),
    gradient.pointer,
    results.pointer,
    logits.pointer,
    weights.pointer,
    targets.first.pointer,
    targets.tokens.pointer,
    targets.probabilities.pointer,
    targets.rests.pointer,
    V,
    stride,
    1 / o.temperature,
    o.scale,
    Number(o.reverse),
  );
}
