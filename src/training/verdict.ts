// What a run's losses say, in words: learning, memorising since when, too fast, not enough; and which two flags
// are most likely to help.

import type { EpochEvent } from "./events.ts";
import type { Recipe } from "./recipe.ts";

/** An epoch's losses on the same footing: cross-entropy without dropout or label smoothing. */
export type EpochLosses = Pick<EpochEvent, "epoch" | "step" | "learned_loss" | "validation_loss">;

export type VerdictKind = "learning" | "memorising" | "unfinished" | "too fast" | "unknown";

export interface Verdict {
  readonly kind: VerdictKind;
  readonly words: string;
  /** Flags, the likeliest to help first. */
  readonly advice: readonly string[];
}

/** What the verdict must know beside the losses. */
export interface RunFacts {
  readonly recipe: Pick<
    Recipe,
    "stopOn" | "dropout" | "weightDecay" | "learningRate" | "epochs" | "model" | "vocabulary"
  >;
  readonly trainingTexts: number;
}

/** A validation loss that rose by more than this share of its lowest value did not do so by chance. */
const RISE = 0.03;
/** Nats by which a loss that still falls in its last epoch falls at least. */
const STILL_FALLING = 0.05;
/** Gap between the two losses, as a share of validation's, from which most was learned by heart. */
const WIDE_GAP = 0.6;
/** A first loss that falls by so much in so few steps on so few texts: it is learning them by heart. */
const FAST = { share: 0.7, steps: 100, texts: 100 };

const two = (value: number) => value.toFixed(2);

/** Judges a run by its epochs. */
export function verdictOf(epochs: readonly EpochLosses[], facts: RunFacts): Verdict {
  const first = epochs[0], last = epochs.at(-1);
  if (first === undefined || last === undefined) {
    return { kind: "unknown", words: "no epoch was finished", advice: [] };
  }
  const fast = fastFall(epochs, facts);
  if (fast !== null) return fast;
  const judged = epochs.filter(({ validation_loss }) => validation_loss !== null);
  if (judged.length === 0) {
    return {
      kind: "unknown",
      words: `nothing was set aside: the loss fell to ${two(last.learned_loss)}, but whether the ` +
        `model learned or memorised cannot be told`,
      advice: ["--validation 0.1"],
    };
  }
  const best = judged.reduce((a, b) => b.validation_loss! < a.validation_loss! ? b : a);
  const validation = last.validation_loss!, rise = validation - best.validation_loss!;
  if (best.epoch < last.epoch && rise > RISE * best.validation_loss!) {
    return {
      kind: "memorising",
      words: `memorising since epoch ${best.epoch}: validation rose ${two(rise)} while training ` +
        `fell ${two(best.learned_loss - last.learned_loss)}`,
      advice: againstMemorising(facts, best.epoch),
    };
  }
  const before = judged.at(-2)?.validation_loss ?? null;
  const fell = before === null ? Infinity : before - validation;
  const gap = validation - last.learned_loss;
  if (fell > STILL_FALLING && gap < WIDE_GAP * validation) {
    return {
      kind: "unfinished",
      words: before === null
        ? `learning: validation is at ${two(validation)} after the first epoch, and not done`
        : `learning, and not done: validation still fell ${two(fell)} in the last epoch`,
      advice: [
        `--epochs ${2 * facts.recipe.epochs}`,
        `--learning-rate ${2 * facts.recipe.learningRate}`,
      ],
    };
  }
  const wide = gap > WIDE_GAP * validation;
  return {
    kind: "learning",
    words:
      `learning: validation fell to ${two(validation)}, training to ${two(last.learned_loss)}` +
      (wide ? "; the gap says that much of it was learned by heart" : ""),
    advice: wide ? againstMemorising(facts, last.epoch) : [],
  };
}

/** Says so when few texts are learned at a rate that only learning by heart explains. */
function fastFall(epochs: readonly EpochLosses[], facts: RunFacts): Verdict | null {
  const first = epochs[0]!;
  const early = epochs.filter(({ step }) => step <= FAST.steps).at(-1);
  if (early === undefined || early === first || facts.trainingTexts > FAST.texts) return null;
  const fall = first.learned_loss - early.learned_loss;
  if (fall < FAST.share * first.learned_loss) return null;
  const last = epochs.at(-1)!.validation_loss;
  // Texts set aside that are predicted as well refute it.
  if (last !== null && last < 2 * early.learned_loss) return null;
  return {
    kind: "too fast",
    words: `the loss falls too fast: ${two(first.learned_loss)} to ${two(early.learned_loss)} in ` +
      `${early.step} steps on ${facts.trainingTexts} texts, which are being learned by heart`,
    advice: ["--data with more texts", ...smallerModel(facts.recipe)],
  };
}

const SMALLER = {
  "355m": "124m",
  "124m": "mini",
  mini: "micro",
  micro: "tiny",
  tiny: "nano",
  nano: null,
} as const;

/** The flag for the next smaller model, where there is one and the run does not go on from a given one. */
function smallerModel({ model }: Pick<Recipe, "model">): string[] {
  const next = model === null ? null : SMALLER[model];
  return next === null ? [] : [`--model ${next}`];
}

/** The two flags most likely to help against memorising, of those not yet in use. */
function againstMemorising({ recipe, trainingTexts }: RunFacts, best: number): string[] {
  const all = [
    recipe.stopOn === "never" ? "--stop-on validation --patience 3" : null,
    ...trainingTexts < 2000 ? smallerModel(recipe) : [],
    recipe.vocabulary === "gpt2" ? "--vocabulary corpus" : null,
    recipe.dropout < 0.2 ? "--dropout 0.2" : null,
    recipe.weightDecay < 0.1 ? "--weight-decay 0.1" : null,
    `--epochs ${best}`,
  ];
  return all.filter((flag) => flag !== null).slice(0, 2);
}
