// What a recipe is: every number that a run depends on, as plain data.

import type { FormatChoice } from "../data/mod.ts";
import type {
  LoraOptions,
  LoraTarget,
  ModelOptions,
  MomentFormat,
  Normalization,
  OptimizerName,
  Preset,
} from "../model/mod.ts";
import type { PreferenceMethod } from "./preference/mod.ts";
import type { RewardWeights } from "./rewards/mod.ts";

export type ScheduleName = "constant" | "step" | "cosine" | "linear" | "wsd" | "plateau";

export interface Recipe {
  /** null in a run that took its model, and so its size, from a checkpoint. */
  readonly model: Preset | null;
  readonly normalization: Normalization;
  /** Files under data/, or the user's own. */
  readonly corpus: readonly string[];
  /** Files that are set aside as they are, beside what `validation` sets aside. */
  readonly validationData: readonly string[];
  readonly formats: readonly FormatChoice[];
  /**
   * With a vocabulary of the corpus: each intent of the data has a token of its own, which the model says, unseen, before its
   * answer. So it first decides what is asked, once, and not anew with each word in which two answers differ.
   */
  readonly intentTokens: boolean;
  /**
   * GPT-2's tokens, or only those that the corpus uses and all bytes; "corpus-bpe": and the steps to them, so that any
   * text has the same tokens in other programs, which have nothing but BPE.
   */
  readonly vocabulary: "gpt2" | "corpus" | "corpus-bpe";
  /**
   * With intents' tokens: share of the questions, drawn anew each epoch, from which the answer is learned too, and not only
   * which intent it is. A hundred questions with one answer need not teach its words a hundred times.
   */
  readonly answerShare: number;
  /**
   * With intents' tokens: weight of the intent in the loss, against 1 for a token of its answer, of which there are many.
   * At 1 most of what the layers learn is how to recite answers.
   */
  readonly intentWeight: number;
  /** Longest example in tokens, the end-of-text token counted. */
  readonly maxTokens: number;
  /** Whether texts end in the end-of-text token. Without it a model never learns to stop. */
  readonly endOfText: boolean;
  /** Adds each conversation once more with its questions in another spelling. */
  readonly augment: boolean;
  /** For data with intents: so many made-up questions of an answer's words, and of two questions' words, each. */
  readonly keywordQuestions: number;
  /** Weight of what the assistant does not say itself, from 0 to 1. */
  readonly promptLossWeight: number;
  /** Share of the conversations that is set aside. */
  readonly validation: number;
  /** What stays on one side of the split: a conversation, however it is spelled, or only each text (which leaks). */
  readonly splitBy: "conversation" | "text";
  /** Cross-validation: with folds above 0, the fold of this number (from 1) is set aside instead of a share. */
  readonly folds: number;
  readonly fold: number;
  /** Share of the remaining conversations and texts that is learned. */
  readonly share: number;
  readonly epochs: number;
  /** Examples in a micro-batch, and micro-batches in a step. */
  readonly batchSize: number;
  readonly accumulate: number;
  readonly optimizer: OptimizerName;
  readonly learningRate: number;
  /**
   * The embeddings' rate over that of all else. A word of a small corpus meets few steps and must move far in each;
   * attention that moves as far settles on single words before it knows which ones tell.
   */
  readonly embeddingRate: number;
  /** The rate of the layers' matrices over that of all else. */
  readonly matrixRate: number;
  /** Steps in which the rate rises from 0. */
  readonly warmupSteps: number;
  readonly schedule: ScheduleName;
  /** Whether `cosine` and `linear` fall with every step, or with every epoch as PyTorch's schedulers are used. */
  readonly scheduleBy: "step" | "epoch";
  /** `step`: the rate is multiplied by the factor every so many epochs. */
  readonly scheduleFactor: number;
  readonly scheduleEvery: number;
  /** `wsd`: share of the steps in which the rate falls, at the end. */
  readonly scheduleDecay: number;
  /** `cosine`, `linear` and `wsd`: the last rate, and the epoch in which it is reached; 0 means the run's last. */
  readonly scheduleMinimum: number;
  readonly scheduleEpochs: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** `muon`: what each step keeps of the mean gradient. */
  readonly momentum: number;
  readonly weightDecay: number;
  /** The embeddings' decay over that of the matrices. */
  readonly embeddingDecay: number;
  /** How often the identity attention's values and their projection begin as, and MLPs' projections as 0; 0: random. */
  readonly valueIdentity: number;
  readonly labelSmoothing: number;
  /** Largest norm of the gradient. */
  readonly clip: number;
  readonly dropout: number;
  /** Probability that a token of what the user says is hidden from the model, as an unknown one. */
  readonly wordDropout: number;
  /**
   * Data with intents: probability that the words which tell what a question wants to know give way to others, and its
   * intent to "unknown".
   */
  readonly outOfScope: number;
  /** NEFTune (Jain et al. 2023): noise on the embeddings; 5 is usual, 0 is none. */
  readonly embeddingNoise: number;
  /** R-Drop (Liang et al. 2021): weight of two passes' disagreement, which doubles a step's work; 0 is none. */
  readonly rDrop: number;
  /** LayerDrop (Fan et al. 2019): probability that a layer is left out of a step. */
  readonly layerDrop: number;
  /** The first layers, and with them the embeddings, that stay as they are. */
  readonly freezeLayers: number;
  /**
   * The weights that are judged and used: those of the last step, their exponential moving average, or the mean
   * of the epochs' last ones (stochastic weight averaging, Izmailov et al. 2018).
   */
  readonly averaging: "none" | "ema" | "swa";
  /** `ema`: what each step keeps of the average. */
  readonly averageDecay: number;
  /** Epoch from which on weights are averaged. */
  readonly averageFrom: number;
  /** Which texts come first: the short ones, those of frequent tokens, or those that the model finds easy; and until when. */
  readonly curriculum: "none" | "length" | "rarity" | "loss";
  readonly curriculumEpochs: number;
  /** Rank of low-rank adapters, which then learn in place of the weights; 0 for none. */
  readonly loraRank: number;
  readonly loraAlpha: number;
  /** Layers that have one. */
  readonly loraTargets: readonly LoraTarget[];
  readonly loraDropout: number;
  /** Checkpoints whose predictions are learned beside the data: the mean of their probabilities. */
  readonly teachers: readonly string[];
  /** Distillation (Hinton et al. 2015): softens the probabilities of teachers and model alike. */
  readonly distillTemperature: number;
  /** Share of the teachers in the loss; the rest is the data's own. */
  readonly distillWeight: number;
  /** KL(teachers, model), or KL(model, teachers), which rather leaves out than adds what teachers would say. */
  readonly distillDivergence: "forward" | "reverse";
  /**
   * Most tokens of which each prediction of the teachers is kept; all the others count as one. Of the shipped model's
   * predictions at temperature 2, 16, 32, 64 and 128 leave 21, 20, 18 and 17 % to the others: 8 bytes each buy little.
   */
  readonly distillTopK: number;
  /** bf16: mixed precision, see ModelOptions. */
  readonly precision: "f32" | "bf16";
  /** Number format of AdamW's moments. */
  readonly moments: MomentFormat;
  /** Keeps only each layer's input for backward, and computes the rest again. */
  readonly recompute: boolean;
  /**
   * What the run learns by, from the model of a checkpoint: the data's own words; pairs of answers (`dpo`, `ipo`,
   * `simpo`); or the rewards of its own answers (`grpo`).
   */
  readonly preference: PreferenceMethod;
  /** `dpo`, `ipo`, `grpo`: how firmly the model is held to what it was; `simpo`: how strongly a pair pulls. */
  readonly beta: number;
  /** `simpo`: by how much the chosen answer's reward is to be above the other's. */
  readonly gamma: number;
  /** Pairs: weight of the chosen answer's mean cross-entropy. */
  readonly sftWeight: number;
  /** `grpo`: answers sampled to each of a batch's questions, how freely, and how long at most. */
  readonly groupSize: number;
  readonly rolloutTemperature: number;
  readonly answerTokens: number;
  /** `grpo`: what an answer is worth; fewest and most words of a good length. */
  readonly rewards: RewardWeights;
  readonly answerWords: readonly [least: number, most: number];
  /** What early stopping watches, and how many epochs without a better value it waits. */
  readonly stopOn: "validation" | "training" | "composite" | "never";
  readonly patience: number;
  readonly seed: number;
  /** Least probability of an answer that the model gives, or of its intent, softened; else it says that it does not know. */
  readonly unsure: number;
  /** Prompts answered during training, and after how many epochs again; 0 for never. */
  readonly samples: readonly string[];
  readonly sampleEvery: number;
}

/** The adapters that a recipe asks for. */
export function loraOf(
  { loraRank, loraAlpha, loraTargets, loraDropout }: Recipe,
): LoraOptions | undefined {
  if (loraRank === 0) return undefined;
  return { rank: loraRank, alpha: loraAlpha, targets: loraTargets, dropout: loraDropout };
}

/** The model that a recipe trains. */
export function trainedModel(recipe: Recipe): ModelOptions {
  const { precision, optimizer, moments, recompute } = recipe;
  const average = recipe.averaging !== "none", lora = loraOf(recipe);
  return { training: true, precision, optimizer, moments, recompute, average, lora };
}
