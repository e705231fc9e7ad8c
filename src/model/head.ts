// The tied language-model head and the loss, over the rows that have a target, in chunks: the logits of a
// whole batch never exist at once.

import {
  agreement,
  crossEntropy,
  gatherRows,
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  type LinearOptions,
  NO_DROPOUT,
  PANEL,
  residualDropout,
  scatterRows,
  type Tensor,
  weightFrom,
} from "../kernels/mod.ts";
import type { Configuration } from "./configuration.ts";
import { distill, type Distillation, type Distilled } from "./distillation.ts";
import type { Parameters } from "./parameters.ts";
import { type Batch, type Pass, targetRows } from "./pass.ts";

/** Sums over the rows of a batch that have a target. */
export interface LossSums {
  /** Weighted cross-entropy, in nats, with label smoothing. */
  loss: number;
  /** The same without smoothing. */
  crossEntropy: number;
  /** Sum of the targets' weights, which turns both into means. */
  weight: number;
  /** Rows with a target. */
  targets: number;
  /** Rows whose target has the largest logit. */
  correct: number;
  /** Weighted divergence from teachers, times the temperature squared, and the weight of the rows that have any. */
  distillation: number;
  taught: number;
}

/** The sums of nothing yet. */
export function emptySums(): LossSums {
  return {
    loss: 0,
    crossEntropy: 0,
    weight: 0,
    targets: 0,
    correct: 0,
    distillation: 0,
    taught: 0,
  };
}

/** How the loss is scaled and smoothed for a gradient. */
export interface LossGradient {
  /** What the loss's sum is divided by. */
  readonly normalizer: number;
  readonly labelSmoothing: number;
  /**
   * R-Drop (Liang et al. 2021): the batch holds its sequences twice, the copies behind the originals, and this
   * much of the symmetric Kullback-Leibler divergence of their predictions is added to the loss. Absent: none.
   */
  readonly agreement?: number;
  /** What teachers say of the batch; absent: the data alone are learned. */
  readonly distillation?: Distillation;
}

/**
 * A loss that depends on how likely the model holds the targets: from log p of every row's target [N], 0 where a row has
 * none, to the loss and its slopes. Its gradient is that of a cross-entropy whose rows have these weights.
 */
export type Objective = (logProbabilities: Float32Array) => Weighed;

/** What an objective makes of a batch. */
export interface Weighed {
  /** d loss / d(-log p) of every row [N]; may be negative. */
  readonly weights: Float32Array;
  /** A sum over so many terms, such as answers. */
  readonly loss: number;
  readonly terms: number;
}

/** Rows of logits at a time: 264 x 50,272 floats are 53 MB, and 264 is a block of GEMM's rows. */
export const HEAD_ROWS = 264;

export class Head {
  constructor(readonly parameters: Parameters, readonly configuration: Configuration) {}

  /** Logits [N, V padded to 16] = x [N, C] wte^T, of the tokens from `first` on (a multiple of 16) */
  logits(pass: Pass, x: Tensor, options?: LinearOptions, first = 0): Tensor {
    const rows = x.shape[0]!;
    const width = Math.ceil(this.configuration.vocab_size / PANEL) * PANEL - first;
    const logits = pass.runtime.arena.allocate([rows, width]);
    const weight = weightFrom(this.parameters.weight("transformer.wte.weight"), first);
    linearForward(pass.runtime, logits, x, weight, null, options);
    return logits;
  }

  /**
   * Loss of x [N, C] against the batch's targets. With dx, also d(sum of losses / normalizer): written
   * to dx [N, C], whose rows without a target are to be zero, and added to the tied weight's gradient, where it learns.
   */
  loss(
    pass: Pass,
    x: Tensor,
    batch: Batch,
    backward: { readonly dx: Tensor; readonly gradient: LossGradient } | null,
  ): LossSums {
    const rows = targetRows(batch), choices = choiceRows(batch);
    const sums = { ...emptySums(), targets: rows.length };
    const copies = (backward?.gradient.agreement ?? 0) > 0 ? 2 : 1;
    const size = HEAD_ROWS / copies;
    const inChunks = (rows: Int32Array, first: number) => {
      const own = rows.length / copies;
      for (let start = 0; start < own; start += size) {
        // A chunk of originals, and behind it the same rows of their copies.
        const chunk = Int32Array.from(
          Array.from({ length: copies }, (_, copy) => {
            const from = copy * own;
            return Array.from(rows.subarray(from + start, from + Math.min(own, start + size)));
          }).flat(),
        );
        pass.runtime.arena.scope(() => this.#chunk(pass, x, batch, chunk, first, backward, sums));
      }
    };
    inChunks(rows.filter((n) => !choices.has(n)), 0);
    inChunks(rows.filter((n) => choices.has(n)), firstOfPanel(batch.choiceFrom ?? 0));
    return sums;
  }

  /** log p of the targets of x [N, C]: [N], 0 where a row has none. */
  logProbabilities(pass: Pass, x: Tensor, batch: Batch): Float32Array {
    const { runtime } = pass, { arena } = runtime;
    const rows = targetRows(batch);
    const found = new Float32Array(batch.targets.length);
    for (let start = 0; start < rows.length; start += HEAD_ROWS) {
      const chunk = rows.subarray(start, start + HEAD_ROWS);
      arena.scope(() => {
        const chosen = arena.allocate([chunk.length, this.configuration.n_embd]);
        gatherRows(runtime, chosen, x, runtime.integers(chunk));
        const targets = runtime.integers(chunk.map((n) => batch.targets[n]!));
        const weights = runtime.floats(new Float32Array(chunk.length));
        const logits = this.logits(pass, chosen), results = arena.allocate([chunk.length, 3]);
        crossEntropy(runtime, results, logits, targets, weights, this.configuration.vocab_size, {
          smoothing: 0,
          scale: 0,
          gradient: false,
        });
        const losses = runtime.f32(results);
        chunk.forEach((n, row) => found[n] = -losses[row * 3]!);
      });
    }
    return found;
  }

  #chunk(
    pass: Pass,
    x: Tensor,
    batch: Batch,
    rows: Int32Array,
    first: number,
    backward: { readonly dx: Tensor; readonly gradient: LossGradient } | null,
    sums: LossSums,
  ): void {
    const { runtime } = pass;
    const { n_embd: C, vocab_size } = this.configuration;
    const indices = runtime.integers(rows);
    const targets = runtime.integers(rows.map((n) => batch.targets[n]! - first));
    const weights = runtime.floats(Float32Array.from(rows, (n) => batch.weights?.[n] ?? 1));
    const chosen = runtime.arena.allocate([rows.length, C]);
    gatherRows(runtime, chosen, x, indices);
    const logits = this.logits(pass, chosen, undefined, first);
    const results = runtime.arena.allocate([rows.length, 3]);
    const pull = backward === null
      ? null
      : this.#agreement(pass, logits, weights, backward.gradient, sums);
    const taught = backward === null
      ? null
      : this.#distillation(pass, logits, rows, weights, backward.gradient, sums);
    const hard = taught === null ? weights : runtime.floats(taught.hardWeights);
    crossEntropy(runtime, results, logits, targets, hard, vocab_size - first, {
      smoothing: backward?.gradient.labelSmoothing ?? 0,
      scale: backward === null ? 0 : 1 / backward.gradient.normalizer,
      gradient: backward !== null,
    });
    addSums(sums, runtime.f32(results), runtime.f32(weights), runtime.f32(hard));
    if (backward === null) return;
    for (const other of [pull, taught?.gradient ?? null]) {
      if (other !== null) residualDropout(runtime, logits, logits, other, NO_DROPOUT);
    }
    const dchosen = runtime.arena.allocate([rows.length, C]);
    const weight = weightFrom(this.parameters.weight("transformer.wte.weight"), first);
    linearBackwardInput(runtime, dchosen, logits, weight);
    scatterRows(runtime, backward.dx, dchosen, indices);
    if (!this.parameters.has("gradient")) return;
    const gradient = this.parameters.weight("transformer.wte.weight", "gradient");
    const dweight = weightFrom(gradient, first);
    linearBackwardWeight(runtime, dweight, chosen, logits);
  }

  /** Adds the copies' disagreement to the loss; returns its gradient by the logits, or null where none is asked for. */
  #agreement(
    { runtime }: Pass,
    logits: Tensor,
    weights: Tensor,
    { agreement: strength = 0, normalizer }: LossGradient,
    sums: LossSums,
  ): Tensor | null {
    if (strength === 0) return null;
    const gradient = runtime.arena.allocate(logits.shape);
    const results = runtime.arena.allocate([logits.shape[0]! / 2]);
    const { vocab_size } = this.configuration;
    agreement(runtime, gradient, results, logits, weights, vocab_size, strength / normalizer);
    const values = runtime.f32(weights);
    runtime.f32(results).forEach((divergence, n) => {
      sums.loss += strength * values[n]! * divergence;
    });
    return gradient;
  }

  /** Adds what teachers ask for to the loss; null where there are none. */
  #distillation(
    pass: Pass,
    logits: Tensor,
    rows: Int32Array,
    weights: Tensor,
    { distillation, normalizer }: LossGradient,
    sums: LossSums,
  ): Distilled | null {
    if (distillation === undefined) return null;
    const { vocab_size: V } = this.configuration;
    return distill(pass, logits, rows, weights, distillation, { V, normalizer }, sums);
  }
}

/** The rows whose target competes with those behind `choiceFrom` only. */
function choiceRows({ choiceFrom, offsets, targets }: Batch): ReadonlySet<number> {
  if (choiceFrom === undefined) return new Set();
  const last = Array.from(offsets.subarray(1), (end) => end - 1);
  return new Set(last.filter((n) => targets[n]! >= choiceFrom));
}

/** The first output in a weight's panel that holds this one. */
function firstOfPanel(output: number): number {
  return output - output % PANEL;
}

/** Adds the cross-entropies of a chunk; `hard` is what each counts in the loss. */
function addSums(
  sums: LossSums,
  results: Float32Array,
  weights: Float32Array,
  hard: Float32Array,
): void {
  weights.forEach((weight, row) => {
    sums.loss += hard[row]! * results[row * 3]!;
    sums.crossEntropy += weight * results[row * 3 + 1]!;
    sums.correct += results[row * 3 + 2]!;
    sums.weight += weight;
  });
}
