// The learning-rate range test (Smith 2017): the rate rises with each step until the loss does, and the rate at which
// the loss fell fastest is a good one to train with.

import { collate, totalWeight } from "../data/mod.ts";
import type { GPT } from "../model/mod.ts";
import type { Corpus } from "./corpus.ts";
import { orderOf } from "./curriculum.ts";
import type { Recipe } from "./recipe.ts";
import type { Teaching } from "./soft_targets.ts";

export interface RatePoint {
  readonly rate: number;
  /** Mean loss of the step's batch. */
  readonly loss: number;
  /** Moving average of the losses so far, corrected for its beginning. */
  readonly smooth: number;
}

export interface RateRange {
  readonly lowest: number;
  readonly highest: number;
  readonly steps: number;
}

export const RATE_RANGE: RateRange = { lowest: 1e-6, highest: 0.1, steps: 100 };

/** Weight of the past in the moving average. */
const PAST = 0.9;
/** A loss of so many times the lowest has left the range. */
const TOO_HIGH = 2;

/** Rates of the steps, evenly spread on a logarithmic scale. */
export function rateAt({ lowest, highest, steps }: RateRange, step: number): number {
  return lowest * (highest / lowest) ** (step / Math.max(1, steps - 1));
}

/**
 * Trains with rising rates; the model is no use afterwards.
 * @param onStep is told of each step, and returns false to end the test
 */
export async function testRates(
  model: GPT,
  corpus: Corpus,
  recipe: Recipe,
  onStep: (point: RatePoint, step: number) => boolean,
  { range = RATE_RANGE, teaching = null }: {
    readonly range?: RateRange;
    /** What teachers say of the training texts. */
    readonly teaching?: Teaching | null;
  } = {},
): Promise<RatePoint[]> {
  const points: RatePoint[] = [];
  const examples = corpus.training;
  let epoch = 0, queue: number[] = [], average = 0;
  for (let step = 0; step < range.steps; step++) {
    if (queue.length === 0) queue = Array.from(orderOf(examples, recipe, epoch++));
    const chosen = queue.splice(0, recipe.batchSize).map((i) => examples[i]!);
    const batch = collate(chosen);
    const { labelSmoothing, seed } = recipe;
    const sums = model.accumulate(batch, {
      normalizer: totalWeight(batch),
      labelSmoothing,
      distillation: teaching?.of(chosen),
      seed,
      step,
      microStep: 0,
    });
    const rate = rateAt(range, step), loss = sums.loss / sums.weight;
    average = PAST * average + (1 - PAST) * loss;
    const smooth = average / (1 - PAST ** (step + 1));
    points.push({ rate, loss, smooth });
    const lowest = Math.min(...points.map((point) => point.smooth));
    if (!onStep(points.at(-1)!, step + 1) || !(smooth <= TOO_HIGH * lowest)) break;
    model.update({ ...recipe, learningRate: rate, step: step + 1 });
    await new Promise((turn) => setTimeout(turn, 0));
  }
  return points;
}

/** Points on each side over which the slope is taken. */
const SIDE = 4;

/** The rate at which the smoothed loss fell fastest by the logarithm of the rate; null when it never fell. */
export function steepest(points: readonly RatePoint[]): number | null {
  let best: number | null = null, slope = 0;
  for (let i = SIDE; i + SIDE < points.length; i++) {
    const before = points[i - SIDE]!, after = points[i + SIDE]!;
    const own = (after.smooth - before.smooth) / Math.log(after.rate / before.rate);
    if (own < slope) [best, slope] = [points[i]!.rate, own];
  }
  return best;
}
