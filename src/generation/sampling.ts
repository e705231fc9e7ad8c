// Chooses the next token from logits. Each step is a small function; together they are one sampler.

import { randomNumbers } from "../random.ts";
import type { SamplingOptions } from "./options.ts";

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
export interface Candidate {
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

function totalOf(all: readonly Candidate[]): number {
  return all.reduce((sum, { probability }) => sum + probability, 0);
}

/** The shortest head of the candidates whose probabilities reach p of their sum. */
export function nucleus(all: readonly Candidate[], p: number): readonly Candidate[] {
  if (p >= 1) return all;
  const enough = p * totalOf(all);
  let sum = 0;
  const end = all.findIndex(({ probability }) => (sum += probability) >= enough);
  return end < 0 ? all : all.slice(0, end + 1);
}

/** The candidates at least `share` as likely as the first. */
export function atLeast(all: readonly Candidate[], share: number): readonly Candidate[] {
  const least = share * all[0]!.probability;
  return share > 0 ? all.filter(({ probability }) => probability >= least) : all;
}

/**
 * The candidates whose surprise -log p is nearest to the mean surprise, as many as reach p of the probability;
 * likeliest first.
 */
export function typical(all: readonly Candidate[], p: number): readonly Candidate[] {
  if (p >= 1) return all;
  const total = totalOf(all);
  const surprises = all.map(({ probability }) => -Math.log(probability / total));
  const mean = all.reduce((sum, c, i) => sum + c.probability / total * surprises[i]!, 0);
  const order = [...all.keys()].sort((a, b) =>
    Math.abs(surprises[a]! - mean) - Math.abs(surprises[b]! - mean) || a - b
  );
  const kept = new Set(nucleus(order.map((i) => all[i]!), p));
  return all.filter((candidate) => kept.has(candidate));
}

/** Draws a candidate by its share of the probability. */
function draw(from: readonly Candidate[], random: number): number {
  let left = random * totalOf(from);
  for (const { token, probability } of from) {
    left -= probability;
    if (left < 0) return token;
  }
  return from.at(-1)!.token;
}

/** A function from logits [V] to the next token; the same seed gives the same tokens. */
export function sampler(o: SamplingOptions): (logits: Float32Array) => number {
  const random = randomNumbers(o.seed);
  return (logits) => {
    if (o.temperature === 0) return argmax(logits);
    const likely = nucleus(candidates(logits, o.temperature, o.topK), o.topP);
    return draw(typical(atLeast(likely, o.minP), o.typicalP), random());
  };
}
