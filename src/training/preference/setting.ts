// Learning from preferences or rewards: what it adds to the training loop, whichever the method.

import type { Example, RaggedBatch } from "../../data/mod.ts";
import type { Distillation, GPT, Objective } from "../../model/mod.ts";
import type { Tokenizer } from "../../tokenizer/mod.ts";
import type { Corpus } from "../corpus.ts";
import type { PairMethod } from "../objectives/pairs.ts";
import type { Recipe } from "../recipe.ts";
import type { Progress } from "../state.ts";

/** What a run learns by beside, or in place of, the data's own words. */
export type PreferenceMethod = "none" | PairMethod | "grpo";

/** Whether a recipe learns from pairs of answers. */
export function learnsFromPairs(
  recipe: Pick<Recipe, "preference">,
): recipe is { readonly preference: PairMethod } {
  const { preference } = recipe;
  return preference === "dpo" || preference === "ipo" || preference === "simpo";
}

/** Whether a run needs the model as it began beside it. */
export function needsReference({ preference, beta }: Pick<Recipe, "preference" | "beta">): boolean {
  return preference === "grpo" && beta > 0;
}

/** Tokens that an example can bring into a batch. */
export function largestLesson(
  { tokens, rejected }: Example,
  { preference, groupSize, answerTokens }: Recipe,
): number {
  if (preference === "grpo") return groupSize * (tokens.length + answerTokens);
  return tokens.length - 1 + (rejected === undefined ? 0 : rejected.tokens.length - 1);
}

/** A batch with its part in a step's loss. */
export interface Lesson {
  readonly batch: RaggedBatch;
  /** What the sum of losses is divided by, over all batches of the step. */
  readonly terms: number;
  readonly objective?: Objective;
  readonly distillation?: Distillation;
}

/** Means over pairs. */
export interface PairFigures {
  /** Share of pairs whose chosen answer has the higher reward. */
  readonly accuracy: number;
  /** Reward of the chosen answer less that of the rejected one. */
  readonly margin: number;
}

/** Means over sampled answers. */
export interface RolloutFigures {
  readonly reward: number;
  /** Each reward by its name, from 0 to 1, before its weight. */
  readonly parts: Readonly<Record<string, number>>;
  /** Estimated Kullback-Leibler divergence from the reference, nats a token. */
  readonly divergence: number;
  /** Tokens of an answer. */
  readonly tokens: number;
  /** One of the answers. */
  readonly sample: { readonly prompt: string; readonly text: string; readonly reward: number };
}

/** What a step or an epoch tells beside its loss. */
export interface PreferenceFigures {
  readonly pairs?: PairFigures;
  readonly rollouts?: RolloutFigures;
}

/** A method at work in a run. */
export interface PreferenceLearning {
  /** The lessons of a step from its micro-batches. */
  prepare(microBatches: readonly (readonly Example[])[], step: number): Promise<Lesson[]>;
  /** Of the step whose lessons were learned last. */
  figures(): PreferenceFigures;
  /** Mean loss without dropout, where the method's loss is one of texts; else that of the data is watched. */
  evaluate?(examples: readonly Example[]): { loss: number; pairs: PairFigures } | null;
}

/** What a method needs of a run. */
export interface PreferenceSetting {
  readonly model: GPT;
  readonly tokenizer: Tokenizer;
  readonly corpus: Corpus;
  readonly recipe: Recipe;
  readonly progress: Progress;
  /** The model as it began, where needsReference says so. */
  readonly reference?: GPT;
}
