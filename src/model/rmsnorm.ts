// Root-mean-square normalisation with its gain (Zhang and Sennrich 2019): no mean, no shift.

import { rmsNormBackward, rmsNormForward, type Tensor } from "../kernels/mod.ts";
import { gradientOf, type Norm, type NormSaved } from "./norm.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

export class RmsNorm implements Norm {
  constructor(
    readonly parameters: Parameters,
    readonly name: string,
    readonly epsilon: number,
  ) {}

  /** y [N, C] = x / sqrt(mean(x^2) + epsilon) * weight */
  forward(pass: Pass, x: Tensor): NormSaved {
    const { arena } = pass.runtime;
    const saved = { y: arena.allocate(x.shape), rstd: arena.allocate([x.shape[0]!]) };
    const weight = this.parameters.plain(`${this.name}.weight`);
    rmsNormForward(pass.runtime, saved.y, saved.rstd, x, weight, this.epsilon);
    return saved;
  }

  /** dx [N, C] += the gradient through the normalisation of dy [N, C] */
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor, { rstd }: NormSaved): void {
    const weight = this.parameters.plain(`${this.name}.weight`);
    pass.runtime.arena.scope(() => {
      const dweight = gradientOf(pass, this.parameters, `${this.name}.weight`);
      rmsNormBackward(pass.runtime, dx, dweight, dy, x, weight, rstd);
    });
  }
}
