// The checkpoints that a run leaves: `last` to go on with, `best` to use, and epochs that are kept beside them.

import { saveCheckpoint } from "../checkpoint/mod.ts";
import { DO_NOT_KNOW } from "../generation/mod.ts";
import type { IntentSpread } from "../model/mod.ts";
import { CompactTokenizer } from "../tokenizer/mod.ts";
import { intentSpread } from "./intents.ts";
import type { TrainOptions } from "./run.ts";

/** What all of a run's checkpoints say of themselves. */
function describe(options: TrainOptions) {
  return {
    metadata: metadataOf(options),
    base: options.state.init ?? undefined,
    spread: spreadOf(options),
  };
}

/** A run's last spread, and the step behind which it was measured: there, `best` and `last` are often saved both. */
const measured = new WeakMap<TrainOptions, { step: number; spread: IntentSpread | null }>();

function spreadOf(options: TrainOptions): IntentSpread | null {
  const { model, corpus, state: { progress: { step } } } = options;
  let known = measured.get(options);
  if (known?.step !== step) {
    known = { step, spread: intentSpread(model, corpus) };
    measured.set(options, known);
  }
  return known.spread;
}

function metadataOf({ corpus, state }: TrainOptions) {
  const { recipe, recipeName, init, progress } = state;
  const format = recipe.formats[0]?.name ?? "human-assistant";
  return {
    format,
    turns: corpus.turns,
    ...(recipe.unsure > 0
      ? { unsure: { probability: recipe.unsure, answer: corpus.doNotKnow ?? DO_NOT_KNOW } }
      : {}),
    ...(corpus.tokenizer instanceof CompactTokenizer
      ? { vocabulary: corpus.tokenizer.kept, intents: [...corpus.tokenizer.intents.keys()] }
      : {}),
    ...(corpus.decides ? {} : { decides: false }),
    step: progress.step,
    epoch: progress.epoch,
    recipe: { name: recipeName, init, ...recipe },
  };
}

/** Replaces `best`: weights alone. */
export function saveBest(options: TrainOptions): void {
  const { model, directory, state } = options;
  saveCheckpoint(`${directory}/best`, model, {
    ...describe(options),
    type: state.bestType,
  });
  options.onEvent({ event: "saved", directory: `${directory}/best` });
}

/** Keeps this epoch's weights, and removes the oldest of more than `state.keep`. */
export function keepWeights(options: TrainOptions): void {
  const { model, state, directory } = options;
  saveCheckpoint(`${directory}/epoch-${state.progress.epoch}`, model, describe(options));
  const epochs = Array.from(Deno.readDirSync(directory), ({ name }) => /^epoch-(\d+)$/.exec(name))
    .flatMap((match) => match === null ? [] : [Number(match[1])])
    .sort((a, b) => b - a);
  for (const epoch of epochs.slice(state.keep)) {
    Deno.removeSync(`${directory}/epoch-${epoch}`, { recursive: true });
  }
}

/** Replaces `last`: weights, moments, state and history. */
export function save(options: TrainOptions): void {
  const { model, state, directory } = options;
  saveCheckpoint(`${directory}/last`, model, {
    ...describe(options),
    training: { state, history: options.history.map((line) => line + "\n").join("") },
  });
  options.onEvent({ event: "saved", directory: `${directory}/last` });
}
