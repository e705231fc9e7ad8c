// Learning from pairs of answers: batches that hold both, and the model's opinion of them against what it held at first.

import { collate, type Example, type RaggedBatch } from "../../data/mod.ts";
import type { GPT, Weighed } from "../../model/mod.ts";
import {
  type PairLoss,
  pairLoss,
  type PairMethod,
  type ScoredAnswer,
} from "../objectives/pairs.ts";
import type {
  Lesson,
  PairFigures,
  PreferenceFigures,
  PreferenceLearning,
  PreferenceSetting,
} from "./setting.ts";
import type { Recipe } from "../recipe.ts";

/** Tokens of a batch that is only looked at. */
const BATCH_TOKENS = 256;

/** A pair's two answers by the reference: the sums of their log p. */
type Reference = readonly [chosen: number, rejected: number];

/** The pairs' chosen answers, and behind them the rejected ones. */
function pairBatch(pairs: readonly Example[]): RaggedBatch {
  return collate([...pairs, ...pairs.map(({ rejected }) => rejected!)]);
}

/** Log-probability and length of each sequence's targets. */
function sumsOf(
  { targets, offsets }: RaggedBatch,
  logProbabilities: Float32Array,
): { logProbability: number; tokens: number }[] {
  return Array.from({ length: offsets.length - 1 }, (_, b) => {
    let logProbability = 0, tokens = 0;
    for (let n = offsets[b]!; n < offsets[b + 1]!; n++) {
      if (targets[n]! < 0) continue;
      logProbability += logProbabilities[n]!;
      tokens++;
    }
    return { logProbability, tokens };
  });
}

/** Pairs in groups of about so many tokens. */
function groupsOf(pairs: readonly Example[]): Example[][] {
  const groups: Example[][] = [];
  let size = Infinity;
  for (const pair of pairs) {
    const own = pair.tokens.length + pair.rejected!.tokens.length;
    if (size + own > BATCH_TOKENS) {
      groups.push([]);
      size = 0;
    }
    groups.at(-1)!.push(pair);
    size += own;
  }
  return groups;
}

/** What a model holds of each pair's answers. */
export function referencesOf(model: GPT, pairs: readonly Example[]): Reference[] {
  return groupsOf(pairs).flatMap((group) => {
    const batch = pairBatch(group);
    const sums = sumsOf(batch, model.logProbabilities(batch));
    return group.map((_, i): Reference => [
      sums[i]!.logProbability,
      sums[group.length + i]!.logProbability,
    ]);
  });
}

export class PairLearning implements PreferenceLearning {
  readonly #model: GPT;
  readonly #recipe: Recipe;
  readonly #references: ReadonlyMap<Example, Reference>;
  #learned: PairLoss[] = [];

  /** Asks the model what it holds of the pairs, unless the run remembers that. */
  constructor({ model, corpus, recipe, progress }: PreferenceSetting) {
    this.#model = model;
    this.#recipe = recipe;
    const pairs = [...corpus.training, ...corpus.validation];
    if (recipe.preference !== "simpo") progress.references ??= referencesOf(model, pairs);
    const { references } = progress;
    this.#references = new Map(pairs.map((pair, i) => [pair, references?.[i] ?? [0, 0]]));
  }

  prepare(microBatches: readonly (readonly Example[])[]): Promise<Lesson[]> {
    this.#learned = [];
    return Promise.resolve(microBatches.map((pairs): Lesson => {
      const batch = pairBatch(pairs);
      return {
        batch,
        terms: pairs.length,
        objective: (logProbabilities) => {
          const { weighed, losses } = this.#weigh(pairs, batch, logProbabilities);
          this.#learned.push(...losses);
          return weighed;
        },
      };
    }));
  }

  figures(): PreferenceFigures {
    return { pairs: figuresOf(this.#learned) };
  }

  evaluate(examples: readonly Example[]): { loss: number; pairs: PairFigures } | null {
    if (examples.length === 0) return null;
    const losses = groupsOf(examples).flatMap((pairs) => {
      const batch = pairBatch(pairs);
      return this.#weigh(pairs, batch, this.#model.logProbabilities(batch)).losses;
    });
    const loss = losses.reduce((sum, own) => sum + own.loss, 0) / losses.length;
    return { loss, pairs: figuresOf(losses) };
  }

  /** The losses of pairs, and the weight that their slopes give to each row of the batch. */
  #weigh(
    pairs: readonly Example[],
    batch: RaggedBatch,
    logProbabilities: Float32Array,
  ): { weighed: Weighed; losses: PairLoss[] } {
    const { offsets } = batch;
    const sums = sumsOf(batch, logProbabilities);
    const weights = new Float32Array(batch.targets.length);
    const losses = pairs.map((pair, i) => {
      const [chosen, rejected] = [i, pairs.length + i];
      const references = this.#references.get(pair)!;
      const answer = (b: number, side: 0 | 1): ScoredAnswer => ({
        ...sums[b]!,
        reference: references[side],
      });
      const method = this.#recipe.preference as PairMethod;
      const loss = pairLoss(method, answer(chosen, 0), answer(rejected, 1), this.#recipe);
      weights.fill(-loss.dchosen, offsets[chosen], offsets[chosen + 1]);
      weights.fill(-loss.drejected, offsets[rejected], offsets[rejected + 1]);
      return loss;
    });
    const loss = losses.reduce((sum, own) => sum + own.loss, 0);
    return { weighed: { weights, loss, terms: pairs.length }, losses };
  }
}

function figuresOf(losses: readonly PairLoss[]): PairFigures {
  const mean = (value: (loss: PairLoss) => number) =>
    losses.reduce((sum, loss) => sum + value(loss), 0) / losses.length;
  return {
    accuracy: mean(({ margin }) => Number(margin > 0)),
    margin: mean(({ margin }) => margin),
  };
}
