// The GPT model: configuration, parameters, forward, backward, cache.

export { CachedSequence, type CacheSize, type Continuation, KeyValueCache } from "./cache.ts";
export {
  type Configuration,
  innerWidth,
  MOST_POSITIONS,
  type Preset,
  presets,
  validateConfiguration,
} from "./configuration.ts";
export { GPT, type ModelOptions, type UpdateOptions } from "./gpt.ts";
export type { Distillation, SoftTargets } from "./distillation.ts";
export { emptySums, type LossGradient, type LossSums } from "./head.ts";
export {
  adaptedLayers,
  adapterTable,
  addAdapter,
  LORA_TARGETS,
  type LoraOptions,
  type LoraTarget,
} from "./lora.ts";
export { MOMENT_FORMATS, type MomentFormat } from "../kernels/mod.ts";
export { memoryEstimate, peakEstimate } from "./memory.ts";
export {
  type ArrayKind,
  type MomentKind,
  parameterCount,
  type ParameterSpecification,
  parameterTable,
} from "./parameters.ts";
export type { Batch, DropoutSeed } from "./pass.ts";
