// The recipes by name.

import type { Recipe } from "./recipe.ts";

/** What the recipes of the original experiment have in common. */
const ORIGINAL = {
  model: "124m",
  normalization: "layernorm",
  validationData: [],
  intentTokens: false,
  vocabulary: "gpt2",
  answerShare: 1,
  intentWeight: 1,
  endOfText: true,
  augment: false,
  keywordQuestions: 0,
  promptLossWeight: 1,
  validation: 0,
  splitBy: "conversation",
  folds: 0,
  fold: 1,
  share: 1,
  accumulate: 1,
  warmupSteps: 0,
  optimizer: "adamw",
  embeddingRate: 1,
  matrixRate: 1,
  momentum: 0.95,
  embeddingDecay: 1,
  valueIdentity: 0,
  schedule: "constant",
  scheduleBy: "epoch",
  scheduleFactor: 1,
  scheduleEvery: 1,
  scheduleDecay: 0.2,
  scheduleMinimum: 0,
  scheduleEpochs: 0,
  epsilon: 1e-8,
  dropout: 0.1,
  wordDropout: 0,
  outOfScope: 0,
  embeddingNoise: 0,
  rDrop: 0,
  layerDrop: 0,
  freezeLayers: 0,
  averaging: "none",
  averageDecay: 0.99,
  averageFrom: 1,
  curriculum: "none",
  curriculumEpochs: 3,
  loraRank: 0,
  loraAlpha: 16,
  loraTargets: ["c_attn"],
  loraDropout: 0,
  teachers: [],
  distillTemperature: 2,
  distillWeight: 0.5,
  distillDivergence: "forward",
  distillTopK: 32,
  precision: "f32",
  moments: "f32",
  recompute: false,
  preference: "none",
  beta: 0.1,
  gamma: 0.5,
  sftWeight: 0,
  groupSize: 8,
  rolloutTemperature: 1,
  answerTokens: 64,
  rewards: { stops: 0.5, "no-repetition": 0.5, intent: 1, length: 0.25, format: 0.25, honesty: 1 },
  answerWords: [1, 60],
  stopOn: "never",
  patience: 0,
  seed: 42,
  unsure: 0,
  samples: ["Hello", "What is Python?"],
  sampleEvery: 5,
} as const satisfies Partial<Recipe>;

/**
 * Ours, for our own corpus: a small model with the corpus's vocabulary, judged on spellings set aside. Words are learned
 * fast and matrices slowly: at higher rates these settle on frequent words, and rare ones, which tell intents apart, are
 * lost. What is asked weighs more than how to say the answer, which is learned from an eighth of the questions.
 */
const ILLUMINATOR = {
  ...ORIGINAL,
  model: "tiny",
  corpus: ["illuminator/train.jsonl"],
  validationData: ["illuminator/validation.jsonl"],
  intentTokens: true,
  answerShare: 0.12,
  intentWeight: 2,
  vocabulary: "corpus",
  formats: [{ name: "small-letters" }],
  maxTokens: 128,
  promptLossWeight: 0,
  epochs: 4,
  batchSize: 128,
  learningRate: 5e-4,
  embeddingRate: 4,
  matrixRate: 0.8,
  embeddingDecay: 0,
  valueIdentity: 0.7,
  warmupSteps: 100,
  schedule: "cosine",
  scheduleBy: "step",
  scheduleMinimum: 1e-6,
  beta1: 0.9,
  beta2: 0.99,
  weightDecay: 0.01,
  labelSmoothing: 0,
  clip: 1,
  wordDropout: 0.15,
  outOfScope: 0.3,
  unsure: 0.15,
  sampleEvery: 5,
} as const satisfies Recipe;

/**
 * What learning from preferences or rewards has in common: small steps from a model that can already answer, without
 * dropout, so that the model is compared with what it was and not with noise.
 */
const PREFERENCE = {
  ...ILLUMINATOR,
  validationData: [],
  epochs: 1,
  batchSize: 16,
  // For the small models here; one of GPT-2's size wants a tenth.
  learningRate: 5e-5,
  embeddingRate: 1,
  matrixRate: 1,
  warmupSteps: 10,
  weightDecay: 0,
  dropout: 0,
  wordDropout: 0,
  outOfScope: 0,
  answerShare: 1,
  intentWeight: 1,
  sampleEvery: 1,
} as const satisfies Partial<Recipe>;

/** What learning from a few hundred conversations of one's own has in common; intents are used where the data name them. */
const OWN = {
  ...ILLUMINATOR,
  validationData: [],
  validation: 0.1,
  answerShare: 1,
  intentWeight: 1,
  maxTokens: 256,
  warmupSteps: 30,
  outOfScope: 0,
  unsure: 0,
} as const satisfies Partial<Recipe>;

export const recipes = {
  /**
   * The default: as much of `illuminator` as five minutes on two cores allow, in more and smaller steps, and with more of the
   * answers, since it sees each question once. So young a model is less sure of what it knows.
   */
  quick: { ...ILLUMINATOR, share: 0.3, answerShare: 0.3, epochs: 1, batchSize: 32, unsure: 0.05 },
  /** The recipe of the model that ships. */
  illuminator: ILLUMINATOR,
  /** From pairs of answers, which --data gives. */
  dpo: { ...PREFERENCE, corpus: [], preference: "dpo" },
  /** From rewards of the model's own answers. */
  grpo: { ...PREFERENCE, preference: "grpo", beta: 0.04, batchSize: 8 },
  /** The default for data of one's own, a few hundred conversations: many passes, a part set aside, every answer learned. */
  conversations: {
    ...OWN,
    corpus: ["conversations.jsonl"],
    epochs: 40,
    batchSize: 16,
  },
  /**
   * The default for going on from a model with data of one's own. At a rate of 3e-4 and more the shipped model forgets how
   * to say what it knows, before it says what is new.
   */
  finetune: {
    ...OWN,
    corpus: [],
    epochs: 40,
    batchSize: 8,
    learningRate: 1e-4,
    matrixRate: 1,
    warmupSteps: 10,
  },
  /** The original's first run: without end-of-text, its model never learns to stop. */
  basic: {
    ...ORIGINAL,
    corpus: ["basic.jsonl"],
    formats: [{ name: "human-assistant" }],
    maxTokens: 256,
    endOfText: false,
    epochs: 10,
    batchSize: 2,
    learningRate: 1e-4,
    beta1: 0.9,
    beta2: 0.999,
    weightDecay: 0.01,
    labelSmoothing: 0,
    clip: 1,
  },
  enhanced: {
    ...ORIGINAL,
    corpus: ["enhanced.jsonl"],
    formats: [
      { name: "human-assistant" },
      { name: "user-ai" },
      { name: "q-a" },
      { name: "question-answer" },
      { name: "plain" },
    ],
    maxTokens: 256,
    augment: true,
    validation: 0.2,
    epochs: 10,
    batchSize: 1,
    learningRate: 5e-4,
    schedule: "cosine",
    scheduleMinimum: 1e-6,
    scheduleEpochs: 50,
    beta1: 0.9,
    beta2: 0.999,
    weightDecay: 0.01,
    labelSmoothing: 0.1,
    clip: 1,
    stopOn: "validation",
    patience: 5,
  },
  improved: {
    ...ORIGINAL,
    corpus: ["improved.jsonl"],
    formats: [
      { name: "human-assistant" },
      { name: "user-ai", first: 10 },
      { name: "q-a", first: 10 },
    ],
    maxTokens: 200,
    epochs: 12,
    batchSize: 2,
    learningRate: 3e-4,
    schedule: "step",
    scheduleFactor: 0.8,
    scheduleEvery: 5,
    beta1: 0.9,
    beta2: 0.95,
    weightDecay: 0.01,
    labelSmoothing: 0.1,
    clip: 0.5,
    stopOn: "training",
    patience: 3,
  },
  final: {
    ...ORIGINAL,
    corpus: ["final.jsonl"],
    formats: [{ name: "human-assistant" }],
    maxTokens: 150,
    epochs: 6,
    batchSize: 1,
    learningRate: 1e-4,
    beta1: 0.9,
    beta2: 0.95,
    weightDecay: 0.05,
    labelSmoothing: 0.2,
    clip: 0.3,
  },
} as const satisfies Record<string, Recipe>;

export type RecipeName = keyof typeof recipes;

/** A recipe that an earlier version recorded, its missing fields being what they were before they had a name. */
export function withDefaults(recipe: Recipe): Recipe {
  return { ...ORIGINAL, ...recipe };
}
