// The order of an epoch's texts: shuffled, and with a curriculum the easy ones first.

import type { Example } from "../data/mod.ts";
import { shuffled } from "../random.ts";
import type { Recipe } from "./recipe.ts";

/** Share of the texts that the first epoch sees. */
const FIRST_SHARE = 0.3;

/** How hard texts are: their length, or the mean surprise -log p of their tokens by frequency. */
export function difficulties(
  examples: readonly Example[],
  by: "length" | "rarity",
): number[] {
  if (by === "length") return examples.map(({ tokens }) => tokens.length);
  const counts = new Map<number, number>();
  let total = 0;
  for (const { tokens } of examples) {
    for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
    total += tokens.length;
  }
  return examples.map(({ tokens }) =>
    tokens.reduce((sum, token) => sum - Math.log(counts.get(token)! / total), 0) / tokens.length
  );
}

/**
 * Indices of the examples in the order of an epoch (from 0), as many as there are. A curriculum shows the easiest
 * three tenths first, again and again, and lets the others in evenly over its epochs (Bengio et al. 2009).
 * @param losses the model's own losses, by which the curriculum `loss` goes; without them it shows all
 */
export function orderOf(
  examples: readonly Example[],
  recipe: Pick<Recipe, "seed" | "curriculum" | "curriculumEpochs">,
  epoch: number,
  losses: readonly number[] | null = null,
): Int32Array {
  const { length } = examples;
  const order = shuffled(length, recipe.seed, epoch);
  if (recipe.curriculum === "none" || epoch >= recipe.curriculumEpochs) return order;
  const hard = recipe.curriculum === "loss" ? losses : difficulties(examples, recipe.curriculum);
  if (hard === null) return order;
  const ranked = [...hard.keys()].sort((a, b) => hard[a]! - hard[b]! || a - b);
  const share = FIRST_SHARE + (1 - FIRST_SHARE) * epoch / recipe.curriculumEpochs;
  const allowed = new Set(ranked.slice(0, Math.max(1, Math.ceil(share * length))));
  const easy = order.filter((i) => allowed.has(i));
  return order.map((_, place) => easy[place % easy.length]!);
}
