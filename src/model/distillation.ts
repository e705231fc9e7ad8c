// Knowledge distillation as a part of the loss: what teachers say of a batch's tokens, and the divergence from it.

import { distillation, type Tensor } from "../kernels/mod.ts";
import type { LossSums } from "./head.ts";
import type { Pass } from "./pass.ts";

/** What teachers say of each of N tokens: probabilities of what comes next, at the temperature of a distillation. */
export interface SoftTargets {
  /** Where each token's list begins in the next two, and their length; a list of length 0 says nothing. */
  readonly first: Int32Array; // [N + 1]
  readonly tokens: Int32Array; // [entries]
  readonly probabilities: Float32Array; // [entries]
  /** Probability of all tokens that are not listed. */
  readonly rests: Float32Array; // [N]
}

/**
 * Hinton et al. 2015: where a teacher says something, a token's loss is
 * (1 - weight) * cross-entropy + weight * temperature^2 * divergence of the predictions at that temperature.
 */
export interface Distillation {
  readonly targets: SoftTargets;
  readonly temperature: number;
  /** From 0 to 1. */
  readonly weight: number;
  /** KL(teacher, student), or KL(student, teacher) (MiniLLM, Gu et al. 2023), which seeks a mode of the teacher's. */
  readonly divergence: "forward" | "reverse";
}

/** The lists of some of the tokens, in their order. */
export function softTargetsOf(targets: SoftTargets, rows: Int32Array): SoftTargets {
  const first = new Int32Array(rows.length + 1);
  rows.forEach((n, i) => first[i + 1] = first[i]! + targets.first[n + 1]! - targets.first[n]!);
  const tokens = new Int32Array(first.at(-1)!), probabilities = new Float32Array(first.at(-1)!);
  rows.forEach((n, i) => {
    const from = targets.first[n]!, to = targets.first[n + 1]!;
    tokens.set(targets.tokens.subarray(from, to), first[i]!);
    probabilities.set(targets.probabilities.subarray(from, to), first[i]!);
  });
  return { first, tokens, probabilities, rests: Float32Array.from(rows, (n) => targets.rests[n]!) };
}

/** A chunk's part of the loss that comes from teachers. */
export interface Distilled {
  /** The gradient by the logits [rows, stride]. */
  readonly gradient: Tensor;
  /** What each row's cross-entropy still counts. */
  readonly hardWeights: Float32Array; // [rows]
}

/** Adds the divergence of logits [rows, stride] from the teachers' to the sums. */
export function distill(
  { runtime }: Pass,
  logits: Tensor,
  rows: Int32Array,
  weights: Tensor,
  { targets, temperature, weight, divergence }: Distillation,
  o: { readonly V: number; readonly normalizer: number },
  sums: LossSums,
): Distilled {
  const own = softTargetsOf(targets, rows);
  const gradient = runtime.arena.allocate(logits.shape);
  const results = runtime.arena.allocate([rows.length]);
  const tensors = {
    first: runtime.integers(own.first),
    tokens: runtime.integers(own.tokens),
    probabilities: runtime.floats(own.probabilities),
    rests: runtime.floats(own.rests),
  };
  const strength = weight * temperature ** 2;
  distillation(runtime, gradient, results, logits, weights, tensors, o.V, {
    temperature,
    scale: strength / o.normalizer,
    reverse: divergence === "reverse",
  });
  const hardWeights = runtime.f32(weights).slice();
  runtime.f32(results).forEach((value, i) => {
    if (own.first[i] === own.first[i + 1]) return;
    const w = hardWeights[i]!;
    sums.loss += strength * w * value;
    sums.distillation += temperature ** 2 * w * value;
    sums.taught += w;
    hardWeights[i] = (1 - weight) * w;
  });
  return { gradient, hardWeights };
}
