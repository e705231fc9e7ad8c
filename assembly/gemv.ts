// A few tokens times a weight: y [rows, out] = x [rows, in] W + bias. Decoding reads every weight once, so
// memory sets the pace; the panels are one sequential stream, and all rows use a panel while it is in cache.
// A row's result does not depend on the other rows. In f32 it has the same bytes as GEMM's.

import { DEPTH_BLOCK } from "./gemm";
import {
  activationBytes,
  GROUP,
  GROUP_BYTES,
  highBf16,
  lowBf16,
  panelBytesBf16,
  panelBytesInt8,
} from "./quantize";
import { madd } from "./simd";

/** y's 16 columns = a0..a3, or += behind the first block of the depth. */
// @ts-ignore: decorator
@inline
function finish(y: usize, add: bool, a0: v128, a1: v128, a2: v128, a3: v128): void {
  if (add) {
    const b0 = v128.load(y), b1 = v128.load(y, 16), b2 = v128.load(y, 32), b3 = v128.load(y, 48);
    a0 = f32x4.add(a0, b0), a1 = f32x4.add(a1, b1), a2 = f32x4.add(a2, b2), a3 = f32x4.add(a3, b3);
  }
  v128.store(y, a0);
  v128.store(y, a1, 16);
  v128.store(y, a2, 32);
  v128.store(y, a3, 48);
}

/** 16 floats that the sum begins from: the bias in the first block of the depth, else zeros. */
// @ts-ignore: decorator
@inline
function begin(bias: usize, add: bool, at: usize): v128 {
  return bias != 0 && !add ? v128.load(bias + at) : f32x4.splat(0);
}

/** One row by one f32 panel's block of `depth` inputs. */
function row1(y: usize, x: usize, w: usize, depth: i32, bias: usize, add: bool): void {
  let a0 = begin(bias, add, 0), a1 = begin(bias, add, 16);
  let a2 = begin(bias, add, 32), a3 = begin(bias, add, 48);
  for (const end = x + <usize> (depth << 2); x < end; x += 4) {
    const s = v128.load32_splat(x);
    a0 = madd(s, v128.load(w), a0);
    a1 = madd(s, v128.load(w, 16), a1);
    a2 = madd(s, v128.load(w, 32), a2);
    a3 = madd(s, v128.load(w, 48), a3);
    w += 64;
  }
  finish(y, add, a0, a1, a2, a3);
}

/** Two rows, `next` and `nextX` bytes apart in y and x. */
function row2(
  y: usize,
  next: usize,
  x: usize,
  nextX: usize,
  w: usize,
  depth: i32,
  bias: usize,
  add: bool,
): void {
  let a0 = begin(bias, add, 0), a1 = begin(bias, add, 16);
  let a2 = begin(bias, add, 32), a3 = begin(bias, add, 48);
  let b0 = a0, b1 = a1, b2 = a2, b3 = a3;
  for (const end = x + <usize> (depth << 2); x < end; x += 4) {
    const w0 = v128.load(w), w1 = v128.load(w, 16), w2 = v128.load(w, 32), w3 = v128.load(w, 48);
    const s = v128.load32_splat(x), t = v128.load32_splat(x + nextX);
    a0 = madd(s, w0, a0), a1 = madd(s, w1, a1), a2 = madd(s, w2, a2), a3 = madd(s, w3, a3);
    b0 = madd(t, w0, b0), b1 = madd(t, w1, b1), b2 = madd(t, w2, b2), b3 = madd(t, w3, b3);
    w += 64;
  }
  finish(y, add, a0, a1, a2, a3);
  finish(y + next, add, b0, b1, b2, b3);
}

/** Output panels [start, end) of y, whose rows are yBytes apart; W f32 in panels [ceil(out / 16), in, 16]. */
export function gemv(
  start: i32,
  end: i32,
  rows: i32,
  y: usize,
  yBytes: usize,
  x: usize,
  weight: usize,
  bias: usize,
  inputs: i32,
): void {
  const xBytes = <usize> (inputs << 2);
  for (let panel = start; panel < end; panel++) {
    const w = weight + <usize> panel * <usize> (inputs << 6);
    const out = y + <usize> (panel << 6), b = bias ? bias + <usize> (panel << 6) : 0;
    for (let k = 0; k < inputs; k += DEPTH_BLOCK) {
      const depth = min(DEPTH_BLOCK, inputs - k), block = w + <usize> (k << 6);
      let row = 0, to = out, from = x + <usize> (k << 2);
      for (; row + 2 <= rows; row += 2) {
        row2(to, yBytes, from, xBytes, block, depth, b, k > 0);
        to += 2 * yBytes, from += 2 * xBytes;
      }
      if (row < rows) row1(to, from, block, depth, b, k > 0);
    }
  }
}

/**
 * As row1, for a bf16 panel. Widening takes time, so the latency of a single sum would show: even and odd
 * inputs are summed apart.
 */
function row1Bf16(y: usize, x: usize, w: usize, depth: i32, bias: usize, add: bool): void {
  let a0 = begin(bias, add, 0), a1 = begin(bias, add, 16);
  let a2 = begin(bias, add, 32), a3 = begin(bias, add, 48);
  const zero = f32x4.splat(0);
  let b0 = zero, b1 = zero, b2 = zero, b3 = zero;
  for (const end = x + <usize> ((depth & ~1) << 2); x < end; x += 8) {
    const s = v128.load32_splat(x), v = v128.load(w), u = v128.load(w, 16);
    a0 = madd(s, lowBf16(v), a0), a1 = madd(s, lowBf16(u), a1);
    a2 = madd(s, highBf16(v), a2), a3 = madd(s, highBf16(u), a3);
    const t = v128.load32_splat(x, 4), p = v128.load(w, 32), q = v128.load(w, 48);
    b0 = madd(t, lowBf16(p), b0), b1 = madd(t, lowBf16(q), b1);
    b2 = madd(t, highBf16(p), b2), b3 = madd(t, highBf16(q), b3);
    w += 64;
  }
  if (depth & 1) {
    const s = v128.load32_splat(x), v = v128.load(w), u = v128.load(w, 16);
    a0 = madd(s, lowBf16(v), a0), a1 = madd(s, lowBf16(u), a1);
    a2 = madd(s, highBf16(v), a2), a3 = madd(s, highBf16(u), a3);
  }
  a0 = f32x4.add(a0, b0), a1 = f32x4.add(a1, b1), a2 = f32x4.add(a2, b2), a3 = f32x4.add(a3, b3);
  finish(y, add, a0, a1, a2, a3);
}

/** As gemv, for a bf16 weight. */
export function gemv_bf16(
  start: i32,
  end: i32,
  rows: i32,
  y: usize,
  yBytes: usize,
  x: usize,
  weight: usize,
  bias: usize,
  inputs: i32,
): void {
  const xBytes = <usize> (inputs << 2);
  for (let panel = start; panel < end; panel++) {
    const w = weight + <usize> panel * panelBytesBf16(inputs);
    const out = y + <usize> (panel << 6), b = bias ? bias + <usize> (panel << 6) : 0;
    for (let k = 0; k < inputs; k += DEPTH_BLOCK) {
      const depth = min(DEPTH_BLOCK, inputs - k), block = w + <usize> (k << 5);
      let to = out, from = x + <usize> (k << 2);
      for (let row = 0; row < rows; row++) {
        row1Bf16(to, from, block, depth, b, k > 0);
        to += yBytes, from += xBytes;
      }
    }
  }
}

/** sums += weights . activations, four columns by four inputs. */
// @ts-ignore: decorator
@inline
function dot(weights: v128, activations: v128, sums: v128): v128 {
  return i32x4.relaxed_dot_i8x16_i7x16_add_s(weights, activations, sums);
}

/** total += scale * (128 high + low) */
// @ts-ignore: decorator
@inline
function addGroup(scale: v128, high: v128, low: v128, total: v128): v128 {
  return madd(scale, f32x4.convert_i32x4_s(i32x4.add(i32x4.shl(high, 7), low)), total);
}

/** y's four columns = scale * (total - the offset's share) + bias */
// @ts-ignore: decorator
@inline
function finishInt8(y: usize, at: usize, share: usize, bias: usize, scale: v128, total: v128): void {
  const start = bias ? v128.load(bias + at) : f32x4.splat(0);
  v128.store(y + at, madd(scale, f32x4.sub(total, v128.load(share + at)), start));
}

/** One row of quantised activations by one int8 panel of `groups` groups. */
function row1Int8(y: usize, x: usize, padded: i32, w: usize, groups: i32, bias: usize): void {
  const zero = i32x4.splat(0);
  let t0 = zero, t1 = zero, t2 = zero, t3 = zero;
  let high = x + 16, low = high + padded;
  for (; groups > 0; groups--) {
    let h0 = zero, h1 = zero, h2 = zero, h3 = zero, l0 = zero, l1 = zero, l2 = zero, l3 = zero;
    let v = w + 32;
    for (const end = high + GROUP; high < end; high += 4, low += 4) {
      const p = v128.load32_splat(high), q = v128.load32_splat(low);
      const w0 = v128.load(v), w1 = v128.load(v, 16), w2 = v128.load(v, 32), w3 = v128.load(v, 48);
      h0 = dot(w0, p, h0), h1 = dot(w1, p, h1), h2 = dot(w2, p, h2), h3 = dot(w3, p, h3);
      l0 = dot(w0, q, l0), l1 = dot(w1, q, l1), l2 = dot(w2, q, l2), l3 = dot(w3, q, l3);
      v += 64;
    }
    const s = v128.load(w), u = v128.load(w, 16);
    t0 = addGroup(lowBf16(s), h0, l0, t0);
    t1 = addGroup(lowBf16(u), h1, l1, t1);
    t2 = addGroup(highBf16(s), h2, l2, t2);
    t3 = addGroup(highBf16(u), h3, l3, t3);
    w += GROUP_BYTES;
  }
  const scale = v128.load32_splat(x);
  finishInt8(y, 0, w, bias, scale, t0);
  finishInt8(y, 16, w, bias, scale, t1);
  finishInt8(y, 32, w, bias, scale, t2);
  finishInt8(y, 48, w, bias, scale, t3);
}

/** As gemv, for an int8 weight and rows of activations from quantize_rows. */
export function gemv_int8(
  start: i32,
  end: i32,
  rows: i32,
  y: usize,
  yBytes: usize,
  x: usize,
  weight: usize,
  bias: usize,
  inputs: i32,
): void {
  const groups = (inputs + GROUP - 1) / GROUP, padded = groups * GROUP;
  const xBytes = activationBytes(inputs), panelBytes = panelBytesInt8(inputs);
  for (let panel = start; panel < end; panel++) {
    const w = weight + <usize> panel * panelBytes;
    const b = bias ? bias + <usize> (panel << 6) : 0;
    let to = y + <usize> (panel << 6), from = x;
    for (let row = 0; row < rows; row++) {
      row1Int8(to, from, padded, w, groups, b);
      to += yBytes, from += xBytes;
    }
  }
}
