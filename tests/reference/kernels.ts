// All references in one import: f64 kernels, comparisons, seeded data, finite differences.

export * from "./compare.ts";
export * from "./layers.ts";
export * from "./training.ts";
export * from "./distillation.ts";
