// How well a model predicts texts: cross-entropy, perplexity, bits per byte, calibration.

import { batchesOf, type Example } from "../data/mod.ts";
import type { GPT } from "../model/mod.ts";

/** Tokens evaluated at a time. */
const BATCH_TOKENS = 1024;

export interface LossFigures {
  readonly tokens: number;
  /** Nats a token. */
  readonly cross_entropy: number;
  readonly perplexity: number;
  /** Share of tokens whose likeliest guess is right. */
  readonly next_token: number;
}

/** The model's loss on examples, without dropout or smoothing. Weights of 0 leave tokens out. */
export function evaluateLoss(
  model: GPT,
  examples: readonly Example[],
  onBatch: (done: number, of: number) => void = () => {},
): LossFigures {
  const batches = batchesOf(examples, BATCH_TOKENS);
  let crossEntropy = 0, weight = 0, tokens = 0, correct = 0;
  batches.forEach((batch, i) => {
    const sums = model.evaluate(batch);
    crossEntropy += sums.crossEntropy;
    weight += sums.weight;
    tokens += sums.targets;
    correct += sums.correct;
    onBatch(i + 1, batches.length);
  });
  const cross_entropy = crossEntropy / weight;
  return {
    tokens,
    cross_entropy,
    perplexity: Math.exp(cross_entropy),
    next_token: correct / tokens,
  };
}
