// Plain arrays of bf16, sixteen numbers like a row of a bf16 panel: what is kept long and read seldom.

import type { Tensor } from "./arena.ts";
import { checkShape } from "./check.ts";
import { ELEMENTS_PER_CHUNK, groups } from "./chunks.ts";
import type { Runtime } from "./runtime.ts";

/** to (bf16) = from (f32), each number rounded to the nearest, ties to even. */
export function narrow(runtime: Runtime, to: Tensor, from: Tensor): void {
  move(runtime, "narrow_bf16", to, from, to);
}

/** to (f32) = from (bf16). */
export function widen(runtime: Runtime, to: Tensor, from: Tensor): void {
  move(runtime, "widen_bf16", to, from, from);
}

function move(runtime: Runtime, kernel: string, to: Tensor, from: Tensor, half: Tensor): void {
  checkShape(`${kernel} to`, to, from.shape);
  if (half.type !== "bf16" || (half === to ? from : to).type !== "f32") {
    throw new TypeError(`${kernel}: from ${from.type} to ${to.type}`);
  }
  const chunk = ELEMENTS_PER_CHUNK / 16;
  runtime.pool.run(kernel, groups(from), chunk, to.pointer, from.pointer, 1);
}
