// Foretells the memory that a model needs, before anything is allocated.

import { PANEL } from "../kernels/mod.ts";
import { type Configuration, innerWidth } from "./configuration.ts";
import type { ModelOptions } from "./gpt.ts";
import { HEAD_ROWS } from "./head.ts";
import { adapterTable } from "./lora.ts";
import { muonScratch } from "./muon.ts";
import { momentMemory, parameterMemory, parameterTable } from "./parameter_table.ts";

/** A model, and the tokens of its largest batch, or for generation of its cache. */
export interface MemoryOptions extends ModelOptions {
  readonly tokens: number;
  /** A frozen copy of the parameters stands beside those that learn. */
  readonly reference?: boolean;
}

/**
 * Bytes of shared memory: parameters; in training also gradients, the optimiser's moments, an average where one is
 * kept, and what needs most of three that take turns: the activations of a pass, Muon's step, or the copy of the
 * largest tensor that saving makes. With `lora`, only adapters have gradients and moments. For generation the cache
 * instead.
 */
export function memoryEstimate(c: Configuration, options: MemoryOptions): number {
  const { training, tokens, lora, average, optimizer = "adamw", moments = "f32" } = options;
  const table = parameterTable(c), whole = 4 * parameterMemory(table);
  if (!training) return whole + 4 * (tokens * 2 * c.n_embd * c.n_layer + paddedVocabulary(c));
  const learned = lora === undefined ? table : adapterTable(c, lora);
  const own = 4 * parameterMemory(learned);
  const lasting = whole + own + (average ? own : 0) + (lora === undefined ? 0 : own) +
    (options.reference ? whole : 0) + momentMemory(learned, optimizer, moments);
  const step = optimizer === "muon" ? muonStepMemory(c) : 0;
  return lasting + Math.max(activations(c, options), step, savingCopy(c, options));
}

function paddedVocabulary(c: Configuration): number {
  return Math.ceil(c.vocab_size / PANEL) * PANEL;
}

/** Bytes beside the arrays that last of Muon's step, for which a pass's memory is free again. */
function muonStepMemory(c: Configuration): number {
  return 4 * Math.max(muonScratch(c.n_embd, 3 * c.n_embd), muonScratch(c.n_embd, innerWidth(c)));
}

/** Bytes of a training pass beside the arrays that last. */
function activations(c: Configuration, { tokens, precision, recompute }: MemoryOptions): number {
  const C = c.n_embd, F = innerWidth(c), narrow = precision === "bf16";
  // Words of a token. In a layer: two norms, qkv, heads, middle and the MLP's two; and what has a word a head or less.
  const wide = 7 * C + 2 * F, statistics = c.n_head + 4;
  const forward = wide + 2 * C + statistics; // with both branches' outputs
  const copies = narrow ? wide / 2 + statistics : 0;
  const kept = C + (recompute ? 0 : narrow ? copies : forward);
  const packed = Math.max(3 * C, F);
  const gradients = C + Math.max(C + F, 5 * C) + packed;
  const again = narrow
    ? Math.max(forward + copies, copies + wide + gradients)
    : forward + gradients;
  // The last layer's forward, or the first's backward: what they need beside what is kept.
  const forwardOnly = (recompute || narrow ? forward : 0) + packed;
  const backward = recompute ? again : narrow ? wide + gradients : gradients;
  const head = Math.min(tokens, HEAD_ROWS) * (2 * paddedVocabulary(c) + 3 * C);
  const layers = tokens * Math.max(forwardOnly, backward);
  return 4 * (tokens * (kept * c.n_layer + 4 * C) + Math.max(layers, head));
}

/** Bytes of the copies in which the token table, or its moments, take Hugging Face's layout. */
function savingCopy(c: Configuration, { moments = "f32", lora }: MemoryOptions): number {
  const copies = moments === "bf16" && lora === undefined ? 2 : 1;
  return copies * 4 * c.vocab_size * c.n_embd;
}

/** What the program itself takes: Deno, the kernels, the tokenizer, small data. Measured with nano. */
const PROGRAM_BYTES = 90e6;

/**
 * Bytes of the process at its largest: shared memory, the program, and what saving holds beside it of the token table:
 * its weights and its first moment, as written, before the collector takes them.
 */
export function peakEstimate(c: Configuration, options: MemoryOptions): number {
  const copies = options.lora !== undefined
    ? 1
    : { f32: 2, bf16: 2.5, int8: 1.5 }[options.moments ?? "f32"];
  return memoryEstimate(c, options) + PROGRAM_BYTES + copies * 4 * c.vocab_size * c.n_embd;
}
