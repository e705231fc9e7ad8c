// The intent that an answer begins with: chosen among all of them, and judged by how sure that choice is.

import type { IntentSpread } from "../model/mod.ts";
import { logSumExp } from "./log_sum_exp.ts";

/**
 * The temperature that softens the probabilities of intents before they are judged. A model is too sure of questions
 * unlike any that it learned; how far its runners-up are behind, which softening shows, tells them apart better
 * (Liang et al. 2018).
 */
const TEMPERATURE = 2;
/** How much the odds of an intent fall with a question's unlikeness to those that ask for it. */
const UNLIKENESS = 5;

/** Leaves nothing but these tokens to choose. */
export function keepOnly(logits: Float32Array, tokens: readonly number[]): void {
  const kept = tokens.map((token) => logits[token]!);
  logits.fill(-Infinity);
  tokens.forEach((token, i) => logits[token] = kept[i]!);
}

/** log(how sure the model is of an intent): its softened odds against all others, less what the question's unlikeness says. */
export function sureness(
  logits: Float32Array,
  intents: readonly number[],
  token: number,
  spread: IntentSpread | null | undefined,
): number {
  const all = Float32Array.from(intents, (intent) => logits[intent]!);
  const own = intents.indexOf(token);
  const others = all.filter((_, i) => i !== own).map((logit) => logit / TEMPERATURE);
  const odds = all[own]! / TEMPERATURE - logSumExp(others) -
    UNLIKENESS * (spread?.unlikeness(all, own) ?? 0);
  return -Math.log1p(Math.exp(-odds));
}
