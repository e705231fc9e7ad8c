// How much of a kernel's range a thread takes at a time.

import { elementCount, type Tensor } from "./arena.ts";

/** Elements that a kernel of one visit per element takes at a time: 64 KB of each operand. */
export const ELEMENTS_PER_CHUNK = 16384;

/** Groups of sixteen elements; tensors are padded to whole groups. */
export function groups(x: Tensor): number {
  return Math.ceil(elementCount(x.shape) / 16);
}

/** Rows that make a chunk. */
export function rowsPerChunk(channels: number): number {
  return Math.max(1, Math.ceil(ELEMENTS_PER_CHUNK / channels));
}

/** Groups of four columns that make a chunk, for kernels that go down columns. */
export function columnsPerChunk(rows: number): number {
  return Math.max(4, Math.ceil(ELEMENTS_PER_CHUNK / rows / 4));
}
