// All references in one import: f64 kernels, comparisons, seeded data, finite differences.

export * from "./compare.ts";
export * from "./layers.ts";
export * from "./norms.ts";
export * from "./optimizers.ts";
export * from "./training.ts";
export * from "./distillation.ts";
