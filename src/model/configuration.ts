// The model's configuration under Hugging Face's GPT-2 names, its presets and its limits.

import { UserError } from "../errors.ts";

/**
 * Layer normalisation (Ba et al. 2016), root-mean-square normalisation (Zhang and Sennrich 2019), or batch
 * normalisation with the statistics of earlier steps (Ioffe and Szegedy 2015, Ioffe 2017).
 */
export const NORMALIZATIONS = ["layernorm", "rmsnorm", "batchnorm"] as const;
export type Normalization = typeof NORMALIZATIONS[number];

export interface Configuration {
  vocab_size: number;
  /** Longest sequence. */
  n_positions: number;
  /** Channels. */
  n_embd: number;
  n_layer: number;
  n_head: number;
  /** Width of the MLP; null means 4 * n_embd. */
  n_inner: number | null;
  /** "gelu" is exact, "gelu_new" GPT-2's tanh form. */
  activation_function: "gelu" | "gelu_new";
  resid_pdrop: number;
  embd_pdrop: number;
  attn_pdrop: number;
  layer_norm_epsilon: number;
  /** Absent: "layernorm", the only one that GPT-2 knows. */
  normalization?: Normalization;
}

/** GPT-2's 50,257 tokens and three of ours. */
const VOCABULARY = 50260;

/** Longest context that attention is computed for. */
export const MOST_POSITIONS = 4096;

function preset(n_layer: number, n_embd: number, n_head: number): Configuration {
  return {
    vocab_size: VOCABULARY,
    n_positions: 1024,
    n_embd,
    n_layer,
    n_head,
    n_inner: null,
    activation_function: "gelu",
    resid_pdrop: 0.1,
    embd_pdrop: 0.1,
    attn_pdrop: 0.1,
    layer_norm_epsilon: 1e-5,
  };
}

/** Ready sizes: a small corpus wants a small model. */
export const presets = {
  "355m": preset(24, 1024, 16),
  "124m": preset(12, 768, 12),
  mini: preset(6, 384, 6),
  micro: preset(4, 256, 4),
  tiny: preset(2, 256, 4),
  nano: preset(2, 64, 2),
} as const;

export type Preset = keyof typeof presets;

/** Width of the MLP. */
export function innerWidth(c: Configuration): number {
  return c.n_inner ?? 4 * c.n_embd;
}

/**
 * Refuses a configuration that the kernels cannot compute.
 * @throws UserError naming the field, its limit and its value
 */
export function validateConfiguration(c: Configuration): void {
  const whole = (
    name: "vocab_size" | "n_positions" | "n_embd" | "n_layer" | "n_head",
    most: number,
  ) => {
    const value = c[name];
    if (Number.isInteger(value) && value >= 1 && value <= most) return;
    throw new UserError(
      `configuration: ${name} must be a whole number from 1 to ${most}, got ${value}`,
    );
  };
  whole("vocab_size", 1_000_000);
  whole("n_positions", MOST_POSITIONS);
  whole("n_embd", 8192);
  whole("n_layer", 256);
  whole("n_head", 256);
  const multiple = (name: string, value: number, factor: number) => {
    if (value % factor === 0) return;
    throw new UserError(`configuration: ${name} must be a multiple of ${factor}, got ${value}`);
  };
  multiple("n_embd", c.n_embd, 4);
  multiple("n_embd", c.n_embd, c.n_head);
  multiple("n_inner", innerWidth(c), 4);
  for (const name of ["resid_pdrop", "embd_pdrop", "attn_pdrop"] as const) {
    if (c[name] >= 0 && c[name] < 1) continue;
    throw new UserError(`configuration: ${name} must be from 0 to below 1, got ${c[name]}`);
  }
  if (c.activation_function !== "gelu" && c.activation_function !== "gelu_new") {
    throw new UserError(
      `configuration: activation_function must be gelu or gelu_new, got ${c.activation_function}`,
    );
  }
  if (!NORMALIZATIONS.includes(c.normalization ?? "layernorm")) {
    throw new UserError(
      `configuration: normalization must be one of ${
        NORMALIZATIONS.join(", ")
      }, got ${c.normalization}`,
    );
  }
}
