// Layer normalisation over the last dimension (Ba et al. 2016): y = (x - mean) * rstd * gamma + beta.

import { madd, sumLanes } from "./simd";

/**
 * Rows [start, end): y [N, C], and mean [N] and rstd [N] for backward. C is a multiple of 4.
 * rstd = 1 / sqrt(variance + epsilon), the variance in two passes.
 */
export function layernorm_forward(
  start: i32,
  end: i32,
  y: usize,
  mean: usize,
  rstd: usize,
  x: usize,
  gamma: usize,
  beta: usize,
  channels: i32,
  epsilon: f32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    const row = x + <usize> n * bytes, out = y + <usize> n * bytes;
    let sum = f32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 16) sum = f32x4.add(sum, v128.load(row + at));
    const average = sumLanes(sum) / <f32> channels;
    const m = f32x4.splat(average);
    let squares = f32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 16) {
      const d = f32x4.sub(v128.load(row + at), m);
      squares = madd(d, d, squares);
    }
    const inverse = <f32> (1.0 / sqrt<f64>(<f64> (sumLanes(squares) / <f32> channels + epsilon)));
    const r = f32x4.splat(inverse);
    for (let at: usize = 0; at < bytes; at += 16) {
      const normal = f32x4.mul(f32x4.sub(v128.load(row + at), m), r);
      v128.store(out + at, madd(normal, v128.load(gamma + at), v128.load(beta + at)));
    }
    store<f32>(mean + <usize> (n << 2), average);
    store<f32>(rstd + <usize> (n << 2), inverse);
  }
}

/**
 * Rows [start, end): dx [N, C] += the gradient through the normalisation. With g = dy * gamma and
 * h the normalised x: rstd * (g - mean(g) - h * mean(g * h)).
 */
export function layernorm_backward(
  start: i32,
  end: i32,
  dx: usize,
  dy: usize,
  x: usize,
  gamma: usize,
  mean: usize,
  rstd: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    const line = <usize> n * bytes;
    const m = v128.load32_splat(mean + <usize> (n << 2));
    const r = v128.load32_splat(rstd + <usize> (n << 2));
    let sum = f32x4.splat(0), sumNormal = f32x4.splat(0);
    for (let at: usize = 0; at < bytes; at += 16) {
      const g = f32x4.mul(v128.load(dy + line + at), v128.load(gamma + at));
      const h = f32x4.mul(f32x4.sub(v128.load(x + line + at), m), r);
      sum = f32x4.add(sum, g);
      sumNormal = madd(g, h, sumNormal);
    }
    const averageG = f32x4.splat(sumLanes(sum) / <f32> channels);
    const averageGH = f32x4.splat(sumLanes(sumNormal) / <f32> channels);
    for (let at: usize = 0; at < bytes; at += 16) {
      const g = f32x4.mul(v128.load(dy + line + at), v128.load(gamma + at));
      const h = f32x4.mul(f32x4.sub(v128.load(x + line + at), m), r);
      const d = f32x4.sub(f32x4.sub(g, averageG), f32x4.mul(h, averageGH));
      v128.store(dx + line + at, madd(d, r, v128.load(dx + line + at)));
    }
  }
}

/** Channels 4 * [start, end): dgamma [C] += sum over rows of dy * h, dbeta [C] += sum of dy. */
export function layernorm_backward_parameters(
  start: i32,
  end: i32,
  dgamma: usize,
  dbeta: usize,
  dy: usize,
  x: usize,
  mean: usize,
  rstd: usize,
  rows: i32,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let group = start; group < end; group++) {
    const at = <usize> (group << 4);
    let gamma = f32x4.splat(0), beta = f32x4.splat(0);
    for (let n = 0; n < rows; n++) {
      const line = <usize> n * bytes + at;
      const m = v128.load32_splat(mean + <usize> (n << 2));
      const r = v128.load32_splat(rstd + <usize> (n << 2));
      const d = v128.load(dy + line);
      gamma = madd(d, f32x4.mul(f32x4.sub(v128.load(x + line), m), r), gamma);
      beta = f32x4.add(beta, d);
    }
    v128.store(dgamma + at, f32x4.add(v128.load(dgamma + at), gamma));
    v128.store(dbeta + at, f32x4.add(v128.load(dbeta + at), beta));
  }
}
