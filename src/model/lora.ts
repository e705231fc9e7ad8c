// Low-rank adapters (Hu et al. 2021, "LoRA"): y += scale * dropout(x) A B beside a linear layer whose own weight
// stays as it is. A [in, r] and B [r, out] alone have gradients and moments.

import {
  dropout,
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  type MomentFormat,
  type Runtime,
  type Tensor,
} from "../kernels/mod.ts";
import { type Configuration, innerWidth } from "./configuration.ts";
import type { OptimizerName } from "./optimizer.ts";
import type { ParameterSpecification } from "./parameter_table.ts";
import { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

/** Hugging Face's names of the layers that can have an adapter. */
export const LORA_TARGETS = ["c_attn", "c_proj", "c_fc"] as const;
export type LoraTarget = typeof LORA_TARGETS[number];

export interface LoraOptions {
  readonly rank: number;
  /** The adapters' product is scaled by alpha / rank. */
  readonly alpha: number;
  readonly targets: readonly LoraTarget[];
  /** Of the adapters' input. */
  readonly dropout: number;
}

/** A layer with an adapter: its weight's name without ".weight", and its sizes. */
interface Adapted {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
}

/** The linear layers that the targets name, in the model's order. */
export function adaptedLayers(c: Configuration, targets: readonly LoraTarget[]): Adapted[] {
  const C = c.n_embd, F = innerWidth(c);
  return Array.from({ length: c.n_layer }, (_, layer) => [
    { name: `transformer.h.${layer}.attn.c_attn`, inputs: C, outputs: 3 * C },
    { name: `transformer.h.${layer}.attn.c_proj`, inputs: C, outputs: C },
    { name: `transformer.h.${layer}.mlp.c_fc`, inputs: C, outputs: F },
    { name: `transformer.h.${layer}.mlp.c_proj`, inputs: F, outputs: C },
  ]).flat().filter(({ name }) => targets.some((target) => name.endsWith(`.${target}`)));
}

/** The adapters' tensors: A uniform in size as PEFT begins it, B zero, so that nothing changes at first. */
export function adapterTable(c: Configuration, lora: LoraOptions): ParameterSpecification[] {
  return adaptedLayers(c, lora.targets).flatMap(({ name, inputs, outputs }) => [
    {
      name: `${name}.lora_A`,
      shape: [inputs, lora.rank],
      initial: { deviation: 1 / Math.sqrt(3 * inputs) },
      decays: true,
      layout: "panels",
    } as const,
    {
      name: `${name}.lora_B`,
      shape: [lora.rank, outputs],
      initial: 0,
      decays: true,
      layout: "panels",
    } as const,
  ]);
}

/** All adapters of a model, and their tensors. */
export class Adapters {
  readonly parameters: Parameters;
  readonly #names: ReadonlySet<string>;

  constructor(
    runtime: Runtime,
    configuration: Configuration,
    readonly options: LoraOptions,
    state: {
      readonly average?: boolean;
      readonly moments?: MomentFormat;
      readonly optimizer?: OptimizerName;
      readonly rounded?: boolean;
    },
  ) {
    const table = adapterTable(configuration, options);
    this.parameters = new Parameters(runtime, table, { training: true, ...state });
    this.#names = new Set(adaptedLayers(configuration, options.targets).map(({ name }) => name));
  }

  get scale(): number {
    return this.options.alpha / this.options.rank;
  }

  /** The adapter of a layer, or null. */
  of(name: string): Adapter | null {
    return this.#names.has(name) ? new Adapter(this, name) : null;
  }

  /** Adds a tensor's adapter to its values, where it has one. */
  merge(tensor: string, weight: Float32Array): void {
    const name = tensor.replace(/\.weight$/, "");
    if (!this.#names.has(name)) return;
    const [a, b] = (["lora_A", "lora_B"] as const)
      .map((part) => this.parameters.read(`${name}.${part}`, "parameter"));
    addAdapter(weight, a!, b!, { rank: this.options.rank, scale: this.scale });
  }
}

/** The adapter of one linear layer. */
export class Adapter {
  readonly parameters: Parameters;

  constructor(readonly adapters: Adapters, readonly name: string) {
    this.parameters = adapters.parameters;
  }

  /** y [N, out] += scale * dropout(x [N, in]) A B */
  forward(pass: Pass, y: Tensor, x: Tensor): void {
    pass.runtime.arena.scope(() => {
      const weight = this.parameters.weight(`${this.name}.lora_B`);
      linearForward(pass.runtime, y, this.#hidden(pass, this.#input(pass, x)), weight, null, {
        add: true,
      });
    });
  }

  /** dx [N, in] += dropout's gradient of scale * dy B^T A^T; the gradients of A and B are added to */
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor): void {
    const { parameters, name } = this, { runtime } = pass;
    runtime.arena.scope(() => {
      const input = this.#input(pass, x);
      const hidden = this.#hidden(pass, input);
      linearBackwardWeight(runtime, parameters.weight(`${name}.lora_B`, "gradient"), hidden, dy);
      const dhidden = runtime.arena.allocate(hidden.shape);
      linearBackwardInput(runtime, dhidden, dy, parameters.weight(`${name}.lora_B`));
      this.#rescale(pass, dhidden);
      linearBackwardWeight(
        runtime,
        parameters.weight(`${name}.lora_A`, "gradient"),
        input,
        dhidden,
      );
      const weight = parameters.weight(`${name}.lora_A`);
      const stream = this.#stream(pass);
      if (stream.p === 0) return linearBackwardInput(runtime, dx, dhidden, weight, true);
      const dinput = runtime.arena.allocate(dx.shape);
      linearBackwardInput(runtime, dinput, dhidden, weight);
      dropout(runtime, dinput, dinput, stream);
      const total = runtime.f32(dx), part = runtime.f32(dinput);
      for (let i = 0; i < total.length; i++) total[i]! += part[i]!;
    });
  }

  /** scale * x A [N, r] */
  #hidden(pass: Pass, x: Tensor): Tensor {
    const hidden = pass.runtime.arena.allocate([x.shape[0]!, this.adapters.options.rank]);
    const weight = this.parameters.weight(`${this.name}.lora_A`);
    linearForward(pass.runtime, hidden, x, weight, null);
    this.#rescale(pass, hidden);
    return hidden;
  }

  #rescale(pass: Pass, x: Tensor): void {
    const values = pass.runtime.f32(x);
    for (let i = 0; i < values.length; i++) values[i]! *= this.adapters.scale;
  }

  #input(pass: Pass, x: Tensor): Tensor {
    const stream = this.#stream(pass);
    if (stream.p === 0) return x;
    const dropped = pass.runtime.arena.allocate(x.shape);
    dropout(pass.runtime, dropped, x, stream);
    return dropped;
  }

  #stream(pass: Pass) {
    return pass.dropout(this.adapters.options.dropout, `lora ${this.name}`);
  }
}

/** weight [in, out] += scale * A B, all row-major. */
export function addAdapter(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  { rank, scale }: { readonly rank: number; readonly scale: number },
): void {
  const inputs = a.length / rank, outputs = b.length / rank;
  for (let i = 0; i < inputs; i++) {
    const row = weight.subarray(i * outputs, (i + 1) * outputs);
    for (let r = 0; r < rank; r++) {
      const factor = scale * a[i * rank + r]!, from = r * outputs;
      for (let o = 0; o < outputs; o++) row[o]! += factor * b[from + o]!;
    }
  }
}
