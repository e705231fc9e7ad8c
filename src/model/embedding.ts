// Token and position embeddings, summed, with dropout.

import { dropout, embeddingBackward, embeddingForward, type Tensor } from "../kernels/mod.ts";
import type { Configuration } from "./configuration.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

/** Token ids and positions of a pass, in shared memory. */
export interface EmbeddingInput {
  readonly tokens: Tensor; // [N]
  readonly positions: Tensor; // [N]
}

export class Embedding {
  constructor(readonly parameters: Parameters, readonly configuration: Configuration) {}

  /** y [N, C] = dropout(wte[tokens] + wpe[positions]) */
  forward(pass: Pass, { tokens, positions }: EmbeddingInput): Tensor {
    const y = pass.allocate(this.configuration.n_embd);
    const tokenTable = this.parameters.weight("transformer.wte.weight");
    const positionTable = this.parameters.plain("transformer.wpe.weight");
    embeddingForward(pass.runtime, y, tokens, positions, tokenTable, positionTable);
    this.#addNoise(pass, y);
    const stream = pass.dropout(this.configuration.embd_pdrop, "embedding");
    if (stream.p > 0) dropout(pass.runtime, y, y, stream);
    return y;
  }

  /** Uniform noise in [-a, a], a = embeddingNoise / sqrt(T C) for a sequence of T tokens. */
  #addNoise(pass: Pass, y: Tensor): void {
    const strength = pass.dropoutSeed?.embeddingNoise ?? 0;
    if (strength === 0) return;
    const C = this.configuration.n_embd;
    const values = pass.runtime.f32(y), offsets = pass.runtime.i32(pass.offsets);
    const random = pass.random("embedding-noise");
    for (let b = 0; b + 1 < offsets.length; b++) {
      const start = offsets[b]! * C, end = offsets[b + 1]! * C;
      const a = strength / Math.sqrt(end - start);
      for (let i = start; i < end; i++) values[i]! += (2 * random() - 1) * a;
    }
  }

  /** Adds d [N, C], which dropout changes in place, to both tables' gradients */
  backward(pass: Pass, d: Tensor, { tokens, positions }: EmbeddingInput): void {
    if (!this.parameters.has("gradient")) return;
    const stream = pass.dropout(this.configuration.embd_pdrop, "embedding");
    if (stream.p > 0) dropout(pass.runtime, d, d, stream);
    const tokenTable = this.parameters.weight("transformer.wte.weight", "gradient");
    const positionTable = this.parameters.plain("transformer.wpe.weight", "gradient");
    embeddingBackward(pass.runtime, d, tokens, positions, tokenTable, positionTable);
  }
}
