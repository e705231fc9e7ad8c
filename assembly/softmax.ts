// Softmax over rows, and softmax fused with cross-entropy: loss and dlogits in one visit of a row.

import { exp4, flush, madd, maxLanes, sumLanes } from "./simd";

/** Gradients of logits nearer to 0 are none: AdamW's epsilon makes nothing of them, and their squares leave f32's range. */
const LEAST_GRADIENT: f32 = 1e-18;

/** Largest of the first `count` elements; their sum too when `total` is asked for by the caller. */
export function highestOf(row: usize, count: i32): f32 {
  let best = f32x4.splat(-Infinity), rest: f32 = -Infinity;
  let i = 0;
  // pmax(a, b) is a < b ? b : a: with NaN in b it keeps a, with NaN in a it stays NaN.
  for (; i + 4 <= count; i += 4) best = f32x4.pmax(v128.load(row + <usize> (i << 2)), best);
  for (; i < count; i++) rest = max(rest, load<f32>(row + <usize> (i << 2)));
  return max(maxLanes(best), rest);
}

/** Rows [start, end) of [rows, stride]: the first `count` elements become softmax(row), in place. */
export function softmax(start: i32, end: i32, x: usize, count: i32, stride: i32): void {
  for (let n = start; n < end; n++) {
    const row = x + <usize> n * <usize> (stride << 2);
    const total = exponentials(row, row, count, highestOf(row, count));
    scaleRow(row, count, 1 / total);
  }
}

/** y = exp(x - highest) for `count` elements; returns their sum. */
function exponentials(y: usize, x: usize, count: i32, highest: f32): f32 {
  const h = f32x4.splat(highest);
  let sums = f32x4.splat(0), rest: f32 = 0;
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize> (i << 2);
    const e = exp4(f32x4.sub(v128.load(x + at), h));
    sums = f32x4.add(sums, e);
    v128.store(y + at, e);
  }
  for (; i < count; i++) {
    const at = <usize> (i << 2);
    const e = f32x4.extract_lane(exp4(f32x4.sub(v128.load32_splat(x + at), h)), 0);
    rest += e;
    store<f32>(y + at, e);
  }
  return sumLanes(sums) + rest;
}

export function scaleRow(row: usize, count: i32, scale: f32): void {
  const s = f32x4.splat(scale);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = row + <usize> (i << 2);
    v128.store(at, f32x4.mul(v128.load(at), s));
  }
  for (; i < count; i++) {
    const at = row + <usize> (i << 2);
    store<f32>(at, load<f32>(at) * scale);
  }
}

/** Sum of a row, in 64 bits: label smoothing multiplies it by a small number, but it may be long. */
export function sumOf(row: usize, count: i32): f64 {
  let low = f64x2.splat(0), high = f64x2.splat(0), rest: f64 = 0;
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const v = v128.load(row + <usize> (i << 2));
    low = f64x2.add(low, f64x2.promote_low_f32x4(v));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 0, 1)));
  }
  for (; i < count; i++) rest += <f64> load<f32>(row + <usize> (i << 2));
  const both = f64x2.add(low, high);
  return f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1) + rest;
}

/**
 * Rows [start, end) of logits [rows, stride], of which the first V count. With q the targets smoothed by
 * s (Szegedy et al. 2016; 1 - s on the target, s / V on every class, as PyTorch has it):
 *   results [rows, 3]: cross-entropy with q, without smoothing, and 1 where no logit is larger than the target's
 *   gradient != 0: logits become (softmax - q) * weights[row] * scale, zeros from V to stride
 * A row without a target (-1) gets zeros.
 */
export function cross_entropy(
  start: i32,
  end: i32,
  logits: usize,
  targets: usize,
  weights: usize,
  results: usize,
  V: i32,
  stride: i32,
  smoothing: f32,
  scale: f32,
  gradient: i32,
): void {
  for (let n = start; n < end; n++) {
    const row = logits + <usize> n * <usize> (stride << 2);
    const result = results + <usize> (n * 12);
    const target = load<i32>(targets + <usize> (n << 2));
    if (target < 0) {
      memory.fill(result, 0, 12);
      if (gradient) memory.fill(row, 0, <usize> (stride << 2));
      continue;
    }
    const atTarget = row + <usize> (target << 2);
    const z = <f64> load<f32>(atTarget);
    const highest = highestOf(row, V);
    const average = smoothing > 0 ? sumOf(row, V) / <f64> V : 0;
    // Without a gradient the logits are not needed any more either.
    const total = exponentials(row, row, V, highest);
    const logSum = <f64> highest + Math.log(<f64> total);
    const s = <f64> smoothing;
    store<f32>(result, <f32> (logSum - (1 - s) * z - s * average));
    store<f32>(result, <f32> (logSum - z), 4);
    store<f32>(result, z == <f64> highest ? 1 : 0, 8);
    if (!gradient) continue;
    const factor = load<f32>(weights + <usize> (n << 2)) * scale;
    gradientRow(row, V, factor / total, -factor * smoothing / <f32> V);
    store<f32>(atTarget, load<f32>(atTarget) - factor * (1 - smoothing));
    memory.fill(row + <usize> (V << 2), 0, <usize> (stride - V << 2));
  }
}

/** A gradient of a logit, which is 0 where it is nothing; flush has four of them. */
// @ts-ignore: decorator
@inline
function gradientOf(value: f32): f32 {
  return abs(value) < LEAST_GRADIENT ? 0 : value;
}

/** row = row * scale + shift, and 0 where that is nothing. */
export function gradientRow(row: usize, count: i32, scale: f32, shift: f32): void {
  const a = f32x4.splat(scale), b = f32x4.splat(shift), least = f32x4.splat(LEAST_GRADIENT);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = row + <usize> (i << 2);
    v128.store(at, flush(madd(v128.load(at), a, b), least));
  }
  for (; i < count; i++) {
    const at = row + <usize> (i << 2);
    store<f32>(at, gradientOf(load<f32>(at) * scale + shift));
  }
}

/**
 * Agreement of pairs (Liang et al. 2021, "R-Drop"): rows n in [start, end) and n + pairs of logits [2 pairs, stride],
 * of which the first V count, are two predictions p and q of one token.
 *   results [pairs]: (KL(p, q) + KL(q, p)) / 2
 *   gradient [2 pairs, stride]: its gradient by both rows' logits, times weights[n] * scale, zeros from V to stride
 */
export function agreement(
  start: i32,
  end: i32,
  gradient: usize,
  results: usize,
  logits: usize,
  weights: usize,
  pairs: i32,
  V: i32,
  stride: i32,
  scale: f32,
): void {
  const bytes = <usize> (stride << 2);
  for (let n = start; n < end; n++) {
    const a = logits + <usize> n * bytes, b = logits + <usize> (n + pairs) * bytes;
    const p = gradient + <usize> n * bytes, q = gradient + <usize> (n + pairs) * bytes;
    const highestA = highestOf(a, V), highestB = highestOf(b, V);
    const totalA = exponentials(p, a, V, highestA), totalB = exponentials(q, b, V, highestB);
    scaleRow(p, V, 1 / totalA);
    scaleRow(q, V, 1 / totalB);
    // log p - log q = a - b - shift
    const shift = <f32> (<f64> highestA - <f64> highestB + Math.log(<f64> totalA / <f64> totalB));
    const forward = meanDifference(p, a, b, V, shift), reverse = -meanDifference(q, a, b, V, shift);
    store<f32>(results + <usize> (n << 2), <f32> (0.5 * (forward + reverse)));
    const factor: f32 = <f32> 0.5 * load<f32>(weights + <usize> (n << 2)) * scale;
    agreementRows(p, q, a, b, V, shift, <f32> forward, <f32> reverse, factor);
    memory.fill(p + <usize> (V << 2), 0, <usize> (stride - V << 2));
    memory.fill(q + <usize> (V << 2), 0, <usize> (stride - V << 2));
  }
}

/** Sum of p (a - b - shift), in 64 bits: what is left of large terms is small. */
function meanDifference(p: usize, a: usize, b: usize, count: i32, shift: f32): f64 {
  const s = f32x4.splat(shift);
  let low = f64x2.splat(0), high = f64x2.splat(0), rest: f64 = 0;
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize> (i << 2);
    const d = f32x4.sub(f32x4.sub(v128.load(a + at), v128.load(b + at)), s);
    const v = f32x4.mul(v128.load(p + at), d);
    low = f64x2.add(low, f64x2.promote_low_f32x4(v));
    high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f32>(v, v, 2, 3, 0, 1)));
  }
  for (; i < count; i++) {
    const at = <usize> (i << 2);
    rest += <f64> (load<f32>(p + at) * (load<f32>(a + at) - load<f32>(b + at) - shift));
  }
  const both = f64x2.add(low, high);
  return f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1) + rest;
}

/** p = factor (p (d - forward) + p - q) and q = factor (q (-d - reverse) + q - p), with d = a - b - shift; 0 where that is nothing */
function agreementRows(
  p: usize,
  q: usize,
  a: usize,
  b: usize,
  count: i32,
  shift: f32,
  forward: f32,
  reverse: f32,
  factor: f32,
): void {
  const s = f32x4.splat(shift), f = f32x4.splat(factor);
  const c = f32x4.splat(1 - forward), r = f32x4.splat(1 - reverse);
  const least = f32x4.splat(LEAST_GRADIENT);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize> (i << 2);
    const d = f32x4.sub(f32x4.sub(v128.load(a + at), v128.load(b + at)), s);
    const x = v128.load(p + at), y = v128.load(q + at);
    const gp = f32x4.mul(f, f32x4.sub(f32x4.mul(x, f32x4.add(d, c)), y));
    const gq = f32x4.mul(f, f32x4.sub(f32x4.mul(y, f32x4.sub(r, d)), x));
    v128.store(p + at, flush(gp, least));
    v128.store(q + at, flush(gq, least));
  }
  for (; i < count; i++) {
    const at = <usize> (i << 2);
    const d = load<f32>(a + at) - load<f32>(b + at) - shift;
    const x = load<f32>(p + at), y = load<f32>(q + at);
    store<f32>(p + at, gradientOf(factor * (x * (d + (1 - forward)) - y)));
    store<f32>(q + at, gradientOf(factor * (y * ((1 - reverse) - d) - x)));
  }
}
