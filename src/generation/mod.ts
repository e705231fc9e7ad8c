// Generation: choosing tokens, stopping, filtering, and conversations.

export { searchBeams } from "./beam.ts";
export {
  ALL_RULES,
  copies,
  cutLoop,
  cutSpeaker,
  type FilterOptions,
  type Removal,
  ResponseFilter,
  type RuleName,
  ruleNames,
} from "./filter.ts";
export {
  type BatchOptions,
  generate,
  generateBatch,
  type GenerationOptions,
  type Request,
  type TokenSequence,
} from "./generate.ts";
export { logSoftmax, logSumExp, tokenAt } from "./log_sum_exp.ts";
export * from "./logits.ts";
export {
  type BeamOptions,
  type DecodingOptions,
  type DryOptions,
  GREEDY,
  type LogitOptions,
  type SamplingOptions,
} from "./options.ts";
export {
  argmax,
  atLeast,
  type Candidate,
  candidates,
  nucleus,
  sampler,
  typical,
} from "./sampling.ts";
export {
  type Answer,
  type AnswerOptions,
  answerPrompt,
  ChatSession,
  type Fault,
  faultOf,
  PromptCache,
  retryOptions,
} from "./session.ts";
export { StopScanner } from "./stop.ts";
export {
  AnswerText,
  DO_NOT_KNOW,
  type Ending,
  type Generated,
  type Unsure,
  Writer,
  type WriterOptions,
} from "./writer.ts";
