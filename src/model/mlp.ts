// The position-wise MLP: two linear layers with GELU between them.

import { geluBackward, geluForward, type LinearOptions, type Tensor } from "../kernels/mod.ts";
import { droppedGradient } from "./attention.ts";
import { type Configuration, innerWidth } from "./configuration.ts";
import { Linear } from "./linear.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

export interface MlpSaved {
  readonly hidden: Tensor; // [N, F] before GELU
  readonly active: Tensor; // [N, F] behind it
}

export class Mlp {
  readonly #up: Linear;
  readonly #down: Linear;

  constructor(
    parameters: Parameters,
    readonly configuration: Configuration,
    readonly layer: number,
  ) {
    this.#up = new Linear(parameters, `transformer.h.${layer}.mlp.c_fc`);
    this.#down = new Linear(parameters, `transformer.h.${layer}.mlp.c_proj`);
  }

  /** y [N, C] = GELU(x W1 + b1) W2 + b2, before dropout */
  forward(
    pass: Pass,
    x: Tensor,
    options?: LinearOptions,
  ): { readonly y: Tensor; readonly saved: MlpSaved } {
    const saved = this.activate(pass, x, options), y = pass.allocate(this.configuration.n_embd);
    this.#down.forward(pass, y, saved.active, options);
    return { y, saved };
  }

  /** forward without its last product: all that backward reads */
  activate(pass: Pass, x: Tensor, options?: LinearOptions): MlpSaved {
    const F = innerWidth(this.configuration);
    const saved = { hidden: pass.allocate(F), active: pass.allocate(F) };
    this.#up.forward(pass, saved.hidden, x, options);
    geluForward(pass.runtime, saved.active, saved.hidden, this.#approximate);
    return saved;
  }

  /** dx [N, C] (written) from dy [N, C] behind the residual's dropout, which is applied here */
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor, saved: MlpSaved): void {
    pass.runtime.arena.scope(() => {
      const dhidden = pass.allocate(innerWidth(this.configuration));
      const kept = droppedGradient(pass, dy, this.configuration.resid_pdrop, "mlp-out", this.layer);
      this.#down.backward(pass, dhidden, kept, saved.active);
      geluBackward(pass.runtime, dhidden, dhidden, saved.hidden, this.#approximate);
      this.#up.backward(pass, dx, dhidden, x);
    });
  }

  get #approximate(): boolean {
    return this.configuration.activation_function === "gelu_new";
  }
}
