// The flags that make training need less memory, which train and info share.

import { UserError } from "../errors.ts";
import { MOMENT_FORMATS, type MomentFormat, type OptimizerName } from "../model/mod.ts";
import type { OptionTable } from "./options.ts";

export const MEMORY_OPTIONS = {
  precision: {
    type: "string",
    placeholder: "NAME",
    choices: ["f32", "bf16"],
    help:
      "bf16: products read the matrices rounded to bf16, and what is kept for backward takes half " +
      "the memory; no faster on a CPU",
  },
  moments: {
    type: "string",
    placeholder: "NAME",
    choices: MOMENT_FORMATS,
    help:
      "number format of AdamW's two moments: bf16 takes half their memory, int8 a quarter; no faster",
  },
  recompute: {
    type: "string",
    placeholder: "ON",
    choices: ["on", "off"],
    help: "keep only each layer's input for backward and compute the rest again: the same bytes, " +
      "less memory, more time",
  },
} as const satisfies OptionTable;

/** @throws UserError when the optimiser's rules do not know the moments' format */
export function checkMoments(
  { optimizer, moments }: { readonly optimizer: OptimizerName; readonly moments: MomentFormat },
): void {
  if (moments === "f32" || optimizer === "adamw") return;
  throw new UserError(
    `--moments ${moments} is for --optimizer adamw; with ${optimizer} leave --moments out`,
  );
}
