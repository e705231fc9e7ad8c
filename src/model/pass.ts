// One pass of a ragged batch through the model: what every layer needs to know beside its input.

import { type DropoutStream, NO_DROPOUT, type Runtime, type Tensor } from "../kernels/mod.ts";
import { mixedSeed, randomNumbers } from "../random.ts";
import { streamKeys } from "./random.ts";

/** N tokens of B sequences, one behind the other without padding. */
export interface Batch {
  readonly tokens: Int32Array; // [N]
  /** -1: no loss here. */
  readonly targets: Int32Array; // [N]
  /** Weight of each target in the loss; absent means 1. */
  readonly weights?: Float32Array; // [N]
  readonly positions: Int32Array; // [N]
  /** First token of each sequence, and N. */
  readonly offsets: Int32Array; // [B + 1]
  /**
   * Where a sequence's last target is this token or one behind it, only these compete with it, and up to 15 before them;
   * absent: the whole vocabulary.
   */
  readonly choiceFrom?: number;
}

/** The rows that have a target. */
export function targetRows({ targets }: Batch): Int32Array {
  return Int32Array.from(targets.keys()).filter((n) => targets[n]! >= 0);
}

/** What makes a training pass's dropout: the same numbers give the same decisions. */
export interface DropoutSeed {
  readonly seed: number;
  readonly step: number;
  readonly microStep: number;
  /** NEFTune (Jain et al. 2023): uniform noise of this / sqrt(T C) on the embeddings. */
  readonly embeddingNoise?: number;
  /** Probability that a layer is left out of a pass. */
  readonly layerDrop?: number;
}

/** Some rows of a pass, and the pass of them alone. */
export interface Rows {
  readonly indices: Tensor; // [R]
  readonly pass: Pass;
}

/** A pass: activations are allocated from the runtime's arena and released by whoever began it. */
export class Pass {
  readonly offsets: Tensor; // [B + 1]
  /** The rows of the last layer that anything reads; null where it is all of them. */
  readonly read: Rows | null;

  constructor(
    readonly runtime: Runtime,
    /** N */
    readonly tokens: number,
    offsets: Int32Array,
    readonly dropoutSeed: DropoutSeed | null,
    read: Int32Array | null = null,
  ) {
    this.offsets = runtime.integers(offsets);
    this.read = read === null || read.length === 0 || read.length === tokens ? null : {
      indices: runtime.integers(read),
      pass: new Pass(runtime, read.length, offsets, dropoutSeed),
    };
  }

  /** An uninitialised activation of `channels` per token. */
  allocate(channels: number): Tensor {
    return this.runtime.arena.allocate([this.tokens, channels]);
  }

  /** Probability that a layer is left out. */
  get layerDrop(): number {
    return this.dropoutSeed?.layerDrop ?? 0;
  }

  /** A number in [0, 1) that belongs to a place in the model and this pass. */
  chance(place: string, layer: number): number {
    if (this.dropoutSeed === null) return 1;
    return this.random(place, layer)();
  }

  /** Random numbers that belong to a place in the model and this pass. */
  random(place: string, layer = 0): () => number {
    const { seed, step, microStep } = this.dropoutSeed!;
    return randomNumbers(mixedSeed(...streamKeys(seed, place, layer, step, microStep)));
  }

  /** The dropout stream of one place in the model. */
  dropout(p: number, place: string, layer = 0): DropoutStream {
    if (this.dropoutSeed === null || p === 0) return NO_DROPOUT;
    const { seed, step, microStep } = this.dropoutSeed;
    const [keyA, keyB] = streamKeys(seed, place, layer, step, microStep);
    return { p, keyA, keyB };
  }
}
