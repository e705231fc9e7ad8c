// The WebAssembly runtime and the typed kernels.

export { Arena, elementCount, type ElementType, type Tensor } from "./arena.ts";
export {
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  packWeight,
  PANEL,
  unpackWeight,
  type Weight,
  weightLength,
} from "./linear.ts";
export * from "./operations.ts";
export type { TileName } from "./probe.ts";
export { Runtime, type RuntimeOptions } from "./runtime.ts";
