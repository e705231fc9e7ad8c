// Low-rank adapters in the layout of Hugging Face's PEFT: adapter_config.json and adapter_model.safetensors.
// PEFT keeps A as [r, in] and B as [out, r]. Source: https://github.com/huggingface/peft

import { UserError } from "../errors.ts";
import {
  adaptedLayers,
  addAdapter,
  type Configuration,
  type GPT,
  LORA_TARGETS,
  type LoraOptions,
  type LoraTarget,
} from "../model/mod.ts";
import { writeFlushed } from "./directory.ts";
import { isFile, readJsonObject } from "./files.ts";
import { SafetensorsFile, writeSafetensors } from "./safetensors.ts";
import { transpose } from "./tensors.ts";

export const ADAPTER_CONFIG = "adapter_config.json";
const ADAPTER_MODEL = "adapter_model.safetensors";

const peftName = (name: string, part: string) => `base_model.model.${name}.${part}.weight`;

/** Whether a directory holds an adapter. */
export function isAdapter(directory: string): boolean {
  return isFile(`${directory}/${ADAPTER_CONFIG}`);
}

/** Writes a model's adapters into a directory. `base` is the model that they stand beside. */
export function writeAdapter(directory: string, model: GPT, base: string): void {
  const { adapters } = model.parameters;
  if (adapters === null) throw new Error("the model has no adapters");
  const { rank, alpha, targets, dropout } = adapters.options;
  const layers = adaptedLayers(model.configuration, targets);
  const read = (name: string) => adapters.parameters.read(name, "parameter");
  const tensors = layers.flatMap(({ name, inputs, outputs }) => [
    {
      name: peftName(name, "lora_A"),
      shape: [rank, inputs],
      values: () => transpose(read(`${name}.lora_A`), inputs, rank),
    },
    {
      name: peftName(name, "lora_B"),
      shape: [outputs, rank],
      values: () => transpose(read(`${name}.lora_B`), rank, outputs),
    },
  ]);
  writeSafetensors(`${directory}/${ADAPTER_MODEL}`, tensors);
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: dropout,
    target_modules: targets,
    fan_in_fan_out: true,
    bias: "none",
    inference_mode: true,
  };
  writeFlushed(`${directory}/${ADAPTER_CONFIG}`, JSON.stringify(config, null, 2) + "\n");
}

/** What an adapter's configuration may say that we do not do. */
const FIXED = { peft_type: "LORA", bias: "none", use_rslora: false, use_dora: false } as const;

/**
 * Reads adapter_config.json.
 * @throws UserError when it is damaged, or an adapter of another kind
 */
export function readAdapterOptions(directory: string): LoraOptions {
  const path = `${directory}/${ADAPTER_CONFIG}`;
  const config = readJsonObject(path);
  for (const [name, value] of Object.entries(FIXED)) {
    if ((config[name] ?? value) === value) continue;
    throw new UserError(`${path}: ${name} must be ${value}, is ${JSON.stringify(config[name])}`);
  }
  const { r, lora_alpha, lora_dropout = 0, target_modules } = config;
  if (!Number.isInteger(r) || !((r as number) >= 1 && (r as number) <= 1024)) {
    throw new UserError(
      `${path}: r must be a whole number from 1 to 1024, is ${JSON.stringify(r)}`,
    );
  }
  if (typeof lora_alpha !== "number" || !Number.isFinite(lora_alpha)) {
    throw new UserError(`${path}: lora_alpha must be a number, is ${JSON.stringify(lora_alpha)}`);
  }
  const targets = Array.isArray(target_modules) ? target_modules : [target_modules];
  const known = LORA_TARGETS.filter((target) => targets.includes(target));
  if (known.length === 0 || known.length < targets.length) {
    throw new UserError(
      `${path}: target_modules must be some of ${LORA_TARGETS.join(", ")}, is ${
        JSON.stringify(target_modules)
      }`,
    );
  }
  return {
    rank: r as number,
    alpha: lora_alpha,
    targets: known as LoraTarget[],
    dropout: Number(lora_dropout) || 0,
  };
}

/** An adapter's file, read a layer at a time. */
export class AdapterFile implements Disposable {
  readonly options: LoraOptions;
  readonly #file: SafetensorsFile;

  constructor(readonly directory: string) {
    this.options = readAdapterOptions(directory);
    this.#file = new SafetensorsFile(`${directory}/${ADAPTER_MODEL}`);
  }

  /** A [in, r] and B [r, out] of a layer. */
  read(name: string, inputs: number, outputs: number): { a: Float32Array; b: Float32Array } {
    const { rank } = this.options;
    const a = this.#file.read(peftName(name, "lora_A"), [rank, inputs]);
    const b = this.#file.read(peftName(name, "lora_B"), [outputs, rank]);
    return { a: transpose(a, rank, inputs), b: transpose(b, outputs, rank) };
  }

  /** A function that adds the adapter to a tensor's values, in Hugging Face's layout. */
  merger(configuration: Configuration): (tensor: string, values: Float32Array) => Float32Array {
    const { rank, alpha, targets } = this.options;
    const layers = new Map(
      adaptedLayers(configuration, targets).map((layer) => [`${layer.name}.weight`, layer]),
    );
    return (tensor, values) => {
      const layer = layers.get(tensor);
      if (layer === undefined) return values;
      const { a, b } = this.read(layer.name, layer.inputs, layer.outputs);
      addAdapter(values, a, b, { rank, scale: alpha / rank });
      return values;
    };
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Reads a directory's adapter into a model with adapters of the same kind. */
export function loadAdapter(directory: string, model: GPT): void {
  const { adapters } = model.parameters;
  if (adapters === null) throw new Error("the model has no adapters");
  using file = new AdapterFile(directory);
  const layers = adaptedLayers(model.configuration, adapters.options.targets);
  for (const { name, inputs, outputs } of layers) {
    const { a, b } = file.read(name, inputs, outputs);
    adapters.parameters.write(`${name}.lora_A`, "parameter", a);
    adapters.parameters.write(`${name}.lora_B`, "parameter", b);
  }
}
