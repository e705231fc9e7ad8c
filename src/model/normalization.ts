// The normalisation that a configuration asks for.

import { BatchNorm } from "./batchnorm.ts";
import type { Configuration } from "./configuration.ts";
import { LayerNorm } from "./layernorm.ts";
import type { Norm } from "./norm.ts";
import type { Parameters } from "./parameters.ts";
import { RmsNorm } from "./rmsnorm.ts";

const NORMS = { layernorm: LayerNorm, rmsnorm: RmsNorm, batchnorm: BatchNorm };

/** The normalisation whose tensors' names begin with `name`. */
export function createNorm(
  parameters: Parameters,
  { normalization = "layernorm", layer_norm_epsilon }: Configuration,
  name: string,
): Norm {
  return new NORMS[normalization](parameters, name, layer_norm_epsilon);
}
