// deno task info: a model's size and the memory it needs, before anything is trained.

import {
  memoryEstimate,
  type ModelOptions,
  type MomentFormat,
  type OptimizerName,
  OPTIMIZERS,
  parameterCount,
  peakEstimate,
  type Preset,
  presets,
} from "../model/mod.ts";
import { checkMoments, MEMORY_OPTIONS } from "./memory_options.ts";
import { type CommandSpecification, type OptionTable, parseOptions } from "./options.ts";

export const command = {
  name: "info",
  summary: "show a model's size and the memory it needs",
  options: {
    model: {
      type: "string",
      placeholder: "NAME",
      choices: Object.keys(presets),
      help: "only this model",
    },
    tokens: {
      type: "integer",
      minimum: 1,
      maximum: 65536,
      default: 256,
      help: "tokens in a training batch, or of context",
    },
    optimizer: {
      type: "string",
      placeholder: "NAME",
      choices: [...OPTIMIZERS],
      default: "adamw",
      help: "whose moments training keeps",
    },
    ...MEMORY_OPTIONS,
    json: { type: "boolean", help: "print JSON" },
  },
} satisfies CommandSpecification<OptionTable>;

/** One model's figures. `training_bytes` is the program's peak, `shared_bytes` WebAssembly's part of it. */
function describe(model: Preset, tokens: number, options: ModelOptions) {
  const configuration = presets[model], { optimizer, precision, moments, recompute } = options;
  return {
    model,
    parameters: parameterCount(configuration),
    tokens,
    ...{ optimizer, precision, moments, recompute },
    training_bytes: peakEstimate(configuration, { ...options, tokens }),
    shared_bytes: memoryEstimate(configuration, { ...options, tokens }),
    generation_bytes: memoryEstimate(configuration, { training: false, tokens }),
    ...configuration,
  };
}

export function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const chosen = options.model === undefined ? Object.keys(presets) : [options.model];
  const { precision = "f32", moments = "f32", recompute = "off" } = options;
  const training = {
    training: true,
    optimizer: options.optimizer as OptimizerName,
    precision: precision as "f32" | "bf16",
    moments: moments as MomentFormat,
    recompute: recompute === "on",
  };
  checkMoments(training);
  const models = chosen.map((model) => describe(model as Preset, options.tokens, training));
  if (options.json) {
    console.log(JSON.stringify(options.model === undefined ? models : models[0], null, 2));
    return Promise.resolve(0);
  }
  const mebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20).toLocaleString("en")} MiB`;
  const rows = [
    ["model", "parameters", "layers", "channels", "heads", "to train", "to generate"],
    ...models.map((m) => [
      m.model,
      m.parameters.toLocaleString("en"),
      String(m.n_layer),
      String(m.n_embd),
      String(m.n_head),
      mebibytes(m.training_bytes),
      mebibytes(m.generation_bytes),
    ]),
  ];
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  for (const row of rows) {
    const cells = row.map((cell, i) =>
      i === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[i]!)
    );
    console.log(cells.join("  "));
  }
  console.log(
    `\nMemory with ${models[0]!.tokens} tokens in a batch, or of context; training with ` +
      `--optimizer ${options.optimizer} --precision ${precision} --moments ${moments} --recompute ${recompute}.`,
  );
  return Promise.resolve(0);
}
