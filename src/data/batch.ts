// Lays examples one behind the other, without padding: the ragged batch that the model takes.

import { type Example, upToDecision } from "./examples.ts";

/** N tokens of B sequences; see the model's Batch, which it is. */
export interface RaggedBatch {
  readonly tokens: Int32Array; // [N]
  readonly targets: Int32Array; // [N], -1: no loss here
  readonly weights: Float32Array; // [N]
  readonly positions: Int32Array; // [N]
  readonly offsets: Int32Array; // [B + 1]
}

/**
 * Each example's tokens but the last, and as targets its tokens but the first.
 * @throws RangeError when there are no examples, or one of them predicts nothing
 */
export function collate(examples: readonly Example[]): RaggedBatch {
  if (examples.length === 0) throw new RangeError("a batch needs at least one example");
  const offsets = new Int32Array(examples.length + 1);
  examples.forEach(({ tokens }, b) => {
    if (tokens.length < 2) throw new RangeError("an example needs at least two tokens");
    offsets[b + 1] = offsets[b]! + tokens.length - 1;
  });
  const N = offsets.at(-1)!;
  const batch = {
    tokens: new Int32Array(N),
    targets: new Int32Array(N),
    weights: new Float32Array(N),
    positions: new Int32Array(N),
    offsets,
  };
  examples.forEach(({ tokens, weights }, b) => {
    const start = offsets[b]!;
    batch.tokens.set(tokens.subarray(0, -1), start);
    batch.weights.set(weights.subarray(1), start);
    for (let i = 0; i < tokens.length - 1; i++) {
      batch.targets[start + i] = weights[i + 1]! > 0 ? tokens[i + 1]! : -1;
      batch.positions[start + i] = i;
    }
  });
  return batch;
}

/**
 * Cuts examples behind the token of their intent, but for a share of them, drawn at random: an answer that belongs to
 * many questions is learned from some of them, what each question asks for from all. Others stay as they are.
 */
export function cutAnswers(
  examples: readonly Example[],
  share: number,
  random: () => number,
): Example[] {
  return examples.map((example) => {
    if (example.decision === undefined || random() < share) return example;
    return upToDecision(example, example.decision);
  });
}

/**
 * Hides tokens of what the user says from the model, each with probability p, as unknown ones; what is to be
 * predicted stays. The batch must be made of these examples.
 */
export function hideWords(
  batch: RaggedBatch,
  examples: readonly Example[],
  { p, unknown, random }: {
    readonly p: number;
    readonly unknown: number;
    readonly random: () => number;
  },
): void {
  examples.forEach(({ user, tokens }, b) => {
    for (let i = 0; i < tokens.length - 1; i++) {
      if (user[i] === 1 && random() < p) batch.tokens[batch.offsets[b]! + i] = unknown;
    }
  });
}

/** The sum of a batch's target weights: what its loss is divided by. */
export function totalWeight(batch: RaggedBatch): number {
  return batch.weights.reduce((sum, weight, n) => batch.targets[n]! < 0 ? sum : sum + weight, 0);
}

/** Examples in batches of about `tokens` tokens, for evaluation. */
export function batchesOf(examples: readonly Example[], tokens: number): RaggedBatch[] {
  const batches: RaggedBatch[] = [];
  let batch: Example[] = [], size = 0;
  for (const example of examples) {
    if (batch.length > 0 && size + example.tokens.length > tokens) {
      batches.push(collate(batch));
      batch = [];
      size = 0;
    }
    batch.push(example);
    size += example.tokens.length;
  }
  if (batch.length > 0) batches.push(collate(batch));
  return batches;
}
