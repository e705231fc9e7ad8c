// Learning-rate schedules as pure functions of the step.

import type { Recipe } from "./recipe.ts";

type Schedule = Pick<
  Recipe,
  | "learningRate"
  | "warmupSteps"
  | "schedule"
  | "scheduleBy"
  | "scheduleDecay"
  | "scheduleFactor"
  | "scheduleEvery"
  | "scheduleMinimum"
  | "scheduleEpochs"
  | "epochs"
>;

/**
 * The learning rate of optimiser step `step`, counted from 0.
 *   step: rate * factor^(whole periods of scheduleEvery epochs)
 *   cosine: from the rate to the minimum along half a cosine (Loshchilov and Hutter 2017)
 *   linear: from the rate to the minimum in a straight line
 *   wsd: warm-up, stable, decay: the rate, and at the end a fall to the minimum with the square root of the
 *     share that is left (Haegele et al. 2024)
 *   plateau: the rate times `factor`, which the run lowers when what it watches gets no better
 * By epoch, an epoch keeps the rate of its start, and the minimum is that of the epoch after the last: PyTorch's
 * CosineAnnealingLR with T_max in epochs.
 * Before that, warm-up rises in a straight line and reaches the full rate with its last step.
 */
export function learningRateAt(
  s: Schedule,
  step: number,
  stepsPerEpoch: number,
  factor = 1,
): number {
  if (step < s.warmupSteps) return s.learningRate * (step + 1) / s.warmupSteps;
  if (s.schedule === "constant") return s.learningRate;
  if (s.schedule === "step") {
    const periods = Math.floor(Math.floor(step / stepsPerEpoch) / s.scheduleEvery);
    return s.learningRate * s.scheduleFactor ** periods;
  }
  if (s.schedule === "plateau") return s.learningRate * factor;
  if (s.schedule === "wsd") {
    const total = s.epochs * stepsPerEpoch, decay = s.scheduleDecay * total;
    const fallen = decay === 0 ? 0 : Math.max(0, (step - (total - decay) + 1) / decay);
    return s.learningRate - (s.learningRate - s.scheduleMinimum) * Math.sqrt(Math.min(1, fallen));
  }
  const progress = Math.min(
    1,
    s.scheduleBy === "epoch" ? byEpoch(s, step, stepsPerEpoch) : byStep(s, step, stepsPerEpoch),
  );
  const left = s.schedule === "cosine" ? (1 + Math.cos(Math.PI * progress)) / 2 : 1 - progress;
  return s.scheduleMinimum + (s.learningRate - s.scheduleMinimum) * left;
}

/** Share of the way from the rate to the minimum, before it is cut at 1. */
function byEpoch(s: Schedule, step: number, stepsPerEpoch: number): number {
  return Math.floor(step / stepsPerEpoch) / (s.scheduleEpochs || s.epochs);
}

function byStep(s: Schedule, step: number, stepsPerEpoch: number): number {
  const last = (s.scheduleEpochs || s.epochs) * stepsPerEpoch - 1;
  return (step - s.warmupSteps) / Math.max(1, last - s.warmupSteps);
}
