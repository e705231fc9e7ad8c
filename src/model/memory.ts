// Foretells the memory that a model needs, before anything is allocated.

import { PANEL } from "../kernels/mod.ts";
import { type Configuration, innerWidth } from "./configuration.ts";
import { HEAD_ROWS } from "./head.ts";
import { adapterTable, type LoraOptions } from "./lora.ts";
import { muonScratch } from "./muon.ts";
import type { OptimizerName } from "./optimizer.ts";
import { momentMemory, parameterMemory, parameterTable } from "./parameters.ts";

/**
 * Bytes of shared memory: parameters (in training also gradients and the optimiser's moments), and the activations of
 * a pass over `tokens` tokens; for generation the cache of `tokens` tokens. With `lora`, only adapters have
 * gradients and moments. `reference`: a frozen copy of the parameters stands beside those that learn.
 */
export function memoryEstimate(
  c: Configuration,
  { training, tokens, lora, optimizer = "adamw", reference = false }: {
    readonly training: boolean;
    readonly tokens: number;
    readonly lora?: LoraOptions;
    readonly optimizer?: OptimizerName;
    readonly reference?: boolean;
  },
): number {
  const C = c.n_embd, F = innerWidth(c);
  const table = parameterTable(c), whole = parameterMemory(table);
  const learns = lora === undefined ? table : adapterTable(c, lora);
  const learning = 2 * parameterMemory(learns) + momentMemory(learns, optimizer);
  const own = lora !== undefined ? whole + learning : training ? learning : whole;
  const arrays = own + (reference ? whole : 0);
  const logits = Math.ceil(c.vocab_size / PANEL) * PANEL;
  if (!training) return 4 * (arrays + tokens * 2 * C * c.n_layer + logits);
  // Kept for backward in a layer: two norms, qkv, heads, two branches, middle, y and the MLP's two.
  const layer = 10 * C + 2 * F + c.n_head + 4;
  const backward = 8 * C + F + Math.max(3 * C, F);
  const head = Math.min(tokens, HEAD_ROWS) * (2 * logits + 3 * C);
  const pass = tokens * (layer * c.n_layer + 4 * C + backward) + head;
  // The pass's memory is free again when the optimiser takes its step.
  const scratch = optimizer === "muon" ? Math.max(muonScratch(C, 3 * C), muonScratch(C, F)) : 0;
  return 4 * (arrays + Math.max(pass, scratch));
}
