// Evaluation: how well a model predicts, what it says, and whether that is right.

export {
  acceptedAnswers,
  answerOf,
  type Answers,
  isRight,
  nearestIntent,
  shareRight,
  splitKnown,
} from "./accuracy.ts";
export {
  answerAll,
  type AnswerOptions,
  hasStopped,
  PROBE_TEMPERATURES,
  PROBES,
  type TextFigures,
  textFigures,
} from "./answers.ts";
export { nearestQuestion } from "./baseline.ts";
export { evaluateLoss, type LossFigures } from "./loss.ts";
export {
  type Confidence,
  copiedFrom,
  distinct,
  expectedCalibrationError,
  mean,
  sequenceRepetition,
  tokenF1,
  wordsOf,
} from "./metrics.ts";
export { bestThreshold, figuresAt, type ThresholdFigures, type Tried } from "./thresholds.ts";
