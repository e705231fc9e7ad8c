// The training loop: epochs of optimiser steps, validation, early stopping, checkpoints.

import process from "node:process";
import {
  batchesOf,
  collate,
  cutAnswers,
  type Example,
  hideWords,
  totalWeight,
} from "../data/mod.ts";
import { UserError } from "../errors.ts";
import { emptySums, type GPT, type LossSums } from "../model/mod.ts";
import { mixedSeed, randomNumbers } from "../random.ts";
import type { Corpus } from "./corpus.ts";
import { orderOf } from "./curriculum.ts";
import { diagnose, type Diagnosis } from "./diagnosis.ts";
import type { EpochEvent } from "./events.ts";
import {
  largestLesson,
  type Lesson,
  type PreferenceLearning,
  preferenceOf,
} from "./preference/mod.ts";
import type { Recipe } from "./recipe.ts";
import { EVALUATION_TOKENS, type TrainOptions } from "./run.ts";
import { sample } from "./samples.ts";
import { keepWeights, save, saveBest } from "./saves.ts";
import { learningRateAt } from "./schedule.ts";
import { type Progress, type RunState, watch } from "./state.ts";
import { type EpochLosses, verdictOf } from "./verdict.ts";

/** Optimiser steps in an epoch. */
export function stepsPerEpoch(recipe: Recipe, examples: number): number {
  return Math.ceil(examples / (recipe.batchSize * recipe.accumulate));
}

/** Tokens of the largest batch that a run can meet, for foretelling its memory. */
export function largestBatch(corpus: Corpus, recipe: Recipe): number {
  const lengths = (examples: readonly Example[]) =>
    examples.map((example) => largestLesson(example, recipe)).sort((a, b) => b - a);
  const validation = lengths(corpus.validation);
  const copies = recipe.rDrop > 0 ? 2 : 1;
  return Math.max(
    copies *
      lengths(corpus.training).slice(0, recipe.batchSize).reduce((sum, length) => sum + length, 0),
    Math.min(
      Math.max(validation[0] ?? 0, EVALUATION_TOKENS),
      validation.reduce((a, b) => a + b, 0),
    ),
  );
}

/**
 * Trains until the epochs are done, early stopping says so, or the signal comes; then saves `last`.
 * @throws UserError when the loss is no longer a number; `last` is left as it was
 */
export async function train(options: TrainOptions): Promise<void> {
  const { corpus, state, signal } = options;
  const { recipe, progress } = state;
  const steps = stepsPerEpoch(recipe, corpus.training.length);
  if (progress.epochStep > steps) {
    const claim = `step ${progress.epochStep} of an epoch of ${steps}`;
    throw new UserError(`${options.directory}: its state is damaged: it claims ${claim}`);
  }
  const learning = preferenceOf({ ...options, recipe, progress });
  while (progress.finished === null && !signal.aborted) {
    if (progress.epochStep === 0) progress.losses = ownLosses(options);
    const order = orderOf(corpus.training, recipe, progress.epoch, progress.losses);
    while (progress.epochStep < steps && !signal.aborted) {
      await trainStep(options, order, steps, learning);
      // Lets a signal or a key arrive.
      await new Promise((turn) => setTimeout(turn, 0));
    }
    if (progress.epochStep === steps) await endEpoch(options, learning);
  }
  await onAverage(options, () => save(options));
  options.onEvent({
    event: "done",
    reason: progress.finished ?? "interrupted",
    seconds: progress.seconds,
    steps: progress.step,
    best: progress.best,
    // Losses say nothing of a run that learns by rewards.
    verdict: progress.finished === null || recipe.preference === "grpo"
      ? null
      : verdictOf(epochsOf(options.history), {
        recipe,
        trainingTexts: corpus.training.length,
      }),
    peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
  });
}

/** The loss of each training text for the curriculum `loss`, while it lasts. */
function ownLosses({ model, corpus, state: { recipe, progress } }: TrainOptions): number[] | null {
  if (recipe.curriculum !== "loss" || progress.epoch >= recipe.curriculumEpochs) return null;
  return corpus.training.map((example) => {
    const { crossEntropy, weight } = model.evaluate(collate([example]));
    return crossEntropy / weight;
  });
}

/** The epochs of a run's history. */
function epochsOf(history: readonly string[]): EpochLosses[] {
  return history.map((line) => JSON.parse(line)).filter(({ event }) => event === "epoch");
}

/** A micro-batch of texts whose own words are learned. */
function lessonOf(
  own: readonly Example[],
  microStep: number,
  { corpus, teaching, state: { recipe, progress } }: TrainOptions,
): Lesson {
  const random = randomNumbers(mixedSeed(recipe.seed, progress.step, microStep));
  const asked = corpus.outOfScope?.among(own, recipe.outOfScope, random) ?? own;
  const cut = recipe.answerShare < 1 ? cutAnswers(asked, recipe.answerShare, random) : asked;
  // R-Drop compares two passes of each text, which differ in what is dropped.
  const twice = <T>(texts: readonly T[]) => recipe.rDrop > 0 ? [...texts, ...texts] : texts;
  const examples = twice(cut);
  const batch = { ...collate(examples), choiceFrom: choiceOf(recipe, corpus) };
  if (recipe.wordDropout > 0) {
    const { unknown } = corpus.tokenizer.special;
    hideWords(batch, examples, { p: recipe.wordDropout, unknown, random });
  }
  return { batch, terms: totalWeight(batch), distillation: teaching?.of(examples, twice(asked)) };
}

/**
 * The first of the intents' tokens, where questions without their answers teach to choose among intents alone: the
 * thousands of words, which whole examples teach not to stand there, are left in peace. What teachers say is of all
 * tokens, and R-Drop compares whole predictions.
 */
function choiceOf(
  { answerShare, rDrop, teachers }: Recipe,
  { tokenizer: { intents } }: Corpus,
): number | undefined {
  if (answerShare === 1 || rDrop > 0 || teachers.length > 0 || !intents?.size) return undefined;
  return Math.min(...intents.values());
}

/** One optimiser step over its share of the epoch's order. */
async function trainStep(
  options: TrainOptions,
  order: Int32Array,
  steps: number,
  learning: PreferenceLearning | null,
): Promise<void> {
  const { model, corpus, state } = options;
  const { recipe, progress } = state;
  const start = performance.now();
  const size = recipe.batchSize * recipe.accumulate;
  const chosen = order.subarray(progress.epochStep * size, (progress.epochStep + 1) * size);
  const microBatches = chunks(Array.from(chosen, (i) => corpus.training[i]!), recipe.batchSize);
  const lessons = learning === null
    ? microBatches.map((own, microStep) => lessonOf(own, microStep, options))
    : await learning.prepare(microBatches, progress.step);
  const normalizer = lessons.reduce((sum, { terms }) => sum + terms, 0);
  const sums = lessons.map(({ batch, objective, distillation }, microStep) =>
    model.accumulate(batch, {
      objective,
      normalizer,
      distillation,
      labelSmoothing: recipe.labelSmoothing,
      agreement: recipe.rDrop,
      seed: recipe.seed,
      step: progress.step,
      microStep,
      embeddingNoise: recipe.embeddingNoise,
      layerDrop: recipe.layerDrop,
    })
  ).reduce(addSums);
  const learningRate = learningRateAt(recipe, progress.step, steps, progress.rateFactor);
  const { gradientNorm } = model.update({
    ...recipe,
    learningRate,
    step: state.momentSteps + progress.step + 1,
  });
  if (recipe.averaging === "ema" && isAveraging(options)) average(options);
  const loss = sums.loss / sums.weight;
  checkFinite("loss", loss, progress.step + 1);
  checkFinite("gradient's norm", gradientNorm, progress.step + 1);
  const seconds = (performance.now() - start) / 1000;
  progress.step++;
  progress.epochStep++;
  progress.epochLoss += sums.loss;
  progress.epochCrossEntropy += sums.crossEntropy;
  progress.epochWeight += sums.weight;
  progress.epochDistillation += sums.distillation;
  progress.epochTaught += sums.taught;
  progress.seconds += seconds;
  const event = {
    event: "step",
    step: progress.step,
    epoch: progress.epoch + 1,
    loss,
    ...(sums.taught > 0
      ? {
        cross_entropy: sums.crossEntropy / sums.weight,
        distillation: sums.distillation / sums.taught,
      }
      : {}),
    learning_rate: learningRate,
    gradient_norm: gradientNorm,
    tokens_per_second: sums.targets / seconds,
    ...learning?.figures(),
  } as const;
  // The history holds nothing that differs between two runs of the same seed.
  const { tokens_per_second: _, ...lasting } = event;
  options.history.push(JSON.stringify(lasting));
  options.onEvent(event);
}

function isAveraging({ state: { recipe, progress } }: TrainOptions): boolean {
  return recipe.averaging !== "none" && progress.epoch + 1 >= recipe.averageFrom;
}

/** Takes the weights into their average, which the first of them begin. */
function average({ model, state: { recipe, progress } }: TrainOptions): void {
  const n = progress.averaged++;
  // A young moving average would remember its beginning for too long.
  const keep = recipe.averaging === "swa"
    ? n / (n + 1)
    : Math.min(recipe.averageDecay, n / (n + 9));
  model.updateAverage(keep);
}

/** Does something with the averaged weights in place, where there are any. */
async function onAverage<T>(options: TrainOptions, work: () => T | Promise<T>): Promise<T> {
  const { model, state: { progress } } = options;
  if (progress.averaged === 0) return await work();
  model.learned.swapAverage();
  try {
    return await work();
  } finally {
    model.learned.swapAverage();
  }
}

/** `plateau`: lowers the rate when what is watched got no better for so many epochs. */
function lowerRate({ recipe, progress }: Pick<RunState, "recipe" | "progress">): void {
  if (recipe.schedule !== "plateau") return;
  const since = Math.max(progress.best?.epoch ?? 0, progress.rateEpoch);
  if (progress.epoch - since < recipe.scheduleEvery) return;
  progress.rateFactor *= recipe.scheduleFactor;
  progress.rateEpoch = progress.epoch;
}

/** Stops a run that has left the numbers, before it saves what it has become. */
function checkFinite(name: string, value: number, step: number): void {
  if (Number.isFinite(value)) return;
  throw new UserError(
    `the ${name} became ${value} in step ${step}; use a lower --learning-rate or more ` +
      `--warmup-steps. Checkpoints saved before are as they were`,
  );
}

function addSums(a: LossSums, b: LossSums): LossSums {
  const sums = emptySums();
  for (const name of Object.keys(sums) as (keyof LossSums)[]) sums[name] = a[name] + b[name];
  return sums;
}

function chunks<T>(items: readonly T[], size: number): T[][] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/** Mean cross-entropy over examples, or null when there are none. */
export function validationLoss(model: GPT, examples: readonly Example[]): number | null {
  if (examples.length === 0) return null;
  const sums = batchesOf(examples, EVALUATION_TOKENS)
    .map((batch) => model.evaluate(batch))
    .reduce(addSums);
  return sums.crossEntropy / sums.weight;
}

/** Tokens of the training texts that each epoch's loss is measured on anew. */
const FOOTING_TOKENS = 4096;

/** Training texts evenly spread over the corpus: whose loss stands beside validation's. */
function footing({ training }: Corpus): readonly Example[] {
  const tokens = training.reduce((sum, example) => sum + example.tokens.length, 0);
  const every = Math.max(1, Math.ceil(tokens / FOOTING_TOKENS));
  return training.filter((_, i) => i % every === 0);
}

/** Closes an epoch, on the averaged weights where there are any. */
function endEpoch(options: TrainOptions, learning: PreferenceLearning | null): Promise<void> {
  if (options.state.recipe.averaging === "swa" && isAveraging(options)) average(options);
  return onAverage(options, () => judgeEpoch(options, learning));
}

/** Validates, decides whether to go on, keeps the best, lets the model speak. */
async function judgeEpoch(
  options: TrainOptions,
  learning: PreferenceLearning | null,
): Promise<void> {
  const { model, tokenizer, corpus, state, onEvent } = options;
  const { recipe, progress } = state;
  const start = performance.now();
  const train_loss = progress.epochLoss / progress.epochWeight;
  const train_cross_entropy = progress.epochCrossEntropy / progress.epochWeight;
  const distilled = progress.epochTaught > 0
    ? { train_distillation: progress.epochDistillation / progress.epochTaught }
    : {};
  const evaluate = (examples: readonly Example[]) =>
    learning?.evaluate?.(examples) ?? { loss: validationLoss(model, examples), pairs: undefined };
  const { loss: validation_loss, pairs: aside } = evaluate(corpus.validation);
  const { loss: learned_loss, pairs: learned } = evaluate(footing(corpus));
  const pairs = aside ?? learned;
  checkFinite("validation loss", validation_loss ?? 0, progress.step);
  closeEpoch(progress);
  const speaks = recipe.sampleEvery > 0 &&
    (progress.epoch % recipe.sampleEvery === 0 || progress.epoch >= recipe.epochs);
  const diagnosis = speaks || recipe.stopOn === "composite"
    ? await diagnose(model, tokenizer, corpus)
    : null;
  const watched = watchedValue(recipe, train_loss, validation_loss, diagnosis);
  const { improved, exhausted } = watch(progress, watched, recipe.patience);
  lowerRate(state);
  if (progress.epoch >= recipe.epochs) progress.finished = "epochs";
  else if (recipe.stopOn !== "never" && exhausted) progress.finished = "early-stop";
  const event: EpochEvent = {
    event: "epoch",
    epoch: progress.epoch,
    step: progress.step,
    train_loss,
    train_cross_entropy,
    ...distilled,
    learned_loss: learned_loss!,
    validation_loss,
    best: improved,
    ...(pairs === undefined ? {} : { pairs }),
  };
  options.history.push(JSON.stringify(event));
  onEvent(event);
  if (diagnosis !== null) {
    const gap = validation_loss === null ? null : validation_loss - learned_loss!;
    const found = { event: "diagnosis", epoch: progress.epoch, gap, ...diagnosis } as const;
    options.history.push(JSON.stringify(found));
    onEvent(found);
  }
  if (speaks || recipe.sampleEvery > 0 && progress.finished !== null) await sample(options);
  progress.seconds += (performance.now() - start) / 1000;
  if (improved && keepsBest(recipe, validation_loss)) {
    saveBest(options);
  }
  const { saveEvery = 0, keep = 0 } = state;
  const due = saveEvery > 0 && progress.epoch % saveEvery === 0;
  if (due && keep > 0) keepWeights(options);
  if (due && progress.finished === null) save(options);
}

/** What early stopping watches: lower is better. `composite` weighs loss, wrong answers and repetition alike. */
function watchedValue(
  { stopOn }: Recipe,
  training: number,
  validation: number | null,
  diagnosis: Diagnosis | null,
): number {
  if (stopOn === "training") return training;
  const loss = validation ?? training;
  if (stopOn !== "composite" || diagnosis === null) return loss;
  return loss + (1 - (diagnosis.accuracy ?? 1)) + diagnosis.seq_rep_4;
}

function closeEpoch(progress: Progress): void {
  progress.epoch++;
  progress.epochStep = 0;
  progress.epochLoss = 0;
  progress.epochCrossEntropy = 0;
  progress.epochWeight = 0;
  progress.epochDistillation = 0;
  progress.epochTaught = 0;
}

/** Without validation data or early stopping there is nothing to choose by: the last weights are it. */
function keepsBest(recipe: Recipe, validation: number | null): boolean {
  return validation !== null || recipe.stopOn !== "never";
}
