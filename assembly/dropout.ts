// Dropout without masks: whether an element is kept is a pure function of its counter and the stream's
// two keys, so that backward computes it again. Kept elements are scaled by 1 / (1 - p).

import { laneNumbers, madd, randomBits4 } from "./simd";

/** 0 or 1 / (1 - p) for four neighbouring counters. */
// @ts-ignore: decorator
@inline
export function keepScale4(counter: u32, keyA: u32, keyB: u32, p: f32): v128 {
  const counters = i32x4.add(i32x4.splat(counter), laneNumbers());
  const bits = randomBits4(counters, i32x4.splat(keyA), i32x4.splat(keyB));
  const threshold = i32x4.splat(<u32> (<f64> p * 4294967296.0));
  return v128.and(i32x4.ge_u(bits, threshold), f32x4.splat(1 / (1 - p)));
}

/** y = dropout(x), elements 16 * [start, end) (x and y may be the same). */
export function dropout(
  start: i32,
  end: i32,
  y: usize,
  x: usize,
  p: f32,
  keyA: u32,
  keyB: u32,
): void {
  for (let i = <u32> start << 4; i < <u32> end << 4; i += 4) {
    const at = <usize> i << 2;
    v128.store(y + at, f32x4.mul(v128.load(x + at), keepScale4(i, keyA, keyB, p)));
  }
}

/** y = residual + dropout(x), elements 16 * [start, end). */
export function residual_dropout(
  start: i32,
  end: i32,
  y: usize,
  residual: usize,
  x: usize,
  p: f32,
  keyA: u32,
  keyB: u32,
): void {
  for (let i = <u32> start << 4; i < <u32> end << 4; i += 4) {
    const at = <usize> i << 2;
    const r = v128.load(residual + at), v = v128.load(x + at);
    v128.store(y + at, p > 0 ? madd(v, keepScale4(i, keyA, keyB, p), r) : f32x4.add(v, r));
  }
}
