// What stays of a layer between its forward and its backward: everything, everything in bf16, or its input alone.

import { narrow, type Runtime, type Tensor, widen } from "../kernels/mod.ts";
import type { Block, BlockSaved } from "./block.ts";
import type { Pass } from "./pass.ts";

/** Turns d [N, C] from a layer's dy into its dx. */
export type Backward = (d: Tensor) => void;

export interface KeepingOptions {
  /** Number format of what is kept. A layer's input, which is the output of the one before, stays f32. */
  readonly precision: "f32" | "bf16";
  /** Keeps inputs only (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). */
  readonly recompute: boolean;
}

/** Runs layers forward, keeping no more than their backward needs. `recompute` never changes a byte of the result. */
export class Keeper {
  constructor(readonly options: KeepingOptions) {}

  /** y [N, C] from x [N, C], and the way back. */
  forward(
    pass: Pass,
    block: Block,
    x: Tensor,
  ): { readonly y: Tensor; readonly backward: Backward } {
    const { runtime } = pass, { arena } = runtime;
    const y = arena.allocate(x.shape);
    if (this.options.recompute) {
      arena.scope(() => block.forward(pass, y, x));
      const backward = (d: Tensor) =>
        arena.scope(() => {
          const kept = this.#keep(runtime, () => block.recall(pass, x));
          block.backward(pass, d, widened(runtime, kept));
        });
      return { y, backward };
    }
    const kept = this.#keep(runtime, () => block.forward(pass, y, x));
    const backward = (d: Tensor) =>
      arena.scope(() => block.backward(pass, d, widened(runtime, kept)));
    return { y, backward };
  }

  #keep(runtime: Runtime, forward: () => BlockSaved): BlockSaved {
    return this.options.precision === "bf16" ? narrowed(runtime, forward) : forward();
  }
}

/** The same tree of other tensors. */
function mapTensors(saved: BlockSaved, change: (x: Tensor) => Tensor): BlockSaved {
  const map = (value: Tensor | object): unknown =>
    "pointer" in value
      ? change(value as Tensor)
      : Object.fromEntries(Object.entries(value).map(([name, part]) => [name, map(part)]));
  return map(saved) as BlockSaved;
}

/**
 * What `forward` saved, the tensors that it allocated for every channel of every token in bf16. Statistics of a token
 * or a head, which exponentials are taken of, stay f32.
 */
function narrowed(runtime: Runtime, forward: () => BlockSaved): BlockSaved {
  const { arena } = runtime;
  const start = arena.mark();
  const saved = forward();
  const behind = arena.mark();
  const copies = mapTensors(saved, (x) => {
    if (x.pointer < start) return x;
    const isWide = x.shape.length === 2 && x.shape[1]! >= saved.x.shape[1]!;
    const copy = arena.allocate(x.shape, isWide ? "bf16" : "f32");
    if (isWide) narrow(runtime, copy, x);
    else runtime.f32(copy).set(runtime.f32(x));
    return copy;
  });
  // The copies move down to where forward's own tensors were.
  const bytes = arena.mark() - behind;
  arena.release(start);
  arena.allocate([bytes], "u8");
  new Uint8Array(runtime.memory.buffer).copyWithin(start, behind, behind + bytes);
  return mapTensors(
    copies,
    (x) => x.pointer < start ? x : { ...x, pointer: x.pointer - behind + start },
  );
}

/** The same with all of it in f32. */
function widened(runtime: Runtime, kept: BlockSaved): BlockSaved {
  return mapTensors(kept, (x) => {
    if (x.type === "f32") return x;
    const wide = runtime.arena.allocate(x.shape);
    widen(runtime, wide, x);
    return wide;
  });
}
