// How AdamW's moments are stored: as f32, as bf16, or as int8 in blocks with a scale each (assembly/moments.ts).

import { checkMultiple } from "./check.ts";
import type { Runtime } from "./runtime.ts";

export const MOMENT_FORMATS = ["f32", "bf16", "int8"] as const;
export type MomentFormat = typeof MOMENT_FORMATS[number];

/** One of AdamW's two moments in memory, of numbers that begin a group of 16, in int8 a block. */
export interface Moments {
  readonly format: MomentFormat;
  readonly pointer: number;
  /** int8: address of the blocks' scales, f32. */
  readonly scales: number;
}

/** Numbers of int8 that share a scale. */
export const MOMENT_BLOCK = 256;

/** Numbers that begin together: a chunk of a kernel holds whole ones, and so does a tensor. */
export function momentGroup(format: MomentFormat): number {
  return format === "int8" ? MOMENT_BLOCK : 16;
}

/** Bytes of `length` moments, in int8 without their scales. */
export function momentBytes(format: MomentFormat, length: number): number {
  return length * { f32: 4, bf16: 2, int8: 1 }[format];
}

/** The moments from number `start` on. */
export function momentsFrom({ format, pointer, scales }: Moments, start: number): Moments {
  checkMultiple("moments start", start, momentGroup(format));
  return {
    format,
    pointer: pointer + momentBytes(format, start),
    scales: scales + start / MOMENT_BLOCK * 4,
  };
}

/** Blocks that a thread takes at a time, of 16,384 numbers. */
const BLOCKS_PER_CHUNK = 64;

/** Floats at `to` = `length` moments. isMean: they are means, which have a sign, not squares. */
export function widenMoments(
  runtime: Runtime,
  to: number,
  { format, pointer, scales }: Moments,
  length: number,
  isMean: boolean,
): void {
  checkMultiple("widenMoments length", length, momentGroup(format));
  const sizes = [length / MOMENT_BLOCK, BLOCKS_PER_CHUNK] as const;
  if (format === "int8") {
    runtime.pool.run("widen_moments", ...sizes, to, pointer, scales, Number(isMean));
  } else if (format === "bf16") {
    runtime.pool.run("widen_bf16", length / 16, 1024, to, pointer, 1);
  } else copyFloats(runtime, to, pointer, length);
}

/** `length` moments = the floats at `from`, as near as the format allows. What it holds already stays to the byte. */
export function narrowMoments(
  runtime: Runtime,
  { format, pointer, scales }: Moments,
  from: number,
  length: number,
  isMean: boolean,
): void {
  checkMultiple("narrowMoments length", length, momentGroup(format));
  const sizes = [length / MOMENT_BLOCK, BLOCKS_PER_CHUNK] as const;
  if (format === "int8") {
    runtime.pool.run("narrow_moments", ...sizes, pointer, scales, from, Number(isMean));
  } else if (format === "bf16") {
    runtime.pool.run("narrow_bf16", length / 16, 1024, pointer, from, 1);
  } else copyFloats(runtime, pointer, from, length);
}

function copyFloats(runtime: Runtime, to: number, from: number, length: number): void {
  const floats = (pointer: number) => runtime.f32({ pointer, shape: [length], type: "f32" });
  floats(to).set(floats(from));
}
