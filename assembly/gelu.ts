// GELU (Hendrycks and Gimpel 2016), exact (erf) and by tanh as GPT-2 has it, forward and backward.

import { exp4, madd, nmadd } from "./simd";

/**
 * Phi(-|x|), the normal distribution's lower tail, absolute error below 1.5e-7:
 * Abramowitz and Stegun 7.1.26 with z = |x| / sqrt(2).
 */
// @ts-ignore: decorator
@inline
function lowerTail(absolute: v128, density: v128): v128 {
  const z = f32x4.mul(absolute, f32x4.splat(0.70710678));
  const one = f32x4.splat(1);
  const t = f32x4.div(one, madd(z, f32x4.splat(0.3275911), one));
  let p = f32x4.splat(1.061405429);
  p = madd(p, t, f32x4.splat(-1.453152027));
  p = madd(p, t, f32x4.splat(1.421413741));
  p = madd(p, t, f32x4.splat(-0.284496736));
  p = madd(p, t, f32x4.splat(0.254829592));
  return f32x4.mul(f32x4.mul(f32x4.mul(p, t), density), f32x4.splat(0.5));
}

/** exp(-x^2 / 2) */
// @ts-ignore: decorator
@inline
function bell(x: v128): v128 {
  return exp4(f32x4.mul(f32x4.mul(x, x), f32x4.splat(-0.5)));
}

/** x * Phi(x) = max(x, 0) - |x| * Phi(-|x|), absolute error below 4e-7 for |x| < 5. */
// @ts-ignore: decorator
@inline
function exact(x: v128): v128 {
  const absolute = f32x4.abs(x);
  return nmadd(absolute, lowerTail(absolute, bell(x)), f32x4.pmax(x, f32x4.splat(0)));
}

/** Phi(x) + x * phi(x) */
// @ts-ignore: decorator
@inline
function exactSlope(x: v128): v128 {
  const b = bell(x), tail = lowerTail(f32x4.abs(x), b);
  const negative = f32x4.lt(x, f32x4.splat(0));
  const phi = v128.bitselect(tail, f32x4.sub(f32x4.splat(1), tail), negative);
  return madd(f32x4.mul(x, f32x4.splat(0.39894228)), b, phi);
}

// The tanh form: x * (1 + tanh(u)) / 2 = x / (1 + exp(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3).
/** 1 / (1 + exp(-2u)) */
// @ts-ignore: decorator
@inline
function gate(x: v128): v128 {
  const squared = f32x4.mul(x, x), one = f32x4.splat(1);
  const inner = madd(squared, f32x4.splat(-0.0713548163), f32x4.splat(-1.5957691216));
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.mul(x, inner))));
}

// @ts-ignore: decorator
@inline
function tanhSlope(x: v128): v128 {
  const s = gate(x);
  const inner = madd(f32x4.mul(x, x), f32x4.splat(0.2140644488), f32x4.splat(1.5957691216));
  const curve = f32x4.mul(f32x4.mul(x, s), f32x4.sub(f32x4.splat(1), s));
  return madd(curve, inner, s);
}

/** y = GELU(x), elements 16 * [start, end); approximate != 0 takes the tanh form. */
export function gelu_forward(start: i32, end: i32, y: usize, x: usize, approximate: i32): void {
  for (let at = <usize> start << 6; at < <usize> end << 6; at += 16) {
    const v = v128.load(x + at);
    v128.store(y + at, approximate ? f32x4.mul(v, gate(v)) : exact(v));
  }
}

/** dx = dy * GELU'(x), elements 16 * [start, end) (dx may be dy). */
export function gelu_backward(
  start: i32,
  end: i32,
  dx: usize,
  dy: usize,
  x: usize,
  approximate: i32,
): void {
  for (let at = <usize> start << 6; at < <usize> end << 6; at += 16) {
    const v = v128.load(x + at);
    const slope = approximate ? tanhSlope(v) : exactSlope(v);
    v128.store(dx + at, f32x4.mul(v128.load(dy + at), slope));
  }
}
