// AdamW with its two moments in fewer bits than parameters and gradients. A block of both is widened into this
// thread's scratch, updated there by the kernel of f32, and narrowed again: memory is visited once.
//
// Rounding is stochastic: a number becomes one of its two neighbours with the probabilities that make the mean
// right. Rounded to the nearest, a moment would stand still once a step changes it by less than half a unit, as
// the 0.1 % of beta2 = 0.999 does. The bits come from counters, so that threads and resuming change nothing.
//
//   bf16: sixteen numbers lie like a row of a bf16 panel (see quantize).
//   int8: blocks of 256 numbers share a scale, their largest magnitude (Dettmers et al. 2022, "8-bit Optimizers via
//         Block-wise Quantization"). A code q stands for scale * (q / Q)^4 with q's sign, where Q is 127 for the mean
//         and 255 for the square, which has no sign. Their dynamic map has as many decades, but needs a table.

import { adamw } from "./adamw";
import { scratch } from "./gemm";
import { pairBf16, widenBf16 } from "./quantize";
import { laneNumbers, maxLanes, randomBits4 } from "./simd";

/** Numbers of a block. */
const BLOCK: i32 = 256;
const GROUPS: i32 = BLOCK / 16;
const LARGEST_MEAN: f32 = 127, LARGEST_SQUARE: f32 = 255;

/** Four floats as bf16 in high halves, up with the probability of `random` [0, 65536). NaN stays NaN. */
// @ts-ignore: decorator
@inline
function roundUpOrDown(x: v128, random: v128): v128 {
  const rounded = v128.bitselect(i32x4.add(x, random), x, f32x4.eq(x, x));
  return v128.and(rounded, i32x4.splat(0xffff0000));
}

/** Random bits of the four counters from `counter` on. */
// @ts-ignore: decorator
@inline
function bitsAt(counter: u32, keyA: u32, keyB: u32): v128 {
  const counters = i32x4.add(i32x4.splat(counter), laneNumbers());
  return randomBits4(counters, i32x4.splat(keyA), i32x4.splat(keyB));
}

// @ts-ignore: decorator
@inline
function lowHalf(bits: v128): v128 {
  return v128.and(bits, i32x4.splat(0xffff));
}

// @ts-ignore: decorator
@inline
function highHalf(bits: v128): v128 {
  return i32x4.shr_u(bits, 16);
}

/** Sixteen floats to bf16 by the eight counters from `counter` on. */
// @ts-ignore: decorator
@inline
function narrowSixteen(to: usize, from: usize, counter: u32, keyA: u32, keyB: u32): void {
  const a = bitsAt(counter, keyA, keyB), b = bitsAt(counter + 4, keyA, keyB);
  const x0 = roundUpOrDown(v128.load(from), lowHalf(a));
  const x1 = roundUpOrDown(v128.load(from, 16), lowHalf(b));
  const x2 = roundUpOrDown(v128.load(from, 32), highHalf(a));
  const x3 = roundUpOrDown(v128.load(from, 48), highHalf(b));
  v128.store(to, pairBf16(x0, x2));
  v128.store(to, pairBf16(x1, x3), 16);
}

/**
 * adamw with moments in bf16, elements 16 * [start, end). first: number of the first element of all four arrays
 * among those that the two keys' counters count.
 */
export function adamw_bf16(
  start: i32,
  end: i32,
  parameters: usize,
  gradients: usize,
  moments: usize,
  squares: usize,
  gradientScale: f32,
  beta1: f64,
  beta2: f64,
  keep: f32,
  stepSize: f32,
  rootScale: f32,
  epsilon: f32,
  first: u32,
  keyA: u32,
  keyB: u32,
): void {
  const m = scratch, v = scratch + <usize> (BLOCK << 2);
  for (let group = start; group < end; group += GROUPS) {
    const groups = min(GROUPS, end - group);
    const wide = <usize> group << 6, narrow = <usize> group << 5;
    widenBf16(m, moments + narrow, 0, groups);
    widenBf16(v, squares + narrow, 0, groups);
    adamw(
      0,
      groups,
      parameters + wide,
      gradients + wide,
      m,
      v,
      gradientScale,
      beta1,
      beta2,
      keep,
      stepSize,
      rootScale,
      epsilon,
    );
    for (let i = 0; i < groups; i++) {
      const to = narrow + <usize> (i << 5), from = <usize> (i << 6);
      const counter = first + (<u32> (group + i) << 4);
      narrowSixteen(moments + to, m + from, counter, keyA, keyB);
      narrowSixteen(squares + to, v + from, counter + 8, keyA, keyB);
    }
  }
}

/** adamw with moments in int8, blocks [start, end); moments, squares: codes; scales: a float for each block. */
export function adamw_int8(
  start: i32,
  end: i32,
  parameters: usize,
  gradients: usize,
  moments: usize,
  squares: usize,
  momentScales: usize,
  squareScales: usize,
  gradientScale: f32,
  beta1: f64,
  beta2: f64,
  keep: f32,
  stepSize: f32,
  rootScale: f32,
  epsilon: f32,
  first: u32,
  keyA: u32,
  keyB: u32,
): void {
  const m = scratch, v = scratch + <usize> (BLOCK << 2);
  for (let block = start; block < end; block++) {
    const codes = <usize> block << 8, wide = <usize> block << 10, scale = <usize> block << 2;
    decodeBlock(m, moments + codes, load<f32>(momentScales + scale), LARGEST_MEAN, true);
    decodeBlock(v, squares + codes, load<f32>(squareScales + scale), LARGEST_SQUARE, false);
    adamw(
      0,
      GROUPS,
      parameters + wide,
      gradients + wide,
      m,
      v,
      gradientScale,
      beta1,
      beta2,
      keep,
      stepSize,
      rootScale,
      epsilon,
    );
    const at = first + (<u32> block << 8);
    encodeBlock(moments + codes, momentScales + scale, m, LARGEST_MEAN, true, false, at, keyA, keyB);
    encodeBlock(
      squares + codes,
      squareScales + scale,
      v,
      LARGEST_SQUARE,
      false,
      false,
      at + 4,
      keyA,
      keyB,
    );
  }
}

/** scale * (q / largest)^4 with the sign of q. */
// @ts-ignore: decorator
@inline
function decoded(q: v128, inverse: v128, scale: v128): v128 {
  const t = f32x4.mul(f32x4.convert_i32x4_s(q), inverse);
  return f32x4.mul(f32x4.mul(f32x4.mul(f32x4.mul(t, t), t), f32x4.abs(t)), scale);
}

/** A block of codes to floats. */
// @ts-ignore: decorator
@inline
function decodeBlock(to: usize, codes: usize, scale: f32, largest: f32, signed: bool): void {
  const s = f32x4.splat(scale), inverse = f32x4.splat(1 / largest);
  for (let i: usize = 0; i < <usize> BLOCK; i += 16) {
    const q = v128.load(codes + i), at = to + (i << 2);
    const low = signed ? i16x8.extend_low_i8x16_s(q) : i16x8.extend_low_i8x16_u(q);
    const high = signed ? i16x8.extend_high_i8x16_s(q) : i16x8.extend_high_i8x16_u(q);
    v128.store(at, decoded(i32x4.extend_low_i16x8_s(low), inverse, s));
    v128.store(at, decoded(i32x4.extend_high_i16x8_s(low), inverse, s), 16);
    v128.store(at, decoded(i32x4.extend_low_i16x8_s(high), inverse, s), 32);
    v128.store(at, decoded(i32x4.extend_high_i16x8_s(high), inverse, s), 48);
  }
}

/**
 * Codes of four floats, none larger than the scale: of the two around a magnitude the upper one where `random`
 * [0, 65536) is below its share. Only zero becomes 0 without a sign: a square of 0 would let any mean explode.
 */
// @ts-ignore: decorator
@inline
function encoded(x: v128, inverse: v128, largest: f32, random: v128, signed: bool): v128 {
  const most = f32x4.splat(largest * largest * largest * largest);
  const exact = f32x4.mul(f32x4.mul(f32x4.abs(x), inverse), most);
  let q = i32x4.relaxed_trunc_f32x4_s(f32x4.sqrt(f32x4.sqrt(exact)));
  const root = f32x4.convert_i32x4_s(q), next = f32x4.add(root, f32x4.splat(1));
  const root2 = f32x4.mul(root, root), next2 = f32x4.mul(next, next);
  const below = f32x4.mul(root2, root2), above = f32x4.mul(next2, next2);
  const drawn = f32x4.mul(f32x4.convert_i32x4_s(random), f32x4.splat(<f32> (1.0 / 65536.0)));
  const isUp = f32x4.lt(f32x4.mul(drawn, f32x4.sub(above, below)), f32x4.sub(exact, below));
  q = i32x4.min_s(i32x4.sub(q, isUp), i32x4.splat(<i32> largest));
  if (!signed) {
    const isSome = f32x4.gt(x, f32x4.splat(0));
    return i32x4.max_s(q, v128.and(isSome, i32x4.splat(1)));
  }
  const sign = i32x4.shr_s(x, 31);
  return i32x4.sub(v128.xor(q, sign), sign);
}

/** A block of floats to codes; eight numbers take their random bits from four counters of eight, or are rounded. */
// @ts-ignore: decorator
@inline
function encodeBlock(
  codes: usize,
  scaleAt: usize,
  from: usize,
  largest: f32,
  signed: bool,
  nearest: bool,
  counter: u32,
  keyA: u32,
  keyB: u32,
): void {
  let highest = f32x4.splat(0);
  for (let i: usize = 0; i < <usize> (BLOCK << 2); i += 16) {
    highest = f32x4.max(highest, f32x4.abs(v128.load(from + i)));
  }
  const scale = maxLanes(highest);
  store<f32>(scaleAt, scale);
  // Below the least normal number 1 / scale would be infinite, and nothing is lost.
  const s = f32x4.splat(scale < 1.2e-38 ? 0 : 1 / scale);
  for (let i: u32 = 0; i < <u32> BLOCK; i += 16) {
    const at = from + <usize> (i << 2);
    const half = i32x4.splat(0x80008000);
    const a = nearest ? half : bitsAt(counter + i, keyA, keyB);
    const b = nearest ? half : bitsAt(counter + i + 8, keyA, keyB);
    const q0 = encoded(v128.load(at), s, largest, lowHalf(a), signed);
    const q1 = encoded(v128.load(at, 16), s, largest, highHalf(a), signed);
    const q2 = encoded(v128.load(at, 32), s, largest, lowHalf(b), signed);
    const q3 = encoded(v128.load(at, 48), s, largest, highHalf(b), signed);
    const low = i16x8.narrow_i32x4_s(q0, q1), high = i16x8.narrow_i32x4_s(q2, q3);
    const all = signed ? i8x16.narrow_i16x8_s(low, high) : i8x16.narrow_i16x8_u(low, high);
    v128.store(codes + <usize> i, all);
  }
}

/** Blocks [start, end) of codes to floats; signed != 0: of a mean. */
export function widen_moments(
  start: i32,
  end: i32,
  to: usize,
  codes: usize,
  scales: usize,
  signed: i32,
): void {
  for (let block = start; block < end; block++) {
    const scale = load<f32>(scales + <usize> (block << 2));
    const target = to + (<usize> block << 10), from = codes + (<usize> block << 8);
    if (signed) decodeBlock(target, from, scale, LARGEST_MEAN, true);
    else decodeBlock(target, from, scale, LARGEST_SQUARE, false);
  }
}

/** Blocks [start, end) of floats to the nearest codes. */
export function narrow_moments(
  start: i32,
  end: i32,
  codes: usize,
  scales: usize,
  from: usize,
  signed: i32,
): void {
  for (let block = start; block < end; block++) {
    const to = codes + (<usize> block << 8), scale = scales + <usize> (block << 2);
    const source = from + (<usize> block << 10);
    if (signed) encodeBlock(to, scale, source, LARGEST_MEAN, true, true, 0, 0, 0);
    else encodeBlock(to, scale, source, LARGEST_SQUARE, false, true, 0, 0, 0);
  }
}
