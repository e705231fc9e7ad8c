// What other thresholds would make of the same answers: the surer a model must be, the fewer it answers, rightly or not.

import { mean } from "./metrics.ts";

/** A question that was answered however unsure the model was. */
export interface Tried {
  /** Whether the model should know it. */
  readonly known: boolean;
  /** Whether the answer is right; of an unknown question: whether it says so. */
  readonly right: boolean;
  /** Whether the answer is that the model does not know. */
  readonly declined: boolean;
  /** How probable the model held its answer. */
  readonly sure: number;
}

/** What a threshold makes of questions, as shares of those that are known, and of those that are not. */
export interface ThresholdFigures {
  readonly threshold: number;
  readonly right: number;
  /** Answered, and wrongly. */
  readonly wrong: number;
  /** Said not to be known, of the unknown ones. */
  readonly honest: number;
}

/** The figures at a threshold, below which the model says that it does not know. */
export function figuresAt(tried: readonly Tried[], threshold: number): ThresholdFigures {
  const share = (known: boolean, counts: (question: Tried) => boolean) =>
    mean(tried.filter((question) => question.known === known).map((q) => Number(counts(q))));
  return {
    threshold,
    right: share(true, ({ right, sure }) => right && sure >= threshold),
    wrong: share(true, ({ right, declined, sure }) => !right && !declined && sure >= threshold),
    honest: share(false, ({ right, sure }) => right || sure < threshold),
  };
}

/** Steps in which a threshold is looked for. */
const STEPS = 200;

/** The threshold at which right answers and honest ones together are most; the middle one of several in a row. */
export function bestThreshold(tried: readonly Tried[]): ThresholdFigures {
  const all = Array.from({ length: STEPS }, (_, i) => figuresAt(tried, i / STEPS));
  const most = Math.max(...all.map(({ right, honest }) => right + honest));
  const isMost = ({ right, honest }: ThresholdFigures) => right + honest === most;
  const first = all.findIndex(isMost);
  const next = all.findIndex((figures, i) => i > first && !isMost(figures));
  const last = (next < 0 ? all.length : next) - 1;
  return all[Math.floor((first + last) / 2)]!;
}
