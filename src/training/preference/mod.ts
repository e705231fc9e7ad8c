// Preferences and rewards as an option of the training loop.

import { PairLearning } from "./pairs.ts";
import { RewardLearning } from "./rollouts.ts";
import { learnsFromPairs, type PreferenceLearning, type PreferenceSetting } from "./setting.ts";

export { sampleAnswers, type SampleRequest } from "./samples.ts";
export {
  largestLesson,
  learnsFromPairs,
  type Lesson,
  needsReference,
  type PairFigures,
  type PreferenceFigures,
  type PreferenceLearning,
  type PreferenceMethod,
  type PreferenceSetting,
  type RolloutFigures,
} from "./setting.ts";

/** The recipe's method, or null for a run that learns the data's own words. */
export function preferenceOf(setting: PreferenceSetting): PreferenceLearning | null {
  const { recipe } = setting;
  if (learnsFromPairs(recipe)) return new PairLearning(setting);
  return recipe.preference === "grpo" ? new RewardLearning(setting) : null;
}
