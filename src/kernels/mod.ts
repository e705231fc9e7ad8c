// The WebAssembly runtime and the typed kernels.

export { Arena, elementCount, type ElementType, type Tensor } from "./arena.ts";
export {
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  type LinearOptions,
  packWeight,
  PANEL,
  type Precision,
  unpackWeight,
  type Weight,
  weightBytes,
  weightFrom,
  weightLength,
} from "./linear.ts";
export * from "./attention.ts";
export * from "./batchnorm.ts";
export * from "./distillation.ts";
export * from "./elementwise.ts";
export * from "./embedding.ts";
export { narrow, widen } from "./halves.ts";
export * from "./layernorm.ts";
export * from "./lion.ts";
export * from "./loss.ts";
export * from "./matmul.ts";
export * from "./moments.ts";
export * from "./muon.ts";
export * from "./optimizer.ts";
export * from "./rmsnorm.ts";
export type { TileName } from "./probe.ts";
export { Runtime, type RuntimeOptions } from "./runtime.ts";
