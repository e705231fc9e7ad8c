// A linear layer: y = x W + b, and its adapter where it has one.

import {
  addColumnSums,
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  type LinearOptions,
  type Tensor,
} from "../kernels/mod.ts";
import type { Adapter } from "./lora.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

/** `name` is the tensors' common prefix, such as "transformer.h.0.attn.c_attn". */
export class Linear {
  readonly #adapter: Adapter | null;

  constructor(readonly parameters: Parameters, readonly name: string) {
    this.#adapter = parameters.adapters?.of(name) ?? null;
  }

  /** y [N, out] = x [N, in] W + b */
  forward(pass: Pass, y: Tensor, x: Tensor, options?: LinearOptions): void {
    const bias = this.parameters.plain(`${this.name}.bias`);
    const weight = this.parameters.weight(`${this.name}.weight`);
    linearForward(pass.runtime, y, x, weight, bias, options);
    this.#adapter?.forward(pass, y, x);
  }

  /** dx [N, in] = dy W^T;  dW += x^T dy;  db += sum of dy's rows; with an adapter its gradients instead */
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor): void {
    const { runtime } = pass, { name, parameters } = this;
    linearBackwardInput(runtime, dx, dy, parameters.weight(`${name}.weight`));
    this.#adapter?.backward(pass, dx, dy, x);
    if (!parameters.has("gradient")) return;
    linearBackwardWeight(runtime, parameters.weight(`${name}.weight`, "gradient"), x, dy);
    addColumnSums(runtime, parameters.plain(`${name}.bias`, "gradient"), dy);
  }
}
