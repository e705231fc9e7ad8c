// What the tensors of a torch.save archive say about their model, which has no config.json beside it.

import { UserError } from "../errors.ts";
import { type Configuration, MOST_POSITIONS, presets } from "../model/mod.ts";
import type { CheckpointInfo } from "./checkpoint.ts";
import { isExperiment, type Layout, POSITIONS, TOKENS } from "./spellings.ts";
import { sizeOf } from "./tensors.ts";
import { optimizerName, optimizerState, TorchFile } from "./torch.ts";

export { TorchFile };

/** GPT-2's channels in a head, for files that do not say how many heads there are. */
const HEAD_CHANNELS = 64;
const HEAD_NAMES = ["n_head", "n_heads", "num_heads", "num_attention_heads"];
export const isOptimizer = (name: string) => name.startsWith("optimizer.");

const CONFIG_NAMES = ["config", "model_config", "configuration"];

/**
 * The configuration that tensors have the shapes of.
 * @returns with it what was assumed or left out, a line each
 * @throws UserError when they are not those of a GPT-2
 */
export function torchInfo(
  file: TorchFile,
  layout: Layout,
  options: { readonly heads?: number; readonly activation?: Configuration["activation_function"] },
): { info: CheckpointInfo; moments: TorchMoments | null; notes: string[] } {
  const { path, entries, root } = file;
  const shapeOf = (name: string) => {
    const place = layout.place(name);
    const shape = entries.get(place.name)?.shape;
    if (shape === undefined) throw new UserError(`${path}: holds no tensor ${place.name}`);
    return place.transposed ? shape.toReversed() : shape;
  };
  const [vocab_size, n_embd] = shapeOf(TOKENS) as [number, number];
  const positions = sizeOf(shapeOf(POSITIONS)) / n_embd;
  const n_inner = shapeOf("transformer.h.0.mlp.c_fc.weight")[1]!;
  let n_layer = 1;
  while (entries.has(layout.place(`transformer.h.${n_layer}.ln_1.weight`).name)) n_layer++;
  const notes: string[] = [];
  const n_positions = Math.min(positions, MOST_POSITIONS);
  if (positions > n_positions) notes.push(`its positions from ${n_positions} on are left out`);
  const n_head = options.heads ?? headsIn(root) ?? Math.max(1, Math.round(n_embd / HEAD_CHANNELS));
  if (options.heads === undefined && headsIn(root) === null) {
    notes.push(`it does not say how many heads it has: taken for ${n_head}; --heads N says so`);
  }
  const activation = isExperiment(entries) ? "gelu" : "gelu_new";
  const moments = torchMoments(file, layout);
  if (typeof moments === "string") {
    notes.push(`its optimiser's state is left out, because ${moments}`);
  }
  return {
    moments: typeof moments === "string" ? null : moments,
    info: {
      configuration: {
        ...presets["124m"],
        vocab_size,
        n_positions,
        n_embd,
        n_layer,
        n_head,
        n_inner: n_inner === 4 * n_embd ? null : n_inner,
        activation_function: options.activation ?? activation,
      },
      metadata: {
        format: "human-assistant",
        turns: 1,
        step: moments !== null && typeof moments !== "string"
          ? moments.step
          : countIn(root, ["global_step", "step"]),
        epoch: countIn(root, ["epoch"]),
      },
    },
    notes,
  };
}

/** AdamW's state of PyTorch: where each parameter's moments lie in the file. */
export interface TorchMoments {
  /** Optimiser steps behind them. */
  readonly step: number;
  /** From a parameter's name in the file to its index; those without one have no moments yet. */
  readonly indices: ReadonlyMap<string, number>;
}

/**
 * Finds out whose moments an optimiser's state holds: it numbers the parameters in the order in which the model
 * registered them, which is that of its tensors, without buffers and without a tied head.
 * @returns null when there is no such state, or why it cannot be used
 */
function torchMoments(file: TorchFile, layout: Layout): TorchMoments | string | null {
  const state = optimizerState(file.root);
  if (state === null || state.states.size === 0) return null;
  const [group, ...others] = state.groups;
  if (group === undefined || others.length > 0) {
    return "it has several groups of parameters, whose order a file does not tell";
  }
  const names = [...file.entries.keys()].filter((name) =>
    !isOptimizer(name) && name !== layout.head && !layout.ignored.test(name)
  );
  const positions = layout.place(POSITIONS).name;
  // Fixed positions are a buffer: they have no moments.
  const learned = [names, names.filter((name) => name !== positions)]
    .find(({ length }) => length === group.length);
  if (learned === undefined) {
    return `it is of ${group.length} parameters, and the model has ${names.length}`;
  }
  const indices = new Map<string, number>();
  let step = 0;
  for (const [place, name] of learned.entries()) {
    const index = group[place];
    if (typeof index !== "number" || !state.states.has(index)) continue;
    for (const kind of ["exp_avg", "exp_avg_sq"]) {
      const shape = file.entries.get(optimizerName(index, kind))?.shape;
      if (String(shape) !== String(file.entries.get(name)!.shape)) {
        return `its ${kind} of ${name} is missing or has another shape`;
      }
    }
    indices.set(name, index);
    step = Math.max(step, stepOf(file, state.states.get(index), index));
  }
  return { step, indices };
}

function stepOf(file: TorchFile, state: unknown, index: number): number {
  const step = state instanceof Map ? state.get("step") : null;
  const name = optimizerName(index, "step");
  const count = file.entries.has(name) ? file.read(name, [])[0]! : Number(step);
  return Number.isSafeInteger(count) && count > 0 ? count : 0;
}

/** The number of heads in a dictionary of settings that was saved with the weights. */
function headsIn(root: ReadonlyMap<unknown, unknown>): number | null {
  for (const name of CONFIG_NAMES) {
    const settings = root.get(name);
    if (!(settings instanceof Map)) continue;
    const heads = HEAD_NAMES.map((key) => settings.get(key)).find(Number.isInteger);
    if (heads !== undefined) return heads;
  }
  return null;
}

function countIn(root: ReadonlyMap<unknown, unknown>, names: readonly string[]): number {
  const value = names.map((name) => root.get(name)).find((count) => Number.isInteger(count));
  return typeof value === "number" && value >= 0 ? value : 0;
}
