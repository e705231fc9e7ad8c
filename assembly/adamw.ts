// AdamW (Loshchilov and Hutter 2019) in one visit of every element, the sums that go before it, and the
// seeded normal numbers that parameters start from.

import { flush, laneNumbers, LEAST_MOMENT, madd, randomBits4, sumLanes } from "./simd";

/** Elements that one partial sum covers: fixed, so that threads do not change the order of sums. */
const SUM_BLOCK: u32 = 65536;

/**
 * Elements 16 * [start, end), PyTorch's AdamW with decoupled decay:
 *   g *= gradientScale; m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2
 *   p = p * keep - stepSize * m / (sqrt(v) * rootScale + epsilon); g = 0
 * keep: 1 - lr * decay. stepSize: lr / (1 - beta1^t). rootScale: 1 / sqrt(1 - beta2^t).
 */
export function adamw(
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
): void {
  const scale = f32x4.splat(gradientScale);
  // 1 - beta in 64 bits: from an f32 beta2 of 0.999 it would be off by 1.3e-5 of itself.
  const rise1 = f32x4.splat(<f32> (1 - beta1)), rise2 = f32x4.splat(<f32> (1 - beta2));
  const b2 = f32x4.splat(<f32> beta2);
  const k = f32x4.splat(keep), s = f32x4.splat(stepSize);
  const root = f32x4.splat(rootScale), e = f32x4.splat(epsilon), zero = f32x4.splat(0);
  const least = f32x4.splat(LEAST_MOMENT);
  for (let at = <usize> start << 6; at < <usize> end << 6; at += 16) {
    const g = f32x4.mul(v128.load(gradients + at), scale);
    v128.store(gradients + at, zero);
    let m = v128.load(moments + at);
    m = flush(madd(f32x4.sub(g, m), rise1, m), least);
    v128.store(moments + at, m);
    const squared = madd(f32x4.mul(g, g), rise2, f32x4.mul(v128.load(squares + at), b2));
    const v = flush(squared, least);
    v128.store(squares + at, v);
    const step = f32x4.div(f32x4.mul(m, s), madd(f32x4.sqrt(v), root, e));
    v128.store(parameters + at, f32x4.sub(f32x4.mul(v128.load(parameters + at), k), step));
  }
}

/** Elements 16 * [start, end): to = keep * to + (1 - keep) * from. */
export function average(start: i32, end: i32, to: usize, from: usize, keep: f32): void {
  const k = f32x4.splat(keep), rest = f32x4.splat(1 - keep);
  for (let at = <usize> start << 6; at < <usize> end << 6; at += 16) {
    const value = f32x4.mul(v128.load(from + at), rest);
    v128.store(to + at, keep == 0 ? value : madd(v128.load(to + at), k, value));
  }
}

/** results[b] (f64) = sum of squares of block b of x [count], blocks [start, end), count % 16 == 0. */
export function sum_of_squares(start: i32, end: i32, results: usize, x: usize, count: u32): void {
  for (let block = start; block < end; block++) {
    const first = <u32> block * SUM_BLOCK;
    const last = min(count, first + SUM_BLOCK);
    let total: f64 = 0;
    // 1,024 elements in f32 lanes, then into f64: the rounding error stays below 1e-6 relative.
    for (let from = first; from < last; from += 1024) {
      let s0 = f32x4.splat(0), s1 = s0, s2 = s0, s3 = s0;
      const until = x + (<usize> min(last, from + 1024) << 2);
      for (let at = x + (<usize> from << 2); at < until; at += 64) {
        const a = v128.load(at), b = v128.load(at, 16);
        const c = v128.load(at, 32), d = v128.load(at, 48);
        s0 = madd(a, a, s0), s1 = madd(b, b, s1);
        s2 = madd(c, c, s2), s3 = madd(d, d, s3);
      }
      total += <f64> sumLanes(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
    }
    store<f64>(results + <usize> (block << 3), total);
  }
}

/** Columns 4 * [start, end): out [columns] += sum over the rows of x [rows, columns]: a bias gradient. */
export function column_sums(
  start: i32,
  end: i32,
  out: usize,
  x: usize,
  rows: i32,
  columns: i32,
): void {
  const bytes = <usize> (columns << 2);
  for (let group = start; group < end; group++) {
    const at = <usize> (group << 4);
    let sum = f32x4.splat(0);
    let from = x + at;
    for (let n = 0; n < rows; n++) {
      sum = f32x4.add(sum, v128.load(from));
      from += bytes;
    }
    v128.store(out + at, f32x4.add(v128.load(out + at), sum));
  }
}

/** ln(x) for normal x > 0, relative error below 1e-6 (atanh series on [1 / sqrt 2, sqrt 2]). */
// @ts-ignore: decorator
@inline
function log4(x: v128): v128 {
  const shifted = i32x4.sub(x, i32x4.splat(0x3f3504f3));
  const exponent = i32x4.shr_s(shifted, 23);
  const mantissa = i32x4.sub(x, i32x4.shl(exponent, 23));
  const one = f32x4.splat(1);
  const t = f32x4.div(f32x4.sub(mantissa, one), f32x4.add(mantissa, one));
  const t2 = f32x4.mul(t, t);
  let p = f32x4.splat(0.2857142857); // 2 / 7
  p = madd(p, t2, f32x4.splat(0.4));
  p = madd(p, t2, f32x4.splat(0.6666666667));
  p = madd(p, t2, f32x4.splat(2));
  return madd(f32x4.convert_i32x4_s(exponent), f32x4.splat(0.69314718), f32x4.mul(t, p));
}

/**
 * x = deviation * normal(0, 1), elements 16 * [start, end): the inverse of the error function at
 * counter-based uniform numbers, by the polynomials of Giles, "Approximating the erfinv function" (2010).
 */
export function normal(
  start: i32,
  end: i32,
  x: usize,
  deviation: f32,
  keyA: u32,
  keyB: u32,
): void {
  const a = i32x4.splat(keyA), b = i32x4.splat(keyB);
  for (let i = <u32> start << 4; i < <u32> end << 4; i += 4) {
    const bits = randomBits4(i32x4.add(i32x4.splat(i), laneNumbers()), a, b);
    // An odd 24-bit number over 2^24: uniform in (0, 2), never 0, then shifted to (-1, 1).
    const odd = v128.or(i32x4.shr_u(bits, 8), i32x4.splat(1));
    const u = f32x4.sub(
      f32x4.mul(f32x4.convert_i32x4_s(odd), f32x4.splat(<f32> (2.0 / 16777216.0))),
      f32x4.splat(1),
    );
    const one = f32x4.splat(1);
    const w = f32x4.neg(log4(f32x4.mul(f32x4.sub(one, u), f32x4.add(one, u))));
    const near = centre(f32x4.sub(w, f32x4.splat(2.5)));
    const far = tail(f32x4.sub(f32x4.sqrt(w), f32x4.splat(3)));
    const p = v128.bitselect(near, far, f32x4.lt(w, f32x4.splat(5)));
    const scale = f32x4.splat(<f32> (<f64> deviation * 1.4142135623730951));
    v128.store(x + (<usize> i << 2), f32x4.mul(f32x4.mul(p, u), scale));
  }
}

// @ts-ignore: decorator
@inline
function centre(w: v128): v128 {
  let p = f32x4.splat(2.81022636e-08);
  p = madd(p, w, f32x4.splat(3.43273939e-07));
  p = madd(p, w, f32x4.splat(-3.5233877e-06));
  p = madd(p, w, f32x4.splat(-4.39150654e-06));
  p = madd(p, w, f32x4.splat(0.00021858087));
  p = madd(p, w, f32x4.splat(-0.00125372503));
  p = madd(p, w, f32x4.splat(-0.00417768164));
  p = madd(p, w, f32x4.splat(0.246640727));
  return madd(p, w, f32x4.splat(1.50140941));
}

// @ts-ignore: decorator
@inline
function tail(w: v128): v128 {
  let p = f32x4.splat(-0.000200214257);
  p = madd(p, w, f32x4.splat(0.000100950558));
  p = madd(p, w, f32x4.splat(0.00134934322));
  p = madd(p, w, f32x4.splat(-0.00367342844));
  p = madd(p, w, f32x4.splat(0.00573950773));
  p = madd(p, w, f32x4.splat(-0.0076224613));
  p = madd(p, w, f32x4.splat(0.00943887047));
  p = madd(p, w, f32x4.splat(1.00167406));
  return madd(p, w, f32x4.splat(2.83297682));
}
