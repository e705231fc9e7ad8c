// The key-value cache of generation: what attention needs of the tokens so far, so that a new token costs
// one pass over the weights.

import type { LayerCache } from "./attention.ts";
import type { GPT } from "./gpt.ts";

/** Keys and values of up to `capacity` tokens for every layer. Caches are disposed of last made first. */
export class KeyValueCache {
  readonly layers: readonly LayerCache[];
  readonly #mark: number;
  #length = 0;

  constructor(readonly model: GPT, readonly capacity: number) {
    const { n_positions, n_embd, n_layer } = model.configuration;
    if (!(capacity >= 1 && capacity <= n_positions)) {
      throw new RangeError(`cache capacity: must be from 1 to ${n_positions}, got ${capacity}`);
    }
    const { arena } = model.runtime;
    this.#mark = arena.mark();
    this.layers = Array.from({ length: n_layer }, () => ({
      keys: arena.allocate([capacity, n_embd]),
      values: arena.allocate([capacity, n_embd]),
    }));
  }

  /** Tokens held. */
  get length(): number {
    return this.#length;
  }

  /**
   * Runs the model over tokens behind those held; returns the logits [V] after the last one.
   * @throws RangeError when there are none or the cache would overflow
   */
  append(tokens: ArrayLike<number>): Float32Array {
    if (tokens.length === 0) throw new RangeError("no tokens to append to the cache");
    if (this.#length + tokens.length > this.capacity) {
      throw new RangeError(
        `${this.#length} + ${tokens.length} tokens exceed the cache's ${this.capacity}`,
      );
    }
    const logits = this.model.decode(Int32Array.from(tokens), this, this.#length);
    this.#length += tokens.length;
    return logits;
  }

  /** Forgets all but the first `length` tokens. */
  truncate(length: number): void {
    if (!(length >= 0 && length <= this.#length)) {
      throw new RangeError(`cannot truncate a cache of ${this.#length} tokens to ${length}`);
    }
    this.#length = length;
  }

  /** Gives its memory back to the arena. */
  dispose(): void {
    this.model.runtime.arena.release(this.#mark);
  }
}
