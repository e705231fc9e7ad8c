// The intent that an answer begins with: chosen among all of them, and judged by how sure that choice is.

import type { IntentSpread } from "../model/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { logSumExp } from "./log_sum_exp.ts";

/**
 * The temperature that softens the probabilities of intents before they are judged, for a question as far from those of
 * its intent as these usually are; for others it grows with that distance. A model is too sure of questions unlike any that
 * it learned; how far its runners-up are behind, which softening shows, tells them apart better (Liang et al. 2018), and
 * so does how unlike they are.
 */
const INTENT_TEMPERATURE = 2;
/** Distances below this one count as it. */
const LEAST_DISTANCE = 0.1;

/** The intents' tokens, in their order; none where a model learned no intents. */
export function intentsOf({ intents }: Tokenizer): number[] {
  return [...intents?.values() ?? []];
}

/** Leaves nothing but these tokens to choose. */
export function keepOnly(logits: Float32Array, tokens: readonly number[]): void {
  const kept = tokens.map((token) => logits[token]!);
  logits.fill(-Infinity);
  tokens.forEach((token, i) => logits[token] = kept[i]!);
}

/** log(the softened probability of an intent among all of them). */
export function softened(
  logits: Float32Array,
  intents: readonly number[],
  token: number,
  spread: IntentSpread | null | undefined,
): number {
  const own = Float32Array.from(intents, (intent) => logits[intent]!);
  const distance = spread?.distance(own, intents.indexOf(token)) ?? 1;
  const temperature = INTENT_TEMPERATURE * Math.max(LEAST_DISTANCE, distance);
  return logits[token]! / temperature - logSumExp(own.map((logit) => logit / temperature));
}
