// Chooses the next token from logits. Each step is a small function; together they are one sampler.

import { randomNumbers } from "../random.ts";
import { special } from "../tokenizer/mod.ts";

export interface SamplingOptions {
  /** Divides the logits; 0 takes the likeliest token. */
  readonly temperature: number;
  /** Only the k likeliest tokens; 0 for all (Fan et al. 2018). */
  readonly topK: number;
  /** Only the likeliest tokens that together have this probability; 1 for all (Holtzman et al. 2019). */
  readonly topP: number;
  readonly seed: number;
}

/** Tokens that no text holds, and that a model therefore never says. */
const UNSPOKEN = [special.pad, special.startOfText, special.unknown];

/**
 * Index of the largest value, the first of equals.
 * @throws Error when no value is a number: the model's weights are broken
 */
export function argmax(values: Float32Array): number {
  let best = -1, highest = -Infinity;
  for (let i = 0; i < values.length; i++) {
    if (values[i]! > highest) highest = values[best = i]!;
  }
  if (best < 0) throw new Error("the model's logits are not numbers");
  return best;
}

/** A token and its probability. */
interface Candidate {
  readonly token: number;
  readonly probability: number;
}

/** Probability below which a token is never drawn: all such tokens together stay below one in 10^5. */
const NEGLIGIBLE = 1e-10;

/** Tokens with their probabilities, likeliest first; only the best k where k > 0. */
export function candidates(logits: Float32Array, temperature: number, k: number): Candidate[] {
  // Sorting the whole vocabulary takes longer than a small model's forward pass, so the many tokens that
  // would never be drawn are left out first.
  const floor = logits[argmax(logits)]! + temperature * Math.log(NEGLIGIBLE);
  const likely: number[] = [];
  for (let token = 0; token < logits.length; token++) {
    if (logits[token]! >= floor) likely.push(token);
  }
  likely.sort((a, b) => logits[b]! - logits[a]! || a - b);
  const kept = k > 0 ? likely.slice(0, k) : likely;
  const highest = logits[kept[0]!]!;
  const weights = kept.map((token) => Math.exp((logits[token]! - highest) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return kept.map((token, i) => ({ token, probability: weights[i]! / total }));
}

/** The shortest head of the candidates whose probabilities reach p. */
export function nucleus(all: readonly Candidate[], p: number): readonly Candidate[] {
  if (p >= 1) return all;
  let sum = 0;
  const end = all.findIndex(({ probability }) => (sum += probability) >= p);
  return end < 0 ? all : all.slice(0, end + 1);
}

/** Draws a candidate by its share of the probability. */
function draw(from: readonly Candidate[], random: number): number {
  const total = from.reduce((sum, { probability }) => sum + probability, 0);
  let left = random * total;
  for (const { token, probability } of from) {
    left -= probability;
    if (left < 0) return token;
  }
  return from.at(-1)!.token;
}

/** A function from logits [V], which it changes, to the next token; the same seed gives the same tokens. */
export function sampler(o: SamplingOptions): (logits: Float32Array) => number {
  const random = randomNumbers(o.seed);
  return (logits) => {
    for (const token of UNSPOKEN) if (token < logits.length) logits[token] = -Infinity;
    if (o.temperature === 0) return argmax(logits);
    return draw(nucleus(candidates(logits, o.temperature, o.topK), o.topP), random());
  };
}
