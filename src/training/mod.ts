// Training: recipes, schedules, the loop, its events and its state.

export { type Corpus, loadCorpus } from "./corpus.ts";
export { diagnose, type Diagnosis, divide } from "./diagnosis.ts";
export type {
  DiagnosisEvent,
  DoneEvent,
  EpochEvent,
  SampleEvent,
  StepEvent,
  TaughtEvent,
  TeachingEvent,
  TrainingEvent,
} from "./events.ts";
export {
  learnsFromPairs,
  needsReference,
  type PairFigures,
  type PreferenceFigures,
  type RolloutFigures,
  sampleAnswers,
} from "./preference/mod.ts";
export {
  Judge,
  type RewardName,
  rewardNames,
  rewards,
  type RewardWeights,
  type Score,
  scoreOf,
} from "./rewards/mod.ts";
export {
  RATE_RANGE,
  rateAt,
  type RatePoint,
  type RateRange,
  steepest,
  testRates,
} from "./rate_finder.ts";
export { loraOf, type Recipe, type ScheduleName, trainedModel } from "./recipe.ts";
export { type RecipeName, recipes } from "./recipes.ts";
export { learningRateAt } from "./schedule.ts";
export { SOFT_TARGETS, Teaching } from "./soft_targets.ts";
export {
  checkState,
  type Progress,
  type RunState,
  type Saving,
  startOfRun,
  watch,
} from "./state.ts";
export { prepareTeaching, teachersMemory, teacherWarnings } from "./teachers.ts";
export type { TrainOptions } from "./run.ts";
export { largestBatch, stepsPerEpoch, train, validationLoss } from "./train.ts";
export {
  type EpochLosses,
  type RunFacts,
  type Verdict,
  type VerdictKind,
  verdictOf,
} from "./verdict.ts";
export { difficulties, orderOf } from "./curriculum.ts";
