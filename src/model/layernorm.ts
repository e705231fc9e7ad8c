// Layer normalisation with its gain and shift.

import {
  layerNormBackward,
  layerNormForward,
  type LayerNormSaved,
  type Tensor,
} from "../kernels/mod.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

export interface NormSaved extends LayerNormSaved {
  readonly y: Tensor; // [N, C]
}

export class LayerNorm {
  constructor(
    readonly parameters: Parameters,
    readonly name: string,
    readonly epsilon: number,
  ) {}

  /** y [N, C] = (x - mean) / sqrt(variance + epsilon) * weight + bias */
  forward(pass: Pass, x: Tensor): NormSaved {
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
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor, saved: NormSaved): void {
    const weight = this.parameters.plain(`${this.name}.weight`);
    pass.runtime.arena.scope(() => {
      const [dweight, dbias] = ["weight", "bias"].map((part) =>
        this.parameters.has("gradient")
          ? this.parameters.plain(`${this.name}.${part}`, "gradient")
          : pass.runtime.arena.zeros(weight.shape) // nobody asks for it
      );
      layerNormBackward(pass.runtime, dx, dweight!, dbias!, dy, x, weight, saved);
    });
  }
}
