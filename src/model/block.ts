// One decoder layer: pre-norm attention and pre-norm MLP, each on a residual branch.

import { residualDropout, type Tensor } from "../kernels/mod.ts";
import { Attention, type AttentionSaved, type CacheStep, type LayerCache } from "./attention.ts";
import type { Configuration } from "./configuration.ts";
import { Mlp, type MlpSaved } from "./mlp.ts";
import type { Norm, NormSaved } from "./norm.ts";
import { createNorm } from "./normalization.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

/** What backward reads of a forward pass. */
export interface BlockSaved {
  readonly x: Tensor; // [N, C] the layer's input
  readonly norm1: NormSaved;
  readonly attention: AttentionSaved;
  readonly middle: Tensor; // [N, C] between the two branches
  readonly norm2: NormSaved;
  readonly mlp: MlpSaved;
}

export class Block {
  readonly norms: readonly Norm[];
  readonly #norm1: Norm;
  readonly #attention: Attention;
  readonly #norm2: Norm;
  readonly #mlp: Mlp;

  constructor(
    parameters: Parameters,
    readonly configuration: Configuration,
    readonly layer: number,
  ) {
    this.#norm1 = createNorm(parameters, configuration, `transformer.h.${layer}.ln_1`);
    this.#attention = new Attention(parameters, configuration, layer);
    this.#norm2 = createNorm(parameters, configuration, `transformer.h.${layer}.ln_2`);
    this.#mlp = new Mlp(parameters, configuration, layer);
    this.norms = [this.#norm1, this.#norm2];
  }

  /**
   * middle = x + dropout(attention(norm1(x)));  y = middle + dropout(mlp(norm2(middle)))
   * y [N, C] is written.
   */
  forward(pass: Pass, y: Tensor, x: Tensor): BlockSaved {
    const front = this.#front(pass, x);
    const mlp = this.#mlp.forward(pass, front.norm2.y);
    this.#addBranch(pass, y, front.middle, mlp.y, "mlp-out");
    return { ...front, mlp: mlp.saved };
  }

  /** What forward saved, from the same x: all of it but y, which backward does not read. */
  recall(pass: Pass, x: Tensor): BlockSaved {
    const front = this.#front(pass, x);
    return { ...front, mlp: this.#mlp.activate(pass, front.norm2.y) };
  }

  /** forward up to the MLP */
  #front(pass: Pass, x: Tensor): Omit<BlockSaved, "mlp"> {
    const norm1 = this.#norm1.forward(pass, x);
    const attention = this.#attention.forward(pass, norm1.y);
    const middle = pass.allocate(this.configuration.n_embd);
    this.#addBranch(pass, middle, x, attention.y, "attention-out");
    const norm2 = this.#norm2.forward(pass, middle);
    return { x, norm1, attention: attention.saved, middle, norm2 };
  }

  /** d [N, C] holds dy on entry and dx on return: the residual passes it on, each branch adds to it */
  backward(pass: Pass, d: Tensor, saved: BlockSaved): void {
    pass.runtime.arena.scope(() => {
      const dnorm = pass.allocate(this.configuration.n_embd);
      this.#mlp.backward(pass, dnorm, d, saved.norm2.y, saved.mlp);
      this.#norm2.backward(pass, d, dnorm, saved.middle, saved.norm2);
      this.#attention.backward(pass, dnorm, d, saved.norm1.y, saved.attention);
      this.#norm1.backward(pass, d, dnorm, saved.x, saved.norm1);
    });
  }

  /** y [n, C] for a step's new tokens. */
  decode(pass: Pass, x: Tensor, cache: LayerCache, step: CacheStep): Tensor {
    const middle = pass.allocate(this.configuration.n_embd);
    const attended = this.#attention.decode(pass, this.#norm1.forward(pass, x).y, cache, step);
    this.#addBranch(pass, middle, x, attended, "attention-out");
    const y = pass.allocate(this.configuration.n_embd);
    const mlp = this.#mlp.forward(pass, this.#norm2.forward(pass, middle).y, step);
    this.#addBranch(pass, y, middle, mlp.y, "mlp-out");
    return y;
  }

  #addBranch(pass: Pass, y: Tensor, residual: Tensor, branch: Tensor, place: string): void {
    const stream = pass.dropout(this.configuration.resid_pdrop, place, this.layer);
    residualDropout(pass.runtime, y, residual, branch, stream);
  }
}
