// Chooses the next token from logits: greedily, or at random with temperature, top-k and top-p.

import { UserError } from "../errors.ts";

export interface SamplingOptions {
  /** Divides the logits; 0 takes the likeliest token always. */
  readonly temperature: number;
  /** Only the k likeliest tokens can come; 0 for all. */
  readonly topK: number;
  /** Only the likeliest tokens that together have this probability can come; 1 for all. */
  readonly topP: number;
}

/** Tokens that can come, likeliest first, the lower token of two alike; probabilities sum to 1. */
export interface Distribution {
  readonly tokens: readonly number[];
  readonly probabilities: readonly number[];
}

/**
 * The token with the largest logit, the lowest of those alike.
 * @throws UserError when a logit is NaN or none is finite
 */
export function argmax(logits: Float32Array): number {
  let best = 0;
  for (let token = 0; token < logits.length; token++) {
    const logit = logits[token]!;
    if (logit > logits[best]!) best = token;
    if (Number.isNaN(logit)) throw notFinite();
  }
  if (!Number.isFinite(logits[best])) throw notFinite();
  return best;
}

function notFinite(): UserError {
  return new UserError("the model's outputs are not finite numbers; its training has diverged");
}

/** softmax(logits / temperature) cut down to the k likeliest tokens, then to the nucleus. */
export function distribution(logits: Float32Array, options: SamplingOptions): Distribution {
  const { temperature, topK, topP } = options;
  const largest = logits[argmax(logits)]!;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  let tokens = topK > 0 && topK < logits.length ? largestLogits(logits, topK) : null;
  if (tokens === null) {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    // Tokens below this are together less likely than 1 - p, so the nucleus is full without them: there
    // are then few to sort. Half of it, for rounding.
    const floor = topP < 1 ? total * (1 - topP) / logits.length / 2 : 0;
    tokens = [];
    for (let token = 0; token < weights.length; token++) {
      if (weights[token]! > floor) tokens.push(token);
    }
    return nucleus(tokens, weights, topP, total);
  }
  return nucleus(tokens, weights, topP, tokens.reduce((sum, token) => sum + weights[token]!, 0));
}

/** The k tokens with the largest logits. */
function largestLogits(logits: Float32Array, k: number): number[] {
  // Without a comparator a typed array sorts natively, ten times faster than tokens by their logits.
  const threshold = logits.toSorted()[logits.length - k]!;
  const above: number[] = [], alike: number[] = [];
  for (let token = 0; token < logits.length; token++) {
    if (logits[token]! > threshold) above.push(token);
    else if (logits[token] === threshold) alike.push(token);
  }
  return above.concat(alike.slice(0, k - above.length));
}

/** The smallest set of likeliest tokens with at least probability p (Holtzman et al., 2019). */
function nucleus(
  tokens: readonly number[],
  weights: Float64Array,
  p: number,
  total: number,
): Distribution {
  const sorted = tokens.toSorted((a, b) => weights[b]! - weights[a]! || a - b);
  let count = sorted.length, sum = 0;
  if (p < 1) {
    for (count = 0; count < sorted.length && (count === 0 || sum < p * total);) {
      sum += weights[sorted[count++]!]!;
    }
  }
  const kept = sorted.slice(0, count);
  const keptTotal = kept.reduce((all, token) => all + weights[token]!, 0);
  return { tokens: kept, probabilities: kept.map((token) => weights[token]! / keptTotal) };
}

/** The token in which a number from [0, 1) falls. */
export function draw({ tokens, probabilities }: Distribution, number: number): number {
  let sum = 0;
  for (let i = 0; i < tokens.length; i++) {
    sum += probabilities[i]!;
    if (number < sum) return tokens[i]!;
  }
  // Rounding may leave the sum just below 1.
  return tokens.at(-1)!;
}

/** Chooses a token; `random` is asked only when chance has a say. */
export function sample(
  logits: Float32Array,
  options: SamplingOptions,
  random: () => number,
): number {
  if (options.temperature === 0 || options.topK === 1) return argmax(logits);
  return draw(distribution(logits, options), random());
}
