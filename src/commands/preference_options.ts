// The flags of learning from preferences and rewards, and what does not go together with it.

import { UserError } from "../errors.ts";
import {
  learnsFromPairs,
  type Recipe,
  type RewardName,
  rewardNames,
  type RewardWeights,
} from "../training/mod.ts";
import { type OptionTable, suggestion } from "./options.ts";

/** The options of whatever scores answers by rules. */
export const REWARD_OPTIONS = {
  rewards: {
    type: "string",
    placeholder: "LIST",
    help: "what an answer is worth, such as stops=1,intent=2; each reward is from 0 to 1 and " +
      `counts as often as you say. There are ${rewardNames.join(", ")}`,
  },
  "answer-tokens": { type: "integer", minimum: 1, maximum: 4095, help: "longest sampled answer" },
  "answer-words": {
    type: "string",
    placeholder: "A-B",
    help: "range of words in which the reward length is 1, such as 3-40",
  },
} as const satisfies OptionTable;

export const PREFERENCE_OPTIONS = {
  preference: {
    type: "string",
    placeholder: "NAME",
    choices: ["none", "dpo", "ipo", "simpo", "grpo"],
    help: "with --init, learn from pairs of answers, lines of prompt, chosen and rejected " +
      "(dpo, ipo, simpo), or from rewards of sampled answers (grpo)",
  },
  beta: {
    type: "number",
    minimum: 0,
    maximum: 1000,
    help: "dpo, ipo, grpo: how firmly the model is held to what it was; simpo: how strongly a " +
      "pair pulls, 2 is usual",
  },
  gamma: {
    type: "number",
    minimum: 0,
    maximum: 1000,
    help: "simpo: how far the chosen answer's reward is to be above the other's",
  },
  "sft-weight": {
    type: "number",
    minimum: 0,
    maximum: 1000,
    help: "pairs: weight of the chosen answer's own cross-entropy",
  },
  "group-size": {
    type: "integer",
    minimum: 2,
    maximum: 256,
    help: "grpo: answers sampled to each question",
  },
  "rollout-temperature": {
    type: "number",
    minimum: 0,
    maximum: 10,
    above: true,
    help: "grpo: temperature of the samples; the model learns as if it were 1",
  },
  ...REWARD_OPTIONS,
} as const satisfies OptionTable;

/** Recipe fields that only some methods read, and which. */
const READ_BY: Readonly<Record<string, readonly Recipe["preference"][]>> = {
  beta: ["dpo", "ipo", "simpo", "grpo"],
  gamma: ["simpo"],
  "sft-weight": ["dpo", "ipo", "simpo"],
  "group-size": ["grpo"],
  "rollout-temperature": ["grpo"],
  rewards: ["grpo"],
  "answer-tokens": ["grpo"],
  "answer-words": ["grpo"],
};

/** What a loss of whole answers leaves no place for, and the value that leaves it out. */
const OFF = [
  ["labelSmoothing", "label-smoothing", 0],
  ["rDrop", "r-drop", 0],
  ["wordDropout", "word-dropout", 0],
  ["outOfScope", "out-of-scope", 0],
  ["promptLossWeight", "prompt-loss-weight", 0],
  ["intentWeight", "intent-weight", 1],
  ["keywordQuestions", "keyword-questions", 0],
  ["augment", "augment", false],
] as const satisfies readonly (readonly [keyof Recipe, string, unknown])[];

/**
 * Checks what a recipe says of preferences.
 * @param given names of the options that were given
 * @throws UserError when options contradict each other, or nothing reads one
 */
export function checkPreference(recipe: Recipe, given: readonly string[]): void {
  const { preference } = recipe;
  const idle = given.find((name) => READ_BY[name]?.includes(preference) === false);
  if (idle !== undefined) {
    throw new UserError(`--${idle} needs --preference ${READ_BY[idle]!.join(", ")}`);
  }
  if (preference === "none") return;
  for (const [field, option, off] of OFF) {
    if (recipe[field] === off) continue;
    const value = off === false ? "off" : off;
    throw new UserError(`--preference ${preference} needs --${option} ${value}`);
  }
  if (recipe.teachers.length > 0) {
    throw new UserError(
      `--preference ${preference} has no place for teachers; leave --teacher out`,
    );
  }
  if (learnsFromPairs(recipe) && !(recipe.beta > 0)) {
    throw new UserError(`--preference ${preference} needs --beta above 0`);
  }
  if (preference === "grpo" && Object.values(recipe.rewards).every((weight) => weight === 0)) {
    throw new UserError("--rewards: at least one must count");
  }
}

/** "stops=1,intent=2" */
export function parseRewards(list: string): RewardWeights {
  const weights = list.split(",").map((item): [RewardName, number] => {
    const [name = "", weight = "", ...rest] = item.trim().split("=");
    if (!rewardNames.includes(name as RewardName)) {
      throw new UserError(
        `--rewards: there is no reward ${JSON.stringify(name)}${
          suggestion(name, rewardNames) || "."
        } There are ${rewardNames.join(", ")}`,
      );
    }
    const value = Number(weight);
    if (rest.length === 0 && weight.trim() !== "" && Number.isFinite(value)) {
      return [name as RewardName, value];
    }
    throw new UserError(`--rewards: ${item.trim()}: behind = stands what the reward counts`);
  });
  const twice = weights.find(([name], i) => weights.findIndex(([other]) => other === name) < i);
  if (twice !== undefined) throw new UserError(`--rewards: ${twice[0]} comes twice`);
  return Object.fromEntries(weights);
}

/** "3-40" */
export function parseWords(range: string): readonly [number, number] {
  const [, least, most] = /^(\d{1,6})-(\d{1,6})$/.exec(range.trim()) ?? [];
  if (least !== undefined && 1 <= Number(least) && Number(least) <= Number(most)) {
    return [Number(least), Number(most)];
  }
  throw new UserError(`--answer-words must be two numbers from 1, such as 3-40, got ${range}`);
}
