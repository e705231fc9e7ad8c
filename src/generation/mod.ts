// Generation: sampling, stopping, and conversations.

export {
  type Ending,
  generate,
  type Generated,
  type GenerationOptions,
  type TokenCache,
} from "./generate.ts";
export { argmax, candidates, nucleus, sampler, type SamplingOptions } from "./sampling.ts";
export { ChatSession, PromptCache } from "./session.ts";
export { StopScanner } from "./stop.ts";
