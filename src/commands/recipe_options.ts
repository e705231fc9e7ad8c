// The flags that override a recipe's numbers.

import { LORA_TARGETS, NORMALIZATIONS, OPTIMIZERS, presets } from "../model/mod.ts";
import { formatNames } from "../tokenizer/mod.ts";
import { MEMORY_OPTIONS } from "./memory_options.ts";
import type { OptionTable, Values } from "./options.ts";
import { PREFERENCE_OPTIONS } from "./preference_options.ts";

const ON_OFF = ["on", "off"];
export const ON_OFF_OPTIONS = new Set(["end-of-text", "augment", "intent-tokens", "recompute"]);

/** One option for every field of a recipe, named like it. */
export const RECIPE_OPTIONS = {
  model: {
    type: "string",
    placeholder: "NAME",
    choices: Object.keys(presets),
    help: "the model's size",
  },
  normalization: {
    type: "string",
    placeholder: "NAME",
    choices: [...NORMALIZATIONS],
    help:
      "what brings activations to one scale; batchnorm by the statistics of earlier steps, since " +
      "a batch's own would show each token what comes after it. Only layernorm can be exported",
  },
  data: {
    type: "strings",
    placeholder: "FILE",
    help: "your data instead of the recipe's: .jsonl, .json or .txt; may come several times",
  },
  "validation-data": {
    type: "strings",
    placeholder: "FILE",
    help: "data to set aside as they are; may come several times",
  },
  vocabulary: {
    type: "string",
    placeholder: "NAME",
    choices: ["gpt2", "corpus", "corpus-bpe"],
    help:
      "GPT-2's tokens, or only those that the data use and all bytes: for small models; or with " +
      "the steps of BPE to them, so that an export cuts words that the data do not have as the model does",
  },
  "intent-tokens": {
    type: "string",
    placeholder: "ON",
    choices: ON_OFF,
    help:
      "with --vocabulary corpus: the model says what a question wants to know, unseen, by a token " +
      "for each intent of the data, before it answers",
  },
  formats: {
    type: "string",
    placeholder: "LIST",
    help: `how conversations are spelled, such as human-assistant,q-a:10 (q-a for the first 10); ` +
      `there are ${formatNames.join(", ")}`,
  },
  "max-tokens": { type: "integer", minimum: 2, maximum: 4096, help: "longest text" },
  "end-of-text": {
    type: "string",
    placeholder: "ON",
    choices: ON_OFF,
    help: "end every text in the end-of-text token, from which the model learns to stop",
  },
  augment: {
    type: "string",
    placeholder: "ON",
    choices: ON_OFF,
    help: "add each conversation with its questions spelled carelessly",
  },
  "keyword-questions": {
    type: "integer",
    minimum: 0,
    maximum: 100,
    help:
      "data with intents: adds so many made-up questions of a few words of each intent's answers, " +
      "and of its questions",
  },
  "prompt-loss-weight": {
    type: "number",
    minimum: 0,
    maximum: 1,
    help: "weight in the loss of what the assistant does not say itself",
  },
  validation: {
    type: "number",
    minimum: 0,
    maximum: 0.9,
    help: "share of the conversations to set aside",
  },
  folds: {
    type: "integer",
    minimum: 0,
    maximum: 100,
    help: "cross-validation: parts of the data, of which --fold is set aside; 0 for none",
  },
  fold: { type: "integer", minimum: 1, maximum: 100, help: "the part that is set aside, from 1" },
  "split-by": {
    type: "string",
    placeholder: "UNIT",
    choices: ["conversation", "text"],
    help: "what stays on one side: a conversation in all its spellings, or only each text, which " +
      "lets validation see answers that were trained on",
  },
  share: {
    type: "number",
    minimum: 0,
    maximum: 1,
    above: true,
    help: "share of the data, after what is set aside, that is learned",
  },
  epochs: { type: "integer", minimum: 1, maximum: 100000, help: "times through the data" },
  "batch-size": { type: "integer", minimum: 1, maximum: 4096, help: "texts in a batch" },
  accumulate: { type: "integer", minimum: 1, maximum: 4096, help: "batches in a step" },
  optimizer: {
    type: "string",
    placeholder: "NAME",
    choices: [...OPTIMIZERS],
    help:
      "the rule of a step: adamw; lion, with half its memory, which wants a third to a tenth of its " +
      "rate; muon, which orthogonalises the steps of the layers' matrices, with adamw for the rest",
  },
  "learning-rate": {
    type: "number",
    minimum: 0,
    maximum: 1,
    above: true,
    help: "the highest rate",
  },
  "embedding-rate": {
    type: "number",
    minimum: 0,
    maximum: 10000,
    above: true,
    help: "the embeddings' rate over that of all else",
  },
  "matrix-rate": {
    type: "number",
    minimum: 0,
    maximum: 10000,
    above: true,
    help: "the rate of the layers' matrices over that of all else",
  },
  "warmup-steps": { type: "integer", minimum: 0, help: "steps in which the rate rises" },
  schedule: {
    type: "string",
    placeholder: "NAME",
    choices: ["constant", "step", "cosine", "linear", "wsd", "plateau"],
    help: "how the rate falls",
  },
  "schedule-by": {
    type: "string",
    placeholder: "UNIT",
    choices: ["step", "epoch"],
    help: "cosine, linear: whether the rate falls with every step or every epoch",
  },
  "schedule-factor": { type: "number", minimum: 0, maximum: 1, help: "step: factor of each fall" },
  "schedule-every": { type: "integer", minimum: 1, help: "step: epochs between two falls" },
  "schedule-decay": {
    type: "number",
    minimum: 0,
    maximum: 1,
    help: "wsd: share of the steps in which the rate falls, at the end",
  },
  "schedule-minimum": { type: "number", minimum: 0, maximum: 1, help: "cosine, linear: last rate" },
  "schedule-epochs": {
    type: "integer",
    minimum: 0,
    help: "cosine, linear: epoch of the last rate; 0 for the run's end",
  },
  beta1: { type: "number", minimum: 0, maximum: 0.9999, help: "AdamW's, Lion's decay of the mean" },
  beta2: {
    type: "number",
    minimum: 0,
    maximum: 0.999999,
    help: "AdamW's decay of the square, Lion's of the mean between steps",
  },
  momentum: { type: "number", minimum: 0, maximum: 0.9999, help: "Muon's decay of the mean" },
  epsilon: { type: "number", minimum: 0, maximum: 1, above: true, help: "AdamW's epsilon" },
  "embedding-noise": {
    type: "number",
    minimum: 0,
    maximum: 100,
    help: "NEFTune: noise on the embeddings; 5 is usual",
  },
  "r-drop": {
    type: "number",
    minimum: 0,
    maximum: 100,
    help: "R-Drop: makes two passes with different dropout agree; 1 to 5 is usual, twice the time",
  },
  "layer-drop": {
    type: "number",
    minimum: 0,
    maximum: 0.9,
    help: "probability that a layer is left out of a step",
  },
  "freeze-layers": {
    type: "integer",
    minimum: 0,
    help: "first layers, and with them the embeddings, that stay as they are",
  },
  averaging: {
    type: "string",
    placeholder: "NAME",
    choices: ["none", "ema", "swa"],
    help: "weights that are judged and used: the last, their moving average, or the epochs' mean",
  },
  "average-decay": {
    type: "number",
    minimum: 0,
    maximum: 1,
    help: "ema: what each step keeps of the average",
  },
  "average-from": { type: "integer", minimum: 1, help: "epoch from which on weights are averaged" },
  curriculum: {
    type: "string",
    placeholder: "NAME",
    choices: ["none", "length", "rarity", "loss"],
    help: "which texts come first: short ones, those of frequent words, or easy ones by their loss",
  },
  "curriculum-epochs": { type: "integer", minimum: 1, help: "epochs until all texts are in" },
  "answer-share": {
    type: "number",
    minimum: 0,
    maximum: 1,
    help:
      "with --intent-tokens: share of the questions from which the answer is learned too, not only the intent",
  },
  "intent-weight": {
    type: "number",
    minimum: 0,
    maximum: 1000,
    above: true,
    help:
      "with --intent-tokens: weight of the intent in the loss, against 1 for each token of its answer",
  },
  "word-dropout": {
    type: "number",
    minimum: 0,
    maximum: 0.9,
    help: "probability that a token of what the user says is hidden from the model",
  },
  "out-of-scope": {
    type: "number",
    minimum: 0,
    maximum: 1,
    help:
      'data with intents, one of them "unknown": probability that the words which tell what a question wants to ' +
      "know give way to others, and nobody knows the answer",
  },
  "weight-decay": { type: "number", minimum: 0, maximum: 10, help: "of matrices and embeddings" },
  "embedding-decay": {
    type: "number",
    minimum: 0,
    maximum: 10000,
    help: "the embeddings' decay over that of the matrices",
  },
  "value-identity": {
    type: "number",
    minimum: 0,
    maximum: 10,
    help:
      "attention's values and their projection begin as X times the identity, which lets words through, and " +
      "MLPs' projections as 0; 0: random",
  },
  "label-smoothing": { type: "number", minimum: 0, maximum: 0.9, help: "spread over all tokens" },
  clip: { type: "number", minimum: 0, above: true, help: "largest norm of the gradient" },
  dropout: { type: "number", minimum: 0, maximum: 0.9, help: "share of activations dropped" },
  "lora-rank": {
    type: "integer",
    minimum: 0,
    maximum: 1024,
    help: "train low-rank adapters beside the weights of --init, which needs far less memory",
  },
  "lora-alpha": { type: "number", minimum: 0, above: true, help: "adapters count alpha / rank" },
  "lora-targets": {
    type: "string",
    placeholder: "LIST",
    help: `layers that get adapters, of ${LORA_TARGETS.join(", ")}`,
  },
  "lora-dropout": { type: "number", minimum: 0, maximum: 0.9, help: "of the adapters' input" },
  teacher: {
    type: "strings",
    placeholder: "DIR",
    help: "knowledge distillation: a checkpoint to learn from beside the data; of several the mean",
  },
  "distill-temperature": {
    type: "number",
    minimum: 0,
    maximum: 100,
    above: true,
    help: "softens the teachers' probabilities and the model's",
  },
  "distill-weight": {
    type: "number",
    minimum: 0,
    maximum: 1,
    help: "share of the teachers in the loss; the rest is the data's own",
  },
  "distill-divergence": {
    type: "string",
    placeholder: "NAME",
    choices: ["forward", "reverse"],
    help: "forward: cover all that teachers say; reverse: say nothing that they would not",
  },
  "distill-top-k": {
    type: "integer",
    minimum: 1,
    maximum: 1024,
    help: "tokens kept of each of the teachers' predictions; all the others count as one",
  },
  ...MEMORY_OPTIONS,
  ...PREFERENCE_OPTIONS,
  "stop-on": {
    type: "string",
    placeholder: "LOSS",
    choices: ["validation", "training", "composite", "never"],
    help: "what early stopping watches; composite: loss, wrong answers and repetition",
  },
  patience: { type: "integer", minimum: 1, help: "epochs without a better loss before it stops" },
  seed: { type: "integer", minimum: 0, maximum: 2 ** 32 - 1, help: "of weights, order, dropout" },
  unsure: {
    type: "number",
    minimum: 0,
    maximum: 1,
    placeholder: "P",
    help:
      "the model is to say that it does not know when its answer as a whole (with --intent-tokens: the intent among them, " +
      "softened, and the less likely the less the question is like those of that intent) is less likely than P",
  },
  samples: { type: "strings", placeholder: "TEXT", help: "prompt to answer during training" },
  "sample-every": { type: "integer", minimum: 0, help: "epochs between two samples; 0 for none" },
} as const satisfies OptionTable;

export type RecipeValues = Values<typeof RECIPE_OPTIONS>;

/** The field of a recipe that an option overrides. */
export function fieldOf(option: string): string {
  const plural: Readonly<Record<string, string>> = { data: "corpus", teacher: "teachers" };
  return plural[option] ?? option.replaceAll(/-(.)/g, (_, c: string) => c.toUpperCase());
}

/** The names of the recipe's options that were given. */
export function givenOptions(values: RecipeValues): (keyof RecipeValues)[] {
  const names = Object.keys(RECIPE_OPTIONS) as (keyof RecipeValues)[];
  return names.filter((name) => {
    const value = values[name];
    return Array.isArray(value) ? value.length > 0 : value !== undefined;
  });
}
