// The key-value cache of generation: what attention needs of the tokens so far, so that a new token costs
// one pass over the weights. A sequence is a list of cache rows; sequences that begin alike share rows, so
// forking one (a beam, another try) copies a list of numbers, not keys and values.

import type { Tensor } from "../kernels/mod.ts";
import type { LayerCache } from "./attention.ts";
import type { GPT } from "./gpt.ts";

/** How much a cache holds at most. */
export interface CacheSize {
  /** Tokens over all sequences; those that sequences share count once. */
  readonly tokens: number;
  readonly sequences: number;
}

/** New tokens for a sequence. */
export interface Continuation {
  readonly sequence: CachedSequence;
  readonly tokens: ArrayLike<number>;
}

/** A text in the cache. Made by a cache, and given back by `release`. */
export class CachedSequence {
  #length = 0;

  /** @param rows the cache row of each token, as far as `length` */
  constructor(readonly cache: KeyValueCache, readonly slot: number, readonly rows: Int32Array) {}

  /** Tokens held. */
  get length(): number {
    return this.#length;
  }

  /** Longest text: the model's positions, or the cache's tokens. */
  get capacity(): number {
    return this.rows.length;
  }

  /** Runs the model over tokens behind those held; returns the logits [V] after the last one. */
  append(tokens: ArrayLike<number>): Float32Array {
    return this.cache.append([{ sequence: this, tokens }])[0]!;
  }

  /** Forgets all but the first `length` tokens. */
  truncate(length: number): void {
    if (!(length >= 0 && length <= this.#length)) {
      throw new RangeError(`cannot truncate a sequence of ${this.#length} tokens to ${length}`);
    }
    this.cache.giveBack(this.rows.subarray(length, this.#length));
    this.#length = length;
  }

  /** Another sequence that begins with the same tokens and shares their rows. */
  fork(): CachedSequence {
    const copy = this.cache.sequence();
    copy.extend(this.rows.subarray(0, this.#length));
    this.cache.share(copy.rows.subarray(0, copy.#length));
    return copy;
  }

  /** Takes rows for further tokens. */
  extend(rows: ArrayLike<number>): void {
    this.rows.set(rows, this.#length);
    this.#length += rows.length;
  }

  /** Gives its rows and its place back. */
  release(): void {
    this.truncate(0);
    this.cache.giveBackSlot(this.slot);
  }
}

/** Keys and values for every layer. Caches are disposed of last made first. */
export class KeyValueCache {
  readonly #layers: readonly LayerCache[];
  readonly #mark: number;
  /** Tokens of the longest sequence. */
  readonly #longest: number;
  readonly #tables: Tensor; // i32 [sequences, longest]
  /** How many sequences hold each row. */
  readonly #holders: Int32Array;
  readonly #freeRows: number[];
  readonly #freeSlots: number[];

  constructor(readonly model: GPT, readonly size: CacheSize) {
    const { n_positions, n_embd, n_layer } = model.configuration;
    const { tokens, sequences } = size;
    if (!(tokens >= 1 && sequences >= 1)) {
      throw new RangeError(`a cache of ${tokens} tokens in ${sequences} sequences is none`);
    }
    const { arena } = model.runtime;
    this.#mark = arena.mark();
    this.#layers = Array.from({ length: n_layer }, () => ({
      keys: arena.allocate([tokens, n_embd]),
      values: arena.allocate([tokens, n_embd]),
    }));
    this.#longest = Math.min(n_positions, tokens);
    this.#tables = arena.allocate([sequences, this.#longest], "i32");
    this.#holders = new Int32Array(tokens);
    const downFrom = (n: number) => Array.from({ length: n }, (_, i) => n - 1 - i);
    this.#freeRows = downFrom(tokens);
    this.#freeSlots = downFrom(sequences);
  }

  /** Tokens that still fit. */
  get free(): number {
    return this.#freeRows.length;
  }

  /** A new, empty sequence. */
  sequence(): CachedSequence {
    const slot = this.#freeSlots.pop();
    if (slot === undefined) {
      throw new RangeError(`the cache holds ${this.size.sequences} sequences`);
    }
    const first = slot * this.#longest;
    const table = this.model.runtime.i32(this.#tables);
    return new CachedSequence(this, slot, table.subarray(first, first + this.#longest));
  }

  /**
   * Runs the model once over new tokens of several sequences.
   * @returns the logits [V] behind each sequence's last token, which the next call overwrites
   * @throws RangeError when a sequence gets none, or they do not fit
   */
  append(entries: readonly Continuation[]): Float32Array[] {
    const { runtime } = this.model;
    const total = entries.reduce((sum, { tokens }) => sum + tokens.length, 0);
    for (const { sequence, tokens } of entries) {
      if (tokens.length === 0) throw new RangeError("no tokens to append to the cache");
      if (sequence.length + tokens.length > sequence.capacity) {
        throw new RangeError(
          `${sequence.length} + ${tokens.length} tokens exceed the sequence's ${sequence.capacity}`,
        );
      }
    }
    if (total > this.free) throw new RangeError(`${total} tokens for ${this.free} free cache rows`);
    const isPrompt = entries.every(({ sequence }) => sequence.length === 0);
    const tokens = new Int32Array(total), positions = new Int32Array(total);
    const owners = new Int32Array(total), counts = new Int32Array(total);
    const rows = new Int32Array(total), offsets = new Int32Array(entries.length + 1);
    let n = 0;
    entries.forEach((entry, b) => {
      const { sequence } = entry, past = sequence.length, first = n;
      for (let i = 0; i < entry.tokens.length; i++, n++) {
        tokens[n] = entry.tokens[i]!;
        positions[n] = past + i;
        counts[n] = past + i + 1;
        owners[n] = sequence.slot;
        rows[n] = this.#takeRow();
      }
      sequence.extend(rows.subarray(first, n));
      offsets[b + 1] = n;
    });
    return runtime.arena.scope(() =>
      this.model.decode(tokens, positions, offsets, this.#layers, {
        rows,
        isPrompt,
        // A step of decoding, one token each.
        step: !isPrompt && total === entries.length,
        tables: {
          tables: this.#tables,
          owners: runtime.integers(owners),
          counts: runtime.integers(counts),
        },
      })
    );
  }

  #takeRow(): number {
    const row = this.#freeRows.pop()!;
    this.#holders[row] = 1;
    return row;
  }

  /** One more sequence holds these rows. */
  share(rows: Int32Array): void {
    for (const row of rows) this.#holders[row]!++;
  }

  /** One sequence less holds these rows; those that none holds are free again. */
  giveBack(rows: Int32Array): void {
    for (let i = rows.length - 1; i >= 0; i--) {
      if (--this.#holders[rows[i]!]! === 0) this.#freeRows.push(rows[i]!);
    }
  }

  giveBackSlot(slot: number): void {
    this.#freeSlots.push(slot);
  }

  /** Gives its memory back to the arena. */
  dispose(): void {
    this.model.runtime.arena.release(this.#mark);
  }
}
