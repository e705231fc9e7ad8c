// A linear layer: y = x W + b.

import {
  addColumnSums,
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  type LinearOptions,
  type Runtime,
  type Tensor,
} from "../kernels/mod.ts";
import type { Parameters } from "./parameters.ts";

/** `name` is the tensors' common prefix, such as "transformer.h.0.attn.c_attn". */
export class Linear {
  readonly #runtime: Runtime;

  constructor(readonly parameters: Parameters, readonly name: string) {
    this.#runtime = parameters.runtime;
  }

  /** y [N, out] = x [N, in] W + b */
  forward(y: Tensor, x: Tensor, options?: LinearOptions): void {
    const { parameters, name } = this;
    const bias = parameters.plain(`${name}.bias`);
    linearForward(this.#runtime, y, x, parameters.weight(`${name}.weight`), bias, options);
  }

  /** dx [N, in] = dy W^T;  dW += x^T dy;  db += sum of dy's rows */
  backward(dx: Tensor, dy: Tensor, x: Tensor): void {
    const { parameters, name } = this;
    linearBackwardInput(this.#runtime, dx, dy, parameters.weight(`${name}.weight`));
    linearBackwardWeight(this.#runtime, parameters.weight(`${name}.weight`, "gradient"), x, dy);
    addColumnSums(this.#runtime, parameters.plain(`${name}.bias`, "gradient"), dy);
  }
}
