// One decoder layer: pre-norm attention and pre-norm MLP, each on a residual branch.

import { gatherRows, residualDropout, scatterRows, type Tensor } from "../kernels/mod.ts";
import { Attention, type AttentionSaved, type CacheStep, type LayerCache } from "./attention.ts";
import { BatchNorm } from "./batchnorm.ts";
import type { Configuration } from "./configuration.ts";
import { Mlp, type MlpSaved } from "./mlp.ts";
import type { Norm, NormSaved } from "./norm.ts";
import { createNorm } from "./normalization.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass, Rows } from "./pass.ts";

/** What backward reads of a forward pass. */
export interface BlockSaved {
  readonly x: Tensor; // [N, C] the layer's input
  readonly norm1: NormSaved;
  readonly attention: AttentionSaved;
  /** [N, C] between the two branches; [R, C] where only R rows of the layer are read. */
  readonly middle: Tensor;
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
   * y [N, C] is written; rows that nothing reads stay at middle.
   */
  forward(pass: Pass, y: Tensor, x: Tensor): BlockSaved {
    const read = this.#readOf(pass), { n_embd: C } = this.configuration;
    const front = this.#front(pass, read === null ? pass.allocate(C) : y, x, read);
    const mlp = this.#mlp.forward(read?.pass ?? pass, front.norm2.y);
    if (read === null) this.#addBranch(pass, y, front.middle, mlp.y, "mlp-out");
    else {
      pass.runtime.arena.scope(() => {
        const rows = read.pass.allocate(C);
        this.#addBranch(read.pass, rows, front.middle, mlp.y, "mlp-out");
        scatterRows(pass.runtime, y, rows, read.indices);
      });
    }
    return { ...front, mlp: mlp.saved };
  }

  /** What forward saved, from the same x: all of it but y, which backward does not read. */
  recall(pass: Pass, x: Tensor): BlockSaved {
    const read = this.#readOf(pass);
    const front = this.#front(pass, pass.allocate(this.configuration.n_embd), x, read);
    return { ...front, mlp: this.#mlp.activate(read?.pass ?? pass, front.norm2.y) };
  }

  /** forward up to the MLP: `all` [N, C] is written, of which `middle` is the rows that are read. */
  #front(pass: Pass, all: Tensor, x: Tensor, read: Rows | null): Omit<BlockSaved, "mlp"> {
    const norm1 = this.#norm1.forward(pass, x);
    const attention = this.#attention.forward(pass, norm1.y);
    this.#addBranch(pass, all, x, attention.y, "attention-out");
    const middle = read === null ? all : this.#gather(all, read);
    const norm2 = this.#norm2.forward(read?.pass ?? pass, middle);
    return { x, norm1, attention: attention.saved, middle, norm2 };
  }

  /**
   * Of the last layer, the rows that the loss reads: the MLP, which mixes no rows, need not see the others. A batch's
   * statistics are those of all rows.
   */
  #readOf(pass: Pass): Rows | null {
    const isLast = this.layer === this.configuration.n_layer - 1;
    return isLast && !(this.#norm2 instanceof BatchNorm) ? pass.read : null;
  }

  #gather(from: Tensor, { pass, indices }: Rows): Tensor {
    const rows = pass.allocate(this.configuration.n_embd);
    gatherRows(pass.runtime, rows, from, indices);
    return rows;
  }

  /**
   * d [N, C] holds dy on entry, 0 in rows that nothing reads, and dx on return: the residual passes it on, each branch
   * adds to it
   */
  backward(pass: Pass, d: Tensor, saved: BlockSaved): void {
    const { runtime } = pass, read = this.#readOf(pass);
    runtime.arena.scope(() => {
      if (read === null) this.#mlpBackward(pass, d, saved);
      else {
        const rows = this.#gather(d, read);
        this.#mlpBackward(read.pass, rows, saved);
        scatterRows(runtime, d, rows, read.indices);
      }
      const dnorm = pass.allocate(this.configuration.n_embd);
      this.#attention.backward(pass, dnorm, d, saved.norm1.y, saved.attention);
      this.#norm1.backward(pass, d, dnorm, saved.x, saved.norm1);
    });
  }

  /** backward through the MLP's branch: d [rows, C] holds dy on entry and d middle on return */
  #mlpBackward(pass: Pass, d: Tensor, saved: BlockSaved): void {
    pass.runtime.arena.scope(() => {
      const dnorm = pass.allocate(this.configuration.n_embd);
      this.#mlp.backward(pass, dnorm, d, saved.norm2.y, saved.mlp);
      this.#norm2.backward(pass, d, dnorm, saved.middle, saved.norm2);
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
