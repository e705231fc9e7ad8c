// Root-mean-square normalisation over the last dimension (Zhang and Sennrich 2019): y = x * rstd * gamma.

import { madd, sumLanes } from "./simd";

/** Rows [start, end): y [N, C], and rstd [N] = 1 / sqrt(mean(x^2) + epsilon). C is a multiple of 4. */
export function rmsnorm_forward(
  start: i32,
  end: i32,
  y: usize,
  rstd: usize,
  x: usize,
  gamma: usize,
  channels: i32,
  epsilon: f32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    const row = x + <usize> n * bytes, out = y + <usize> n * bytes;
    let squares = f32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 16) {
      const value = v128.load(row + at);
      squares = madd(value, value, squares);
    }
    const inverse = <f32> (1.0 / sqrt<f64>(<f64> (sumLanes(squares) / <f32> channels + epsilon)));
    const r = f32x4.splat(inverse);
    for (let at: usize = 0; at < bytes; at += 16) {
      v128.store(out + at, f32x4.mul(f32x4.mul(v128.load(row + at), r), v128.load(gamma + at)));
    }
    store<f32>(rstd + <usize> (n << 2), inverse);
  }
}

/**
 * Rows [start, end): dx [N, C] += the gradient through the normalisation. With g = dy * gamma and
 * h = x * rstd: rstd * (g - h * mean(g * h)).
 */
export function rmsnorm_backward(
  start: i32,
  end: i32,
  dx: usize,
  dy: usize,
  x: usize,
  gamma: usize,
  rstd: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    const line = <usize> n * bytes;
    const r = v128.load32_splat(rstd + <usize> (n << 2));
    let sum = f32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 16) {
      const g = f32x4.mul(v128.load(dy + line + at), v128.load(gamma + at));
      sum = madd(g, f32x4.mul(v128.load(x + line + at), r), sum);
    }
    const average = f32x4.splat(sumLanes(sum) / <f32> channels);
    for (let at: usize = 0; at < bytes; at += 16) {
      const g = f32x4.mul(v128.load(dy + line + at), v128.load(gamma + at));
      const h = f32x4.mul(v128.load(x + line + at), r);
      const d = f32x4.sub(g, f32x4.mul(h, average));
      v128.store(dx + line + at, madd(d, r, v128.load(dx + line + at)));
    }
  }
}

/** Channels 4 * [start, end): dgamma [C] += sum over rows of dy * x * rstd. */
export function rmsnorm_backward_parameters(
  start: i32,
  end: i32,
  dgamma: usize,
  dy: usize,
  x: usize,
  rstd: usize,
  rows: i32,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let group = start; group < end; group++) {
    const at = <usize> (group << 4);
    let gamma = f32x4.splat(0);
    for (let n = 0; n < rows; n++) {
      const line = <usize> n * bytes + at;
      const r = v128.load32_splat(rstd + <usize> (n << 2));
      gamma = madd(v128.load(dy + line), f32x4.mul(v128.load(x + line), r), gamma);
    }
    v128.store(dgamma + at, f32x4.add(v128.load(dgamma + at), gamma));
  }
}
