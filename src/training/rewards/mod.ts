// Rewards by rules: what an answer is worth, each a small function from 0 to 1, and their weighted sum.

import { format } from "./format.ts";
import { honesty } from "./honesty.ts";
import { intent } from "./intent.ts";
import type { Attempt, Reward } from "./judge.ts";
import { length } from "./length.ts";
import { noRepetition } from "./no_repetition.ts";
import { stops } from "./stops.ts";

export { type Attempt, Judge, type Reward } from "./judge.ts";

export const rewards = {
  stops,
  "no-repetition": noRepetition,
  intent,
  length,
  format,
  honesty,
} as const satisfies Record<string, Reward>;

export type RewardName = keyof typeof rewards;

export const rewardNames = Object.keys(rewards) as RewardName[];

/** What each reward counts; those without a weight count nothing. */
export type RewardWeights = Readonly<Partial<Record<RewardName, number>>>;

export interface Score {
  /** The weighted sum. */
  readonly total: number;
  /** Each reward that has a weight, from 0 to 1. */
  readonly parts: Readonly<Partial<Record<RewardName, number>>>;
}

/** An answer's rewards. */
export function scoreOf(attempt: Attempt, weights: RewardWeights): Score {
  const counted = rewardNames.filter((name) => (weights[name] ?? 0) !== 0);
  const parts = Object.fromEntries(counted.map((name) => [name, rewards[name](attempt)]));
  const total = counted.reduce((sum, name) => sum + weights[name]! * parts[name]!, 0);
  return { total, parts };
}
