// The GPT model: configuration, parameters, forward, backward, cache.

export { CachedSequence, type CacheSize, type Continuation, KeyValueCache } from "./cache.ts";
export {
  type Configuration,
  innerWidth,
  MOST_POSITIONS,
  type Normalization,
  NORMALIZATIONS,
  type Preset,
  presets,
  validateConfiguration,
} from "./configuration.ts";
export { GPT, type ModelOptions } from "./gpt.ts";
export { IntentSpread } from "./intent_spread.ts";
export type { Distillation, SoftTargets } from "./distillation.ts";
export {
  emptySums,
  type LossGradient,
  type LossSums,
  type Objective,
  type Weighed,
} from "./head.ts";
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
  type MomentKind,
  MOMENTS,
  type OptimizerName,
  OPTIMIZERS,
  type UpdateOptions,
} from "./optimizer.ts";
export { parameterCount, type ParameterSpecification, parameterTable } from "./parameter_table.ts";
export type { ArrayKind } from "./parameters.ts";
export type { Batch, DropoutSeed } from "./pass.ts";
