// Causal multi-head self-attention with its projections.

import {
  attentionBackward,
  attentionCached,
  attentionForward,
  type CacheTables,
  dropout,
  type LinearOptions,
  type Tensor,
} from "../kernels/mod.ts";
import type { Configuration } from "./configuration.ts";
import { Linear } from "./linear.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

export interface AttentionSaved {
  readonly qkv: Tensor; // [N, 3C]
  readonly logSumExp: Tensor; // [N, H]
  readonly heads: Tensor; // [N, C] all heads' outputs side by side
}

/** One layer's keys and values of the tokens so far. */
export interface LayerCache {
  readonly keys: Tensor; // [capacity, C]
  readonly values: Tensor; // [capacity, C]
}

/** New tokens of one or more sequences, and where the cache keeps them. */
export interface CacheStep extends LinearOptions {
  /** Cache row of each new token. */
  readonly rows: ArrayLike<number>;
  /** Nothing is cached yet: attention needs only the new tokens. */
  readonly isPrompt: boolean;
  readonly tables: CacheTables;
}

export class Attention {
  readonly #qkv: Linear;
  readonly #projection: Linear;

  constructor(
    parameters: Parameters,
    readonly configuration: Configuration,
    readonly layer: number,
  ) {
    this.#qkv = new Linear(parameters, `transformer.h.${layer}.attn.c_attn`);
    this.#projection = new Linear(parameters, `transformer.h.${layer}.attn.c_proj`);
  }

  /** y [N, C] = softmax(Q K^T / sqrt(D)) V W + b, before dropout; each token sees itself and those before */
  forward(pass: Pass, x: Tensor): { readonly y: Tensor; readonly saved: AttentionSaved } {
    const { n_embd: C, n_head, attn_pdrop } = this.configuration;
    const saved = {
      qkv: pass.allocate(3 * C),
      logSumExp: pass.allocate(n_head),
      heads: pass.allocate(C),
    };
    const y = pass.allocate(C);
    this.#qkv.forward(pass, saved.qkv, x);
    const stream = pass.dropout(attn_pdrop, "attention", this.layer);
    const shape = { heads: n_head, offsets: pass.offsets };
    attentionForward(pass.runtime, saved.heads, saved.logSumExp, saved.qkv, shape, stream);
    this.#projection.forward(pass, y, saved.heads);
    return { y, saved };
  }

  /** dx [N, C] (written) from dy [N, C] behind the residual's dropout, which is applied here */
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor, saved: AttentionSaved): void {
    const { n_embd: C, n_head, attn_pdrop, resid_pdrop } = this.configuration;
    const { runtime } = pass;
    runtime.arena.scope(() => {
      const dheads = pass.allocate(C), dqkv = pass.allocate(3 * C);
      const kept = droppedGradient(pass, dy, resid_pdrop, "attention-out", this.layer);
      this.#projection.backward(pass, dheads, kept, saved.heads);
      const stream = pass.dropout(attn_pdrop, "attention", this.layer);
      const shape = { heads: n_head, offsets: pass.offsets };
      attentionBackward(runtime, dqkv, dheads, saved.qkv, saved.logSumExp, shape, stream);
      this.#qkv.backward(pass, dx, dqkv, x);
    });
  }

  /** y [n, C] for a step's new tokens, whose keys and values it puts into the cache. */
  decode(pass: Pass, x: Tensor, cache: LayerCache, step: CacheStep): Tensor {
    const { n_embd: C, n_head } = this.configuration;
    const { runtime } = pass;
    const qkv = pass.allocate(3 * C), heads = pass.allocate(C), y = pass.allocate(C);
    this.#qkv.forward(pass, qkv, x, step);
    storeRows(runtime.f32(cache.keys), runtime.f32(qkv), step.rows, C, 1);
    storeRows(runtime.f32(cache.values), runtime.f32(qkv), step.rows, C, 2);
    if (step.isPrompt) {
      const shape = { heads: n_head, offsets: pass.offsets };
      const none = pass.dropout(0, "attention");
      attentionForward(runtime, heads, pass.allocate(n_head), qkv, shape, none);
    } else attentionCached(runtime, heads, qkv, cache.keys, cache.values, n_head, step.tables);
    this.#projection.forward(pass, y, heads, step);
    return y;
  }
}

/** Copies part `part` (1: keys, 2: values) of qkv's row n to row rows[n] of a cache. */
function storeRows(
  cache: Float32Array,
  qkv: Float32Array,
  rows: ArrayLike<number>,
  C: number,
  part: number,
): void {
  for (let n = 0; n < rows.length; n++) {
    const from = n * 3 * C + part * C;
    cache.set(qkv.subarray(from, from + C), rows[n]! * C);
  }
}

/** dy behind dropout: a copy in the arena, or dy itself where nothing is dropped. */
export function droppedGradient(
  pass: Pass,
  dy: Tensor,
  p: number,
  place: string,
  layer: number,
): Tensor {
  const stream = pass.dropout(p, place, layer);
  if (stream.p === 0) return dy;
  const kept = pass.runtime.arena.allocate(dy.shape);
  dropout(pass.runtime, kept, dy, stream);
  return kept;
}
