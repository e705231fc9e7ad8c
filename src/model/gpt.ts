// The GPT-2 decoder: embeddings, layers, final norm, tied head; forward, backward and the optimiser's step.

import {
  average,
  gatherRows,
  type MomentFormat,
  type Precision,
  type Runtime,
  sumOfSquares,
  type Tensor,
} from "../kernels/mod.ts";
import type { CacheStep, LayerCache } from "./attention.ts";
import { BatchNorm } from "./batchnorm.ts";
import { Block } from "./block.ts";
import { type CacheSize, KeyValueCache } from "./cache.ts";
import { type Configuration, validateConfiguration } from "./configuration.ts";
import { Embedding, type EmbeddingInput } from "./embedding.ts";
import { Head, HEAD_ROWS, type LossGradient, type LossSums, type Objective } from "./head.ts";
import { type Backward, Keeper } from "./keeper.ts";
import { Adapters, type LoraOptions } from "./lora.ts";
import type { Norm, NormSaved } from "./norm.ts";
import { createNorm } from "./normalization.ts";
import { type OptimizerName, type UpdateOptions, updateRun } from "./optimizer.ts";
import { parameterTable } from "./parameter_table.ts";
import { type ArrayKind, Parameters } from "./parameters.ts";
import { type Batch, type DropoutSeed, Pass, targetRows } from "./pass.ts";

/** What a model is made for. */
export interface ModelOptions {
  readonly training: boolean;
  /**
   * For generation the format of the matrices. In training f32 or bf16, mixed precision: the matrices stay f32 for the
   * optimiser, products read them rounded to bf16, and what is kept for backward is kept in bf16.
   */
  readonly precision?: Precision;
  /** AdamW if absent. */
  readonly optimizer?: OptimizerName;
  /** Format of the optimiser's moments; f32 if absent, the others for AdamW only. */
  readonly moments?: MomentFormat;
  /** In training keeps only each layer's input (Chen et al. 2016), and computes the rest again in backward. */
  readonly recompute?: boolean;
  /** Keeps an average of the parameters that learn; see updateAverage. */
  readonly average?: boolean;
  /** In training: adapters learn, the parameters stay as they are. */
  readonly lora?: LoraOptions;
}

interface Activations {
  readonly input: EmbeddingInput;
  /** Of the layers, in their order; null for one that was left out. */
  readonly backward: readonly (Backward | null)[];
  /** [N, C] the final norm's input. */
  readonly x: Tensor;
  readonly norm: NormSaved;
}

/** For a pass that nothing goes back through. */
const NOTHING_KEPT = new Keeper({ precision: "f32", recompute: true });

/** A model in a runtime's memory. Its arrays stay allocated until the arena is released below them. */
export class GPT {
  readonly parameters: Parameters;
  /** What training changes: the parameters, or the adapters beside them. */
  readonly learned: Parameters;
  readonly blocks: readonly Block[];
  readonly #embedding: Embedding;
  readonly #norm: Norm;
  readonly #optimizer: OptimizerName;
  readonly #head: Head;
  readonly #keeper: Keeper;

  /** @throws UserError when the configuration is invalid or does not fit into memory */
  constructor(
    readonly runtime: Runtime,
    readonly configuration: Configuration,
    options: ModelOptions,
  ) {
    validateConfiguration(configuration);
    const { training, precision, average, lora } = options;
    const { optimizer = "adamw", moments, recompute = false } = options;
    const rounded = training && precision === "bf16";
    const adapters = lora === undefined
      ? null
      : new Adapters(runtime, configuration, lora, { average, moments, optimizer, rounded });
    const learns = training && adapters === null;
    const parameters = new Parameters(runtime, parameterTable(configuration), {
      training: learns,
      precision: rounded ? "f32" : precision,
      rounded,
      moments: learns ? moments : undefined,
      average: learns && average,
      optimizer,
    }, adapters);
    this.#keeper = new Keeper({ precision: rounded ? "bf16" : "f32", recompute });
    this.parameters = parameters;
    this.learned = adapters?.parameters ?? parameters;
    this.#embedding = new Embedding(parameters, configuration);
    this.blocks = Array.from(
      { length: configuration.n_layer },
      (_, layer) => new Block(parameters, configuration, layer),
    );
    this.#norm = createNorm(parameters, configuration, "transformer.ln_f");
    this.#optimizer = optimizer;
    this.#head = new Head(parameters, configuration);
  }

  /**
   * Normal numbers, biases 0, norms 1 and 0; adapters as PEFT begins them.
   * @param valueIdentity if not 0, attention's values and their projection are so many times the identity, and the MLPs'
   * projections 0: a token receives the mean of the words before it, undisturbed (after Trockman and Kolter 2023)
   */
  initialize(seed: number, valueIdentity = 0): void {
    this.parameters.initialize(seed);
    this.parameters.adapters?.parameters.initialize(seed);
    if (valueIdentity === 0) return;
    const { n_embd: C, n_layer } = this.configuration;
    for (let layer = 0; layer < n_layer; layer++) {
      // c_attn [C, 3 C] holds queries, keys and values side by side.
      for (const [part, width, from] of [["c_attn", 3 * C, 2 * C], ["c_proj", C, 0]] as const) {
        const name = `transformer.h.${layer}.attn.${part}.weight`;
        const values = this.parameters.read(name, "parameter");
        for (let i = 0; i < C; i++) {
          values.fill(0, i * width + from, (i + 1) * width);
          values[i * width + from + i] = valueIdentity;
        }
        this.parameters.write(name, "parameter", values);
      }
      const name = `transformer.h.${layer}.mlp.c_proj.weight`;
      this.parameters.write(name, "parameter", this.parameters.read(name, "parameter").fill(0));
    }
  }

  /** A copy of a tensor in Hugging Face's layout, its adapter added. */
  readParameter(name: string, kind: ArrayKind = "parameter"): Float32Array {
    const values = this.parameters.read(name, kind);
    if (kind === "parameter") this.parameters.adapters?.merge(name, values);
    return values;
  }

  /** Sets a tensor from Hugging Face's layout. */
  writeParameter(name: string, kind: ArrayKind, values: Float32Array): void {
    this.parameters.write(name, kind, values);
  }

  /** Loss without dropout or smoothing. */
  evaluate(batch: Batch): LossSums {
    return this.runtime.arena.scope(() => {
      const pass = this.#begin(batch, null, targetRows(batch));
      const { norm } = this.#forward(pass, batch);
      return this.#head.loss(pass, norm.y, batch, null);
    });
  }

  /** Logits [N, V] of every token, for comparisons; a batch's logits are large. */
  logits(batch: Batch): Float32Array {
    return this.runtime.arena.scope(() => {
      const pass = this.#begin(batch, null, null);
      const logits = this.#head.logits(pass, this.#forward(pass, batch).norm.y);
      const V = this.configuration.vocab_size, stride = logits.shape[1]!;
      const values = this.runtime.f32(logits);
      const copy = new Float32Array(pass.tokens * V);
      for (let n = 0; n < pass.tokens; n++) {
        copy.set(values.subarray(n * stride, n * stride + V), n * V);
      }
      return copy;
    });
  }

  /**
   * Gives the logits [rows, V padded to 16] behind the tokens `rows` of a batch to `use`, a chunk at a time, with the
   * number of its first row. They are gone afterwards.
   */
  predict(batch: Batch, rows: Int32Array, use: (logits: Tensor, first: number) => void): void {
    const { arena } = this.runtime;
    arena.scope(() => {
      const pass = this.#begin(batch, null, rows);
      const { y } = this.#forward(pass, batch).norm;
      for (let first = 0; first < rows.length; first += HEAD_ROWS) {
        arena.scope(() => {
          const chunk = rows.subarray(first, first + HEAD_ROWS);
          const chosen = arena.allocate([chunk.length, this.configuration.n_embd]);
          gatherRows(this.runtime, chosen, y, this.runtime.integers(chunk));
          use(this.#head.logits(pass, chosen), first);
        });
      }
    });
  }

  /** log p of every target [N] without dropout; 0 where a row has none. */
  logProbabilities(batch: Batch): Float32Array {
    return this.runtime.arena.scope(() => {
      const pass = this.#begin(batch, null, targetRows(batch));
      return this.#head.logProbabilities(pass, this.#forward(pass, batch).norm.y, batch);
    });
  }

  /**
   * Forward with dropout, and backward: adds d(sum of losses / normalizer) to the gradients. With an objective, its
   * loss takes the place of the weighted cross-entropy, in the sums too, whose weight is then its terms.
   */
  accumulate(
    batch: Batch,
    options: LossGradient & DropoutSeed & { readonly objective?: Objective },
  ): LossSums {
    const { arena } = this.runtime;
    return arena.scope(() => {
      const pass = this.#begin(batch, options, targetRows(batch));
      const { input, backward, x, norm } = this.#forward(pass, batch, this.#keeper);
      const C = this.configuration.n_embd;
      const dnorm = arena.zeros([pass.tokens, C]), d = arena.zeros([pass.tokens, C]);
      const weighed = options.objective?.(this.#head.logProbabilities(pass, norm.y, batch));
      const counted = weighed === undefined ? batch : { ...batch, weights: weighed.weights };
      const sums = this.#head.loss(pass, norm.y, counted, { dx: dnorm, gradient: options });
      this.#norm.backward(pass, d, dnorm, x, norm);
      for (const layer of backward.toReversed()) layer?.(d);
      this.#embedding.backward(pass, d, input);
      if (weighed === undefined) return sums;
      const { loss, terms } = weighed;
      return { ...sums, loss, crossEntropy: loss, weight: terms };
    });
  }

  /** Clips the gradient by its global norm, takes the optimiser's step, and zeros the gradients. */
  update(o: UpdateOptions): { gradientNorm: number } {
    const { learned: parameters, runtime } = this;
    const { learning, frozen } = parameters.runs(o.freezeLayers ?? 0);
    for (const { start, end } of frozen) {
      const pointer = parameters.array("gradient") + start * 4;
      runtime.f32({ pointer, shape: [end - start], type: "f32" }).fill(0);
    }
    const { learningLength } = parameters;
    const squares = sumOfSquares(runtime, parameters.array("gradient"), learningLength);
    const gradientNorm = Math.sqrt(squares);
    // PyTorch's clip_grad_norm_ adds the same 1e-6.
    const gradientScale = Math.min(1, o.clip / (gradientNorm + 1e-6));
    for (const run of learning) {
      updateRun(parameters, this.#optimizer, run, { ...o, gradientScale });
    }
    for (const norm of [...this.blocks.flatMap(({ norms }) => norms), this.#norm]) {
      if (norm instanceof BatchNorm) norm.update();
    }
    return { gradientNorm };
  }

  /** average = keep * average + (1 - keep) * parameters */
  updateAverage(keep: number): void {
    const { learned: parameters, runtime } = this;
    const { length } = parameters;
    average(runtime, parameters.array("average"), parameters.array("parameter"), length, keep);
  }

  /** An empty cache for generation. */
  createCache(size?: Partial<CacheSize>): KeyValueCache {
    return new KeyValueCache(this, {
      tokens: this.configuration.n_positions,
      sequences: 1,
      ...size,
    });
  }

  /**
   * Logits [B, V] behind the last token of each of the step's B sequences, valid until the next call.
   * offsets [B + 1]: where each sequence's new tokens begin; the step says where the cache keeps them.
   */
  decode(
    tokens: Int32Array,
    positions: Int32Array,
    offsets: Int32Array,
    layers: readonly LayerCache[],
    step: CacheStep,
  ): Float32Array[] {
    const { runtime } = this;
    return runtime.arena.scope(() => {
      const pass = new Pass(runtime, tokens.length, offsets, null);
      let x = this.#embedding.forward(pass, {
        tokens: runtime.integers(tokens),
        positions: runtime.integers(positions),
      });
      for (const [layer, block] of this.blocks.entries()) {
        x = block.decode(pass, x, layers[layer]!, step);
      }
      const last = runtime.arena.allocate([offsets.length - 1, this.configuration.n_embd]);
      gatherRows(runtime, last, x, runtime.integers(offsets.slice(1).map((end) => end - 1)));
      const { y } = this.#norm.forward(pass, last);
      const logits = this.#head.logits(pass, y, { step: true });
      const [B, width] = logits.shape as [number, number];
      const values = runtime.f32(logits), V = this.configuration.vocab_size;
      return Array.from({ length: B }, (_, b) => values.subarray(b * width, b * width + V));
    });
  }

  /** Of the last layer, only the rows in `read` are read, if given. */
  #begin(batch: Batch, dropoutSeed: DropoutSeed | null, read: Int32Array | null): Pass {
    return new Pass(this.runtime, batch.tokens.length, batch.offsets, dropoutSeed, read);
  }

  #forward(pass: Pass, batch: Batch, keeper = NOTHING_KEPT): Activations {
    const input = {
      tokens: this.runtime.integers(batch.tokens),
      positions: this.runtime.integers(batch.positions),
    };
    let x = this.#embedding.forward(pass, input);
    const backward = this.blocks.map((block, layer) => {
      // LayerDrop (Fan et al. 2019): a layer left out passes its input on.
      if (pass.chance("layer", layer) < pass.layerDrop) return null;
      const kept = keeper.forward(pass, block, x);
      x = kept.y;
      return kept.backward;
    });
    return { input, backward, x, norm: this.#norm.forward(pass, x) };
  }
}
