// Layer normalisation with its gain and shift.

import {
  layerNormBackward,
  layerNormForward,
  type LayerNormSaved,
  type Tensor,
} from "../kernels/mod.ts";
import { gradientOf, type Norm, type NormSaved } from "./norm.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

type Saved = NormSaved & LayerNormSaved;

export class LayerNorm implements Norm {
  constructor(
    readonly parameters: Parameters,
    readonly name: string,
    readonly epsilon: number,
  ) {}

  /** y [N, C] = (x - mean) / sqrt(variance + epsilon) * weight + bias */
  forward(pass: Pass, x: Tensor): Saved {
    const { arena } = pass.runtime;
    const rows = x.shape[0]!;
    const saved = {
      y: arena.allocate(x.shape),
      mean: arena.allocate([rows]),
      rstd: arena.allocate([rows]),
    };
    const weight = this.parameters.plain(`${this.name}.weight`);
    const bias = this.parameters.plain(`${this.name}.bias`);
    layerNormForward(pass.runtime, saved.y, saved, x, weight, bias, this.epsilon);
    return saved;
  }

  /** dx [N, C] += the gradient through the normalisation of dy [N, C] */
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor, saved: Saved): void {
    const weight = this.parameters.plain(`${this.name}.weight`);
    pass.runtime.arena.scope(() => {
      const dweight = gradientOf(pass, this.parameters, `${this.name}.weight`);
      const dbias = gradientOf(pass, this.parameters, `${this.name}.bias`);
      layerNormBackward(pass.runtime, dx, dweight, dbias, dy, x, weight, saved);
    });
  }
}
