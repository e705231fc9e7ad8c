// What the tensors of a torch.save archive say about their model, which has no config.json beside it.

import { UserError } from "../errors.ts";
import { type Configuration, MOST_POSITIONS, presets } from "../model/mod.ts";
import type { CheckpointInfo } from "./checkpoint.ts";
import { isExperiment, type Layout, POSITIONS, TOKENS } from "./spellings.ts";
import { sizeOf } from "./tensors.ts";
import { TorchFile } from "./torch.ts";

export { TorchFile };

/** GPT-2's channels in a head, for files that do not say how many heads there are. */
const HEAD_CHANNELS = 64;
const HEAD_NAMES = ["n_head", "n_heads", "num_heads", "num_attention_heads"];
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
): { info: CheckpointInfo; notes: string[] } {
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
  if (root.has("optimizer_state_dict") || root.has("optimizer")) {
    notes.push("its optimiser's state is left out: training goes on with new moments");
  }
  const activation = isExperiment(entries) ? "gelu" : "gelu_new";
  return {
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
        step: countIn(root, ["global_step", "step"]),
        epoch: countIn(root, ["epoch"]),
      },
    },
    notes,
  };
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
