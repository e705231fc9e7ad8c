// What all normalisations have in common.

import type { Tensor } from "../kernels/mod.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

/** What a normalisation keeps for backward. */
export interface NormSaved {
  readonly y: Tensor; // [N, C]
  /** One over what x was divided by: of each row [N], or of each channel [C]. */
  readonly rstd: Tensor;
}

/** A layer that brings activations to one scale; `name` is its tensors' common prefix. */
export interface Norm {
  readonly name: string;
  forward(pass: Pass, x: Tensor): NormSaved;
  /** dx [N, C] += the gradient through the normalisation of dy [N, C] */
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor, saved: NormSaved): void;
}

/** Where a vector's gradient is added up; scratch memory in a model that stays as it is. */
export function gradientOf(pass: Pass, parameters: Parameters, name: string): Tensor {
  return parameters.has("gradient")
    ? parameters.plain(name, "gradient")
    : pass.runtime.arena.zeros(parameters.plain(name).shape);
}
