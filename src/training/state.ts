// What a run knows of itself between two steps: all that continuing it needs beside the arrays.

import { UserError } from "../errors.ts";
import type { Recipe } from "./recipe.ts";
import { withDefaults } from "./recipes.ts";

export interface Progress {
  /** Optimiser steps done. */
  step: number;
  /** Epochs done. */
  epoch: number;
  /** Steps done of the current epoch. */
  epochStep: number;
  /** Sums over the current epoch. */
  epochLoss: number;
  epochCrossEntropy: number;
  epochWeight: number;
  /** With teachers: their part of the loss, and the weight of the targets of which they spoke. */
  epochDistillation: number;
  epochTaught: number;
  /** The best value of what is watched, and the epoch that reached it; null before the first. */
  best: { value: number; epoch: number } | null;
  /** Updates of the average of the weights. */
  averaged: number;
  /** `plateau`: what the rate is multiplied by, and the epoch in which that last changed. */
  rateFactor: number;
  rateEpoch: number;
  /** `loss` curriculum: the model's loss of each text when the epoch began; null otherwise. */
  losses: readonly number[] | null;
  /** Pairs: log p of the chosen and the rejected answers by the model as the run began; null otherwise. */
  references: readonly (readonly [chosen: number, rejected: number])[] | null;
  /** Why the run is over, or null. */
  finished: "epochs" | "early-stop" | null;
  /** Seconds of training so far, over all of its parts. */
  seconds: number;
}

/** What a run leaves on disk, now and when it goes on. */
export interface Saving {
  /** Epochs between two saves of `last`; at the end only if absent or 0. */
  readonly saveEvery?: number;
  /** How many of these saves' weights stay, as `epoch-N`; none if absent. */
  readonly keep?: number;
  /** Number format of `best`; f32 if absent. */
  readonly bestType?: "f32" | "bf16";
}

/** The content of training/state.json. */
export interface RunState extends Saving {
  readonly version: 1;
  readonly recipeName: string;
  readonly recipe: Recipe;
  /** The checkpoint whose weights the run began with; null when they were random. */
  readonly init: string | null;
  /** Steps behind the moments that the run began with; 0 when it began with none. */
  readonly momentSteps: number;
  /** The data files. */
  readonly data: readonly string[];
  /** The files that are set aside as they are. */
  readonly validationData: readonly string[];
  readonly skipBadLines: boolean;
  readonly fingerprint: string;
  /** With teachers: what their soft targets belong to, once there are any. */
  readonly teaching?: string;
  readonly progress: Progress;
}

export function startOfRun(): Progress {
  return {
    step: 0,
    epoch: 0,
    epochStep: 0,
    epochLoss: 0,
    epochCrossEntropy: 0,
    epochWeight: 0,
    epochDistillation: 0,
    epochTaught: 0,
    best: null,
    averaged: 0,
    rateFactor: 1,
    rateEpoch: 0,
    losses: null,
    references: null,
    finished: null,
    seconds: 0,
  };
}

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;

/**
 * Takes a parsed state.json for what it claims to be.
 * @throws UserError when fields are missing or wrong
 */
export function checkState(value: unknown, directory: string): RunState {
  const state = value as Partial<RunState>;
  const { progress, saveEvery = 0, keep = 0, bestType = "f32" } = state;
  const complete = isCount(saveEvery) && isCount(keep) && ["f32", "bf16"].includes(bestType) &&
    state.version === 1 && state.recipe !== undefined && Array.isArray(state.data) &&
    typeof state.fingerprint === "string" && isCount(progress?.step) &&
    isCount(progress?.epoch) && isCount(progress?.epochStep);
  if (!complete) {
    throw new UserError(
      `${directory}/training/state.json: is damaged: fields are missing or wrong`,
    );
  }
  const { recipe, momentSteps = 0 } = state as RunState;
  return { ...state as RunState, recipe: withDefaults(recipe), momentSteps };
}

/**
 * Takes an epoch's value of what early stopping watches.
 * @returns whether it is the best so far, and whether patience has ended
 */
export function watch(
  progress: Progress,
  value: number,
  patience: number,
): { readonly improved: boolean; readonly exhausted: boolean } {
  if (progress.best === null || value < progress.best.value) {
    progress.best = { value, epoch: progress.epoch };
    return { improved: true, exhausted: false };
  }
  return { improved: false, exhausted: progress.epoch - progress.best.epoch >= patience };
}
