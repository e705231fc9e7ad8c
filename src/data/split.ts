// Sets entries aside for validation, whole conversations at a time: however often a question is spelled in
// other formats afterwards, all its spellings stay on one side.

import type { Entry } from "./entry.ts";
import { shuffled } from "../random.ts";

export interface Split {
  /** Indices of entries, ascending. */
  readonly training: number[];
  readonly validation: number[];
}

/** What must not stand on both sides: the first question, whatever its case and punctuation. */
function keyOf(entry: Entry): string {
  const text = entry.kind === "text"
    ? entry.text
    : entry.messages.find(({ role }) => role === "user")?.content ?? entry.messages[0]!.content;
  return text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, " ").trim();
}

/** Sets one of `folds` parts of the questions aside, counted from 1; together the parts are everything. */
export function foldOf(
  entries: readonly Entry[],
  folds: number,
  fold: number,
  seed: number,
): Split {
  const groups = [...Map.groupBy(entries.keys(), (i) => keyOf(entries[i]!)).values()];
  const aside = new Set(
    [...shuffled(groups.length, seed, 0)].filter((_, place) => place % folds === fold - 1)
      .flatMap((group) => groups[group]!),
  );
  return {
    training: [...entries.keys()].filter((i) => !aside.has(i)),
    validation: [...entries.keys()].filter((i) => aside.has(i)),
  };
}

/**
 * Sets about `fraction` of the entries aside, at most so many if the groups allow it; with more than one
 * question, neither side is empty. Deterministic for a seed.
 */
export function splitEntries(entries: readonly Entry[], fraction: number, seed: number): Split {
  const groups = Map.groupBy(entries.keys(), (i) => keyOf(entries[i]!));
  const order = [...groups.values()];
  const wanted = fraction === 0 ? 0 : Math.max(1, Math.round(fraction * entries.length));
  const validation: number[] = [];
  let left = order.length;
  for (const index of shuffled(order.length, seed, 0)) {
    if (validation.length >= wanted || left === 1) break;
    // A question asked very often would take much more than the fraction.
    if (validation.length + order[index]!.length > wanted) continue;
    validation.push(...order[index]!);
    left--;
  }
  if (validation.length === 0 && wanted > 0 && left > 1) {
    validation.push(...order.reduce((least, group) => group.length < least.length ? group : least));
  }
  const aside = new Set(validation);
  return {
    training: [...entries.keys()].filter((i) => !aside.has(i)),
    validation: validation.sort((a, b) => a - b),
  };
}
