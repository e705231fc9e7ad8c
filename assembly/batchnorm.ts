// Normalisation of each channel (Ioffe and Szegedy 2015): y = (x - mean) * rstd * gamma + beta. Mean and rstd
// are given, one a channel; the gradient is that of batch renormalisation (Ioffe 2017).

import { madd } from "./simd";

/** Rows [start, end): y [N, C]. mean, rstd, gamma and beta are [C]; C is a multiple of 4. */
export function batchnorm_forward(
  start: i32,
  end: i32,
  y: usize,
  x: usize,
  mean: usize,
  rstd: usize,
  gamma: usize,
  beta: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    const line = <usize> n * bytes;
    for (let at: usize = 0; at < bytes; at += 16) {
      const centred = f32x4.sub(v128.load(x + line + at), v128.load(mean + at));
      const normal = f32x4.mul(centred, v128.load(rstd + at));
      v128.store(y + line + at, madd(normal, v128.load(gamma + at), v128.load(beta + at)));
    }
  }
}

/** Channels 4 * [start, end): mean [C] and biased variance [C] over the rows of x [rows, C], in two passes. */
export function batchnorm_statistics(
  start: i32,
  end: i32,
  mean: usize,
  variance: usize,
  x: usize,
  rows: i32,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2), count = f32x4.splat(<f32> rows);
  for (let group = start; group < end; group++) {
    const at = <usize> (group << 4), last = x + <usize> rows * bytes;
    let sum = f32x4.splat(0);
    for (let from = x + at; from < last; from += bytes) sum = f32x4.add(sum, v128.load(from));
    const m = f32x4.div(sum, count);
    let squares = f32x4.splat(0);
    for (let from = x + at; from < last; from += bytes) {
      const d = f32x4.sub(v128.load(from), m);
      squares = madd(d, d, squares);
    }
    v128.store(mean + at, m);
    v128.store(variance + at, f32x4.div(squares, count));
  }
}

/**
 * Channels 4 * [start, end): dgamma [C] += sum over rows of dy * (x - mean) * rstd, dbeta [C] += sum of dy, and
 * dx [rows, C] += rstd * (g - mean(g) - h * mean(g * h)), where g = dy * gamma and h is x normalised by the
 * batch's own statistics (batchMean, batchRstd). fixed != 0: the statistics do not depend on x, dx += rstd * g.
 */
export function batchnorm_backward(
  start: i32,
  end: i32,
  dx: usize,
  dgamma: usize,
  dbeta: usize,
  dy: usize,
  x: usize,
  gamma: usize,
  mean: usize,
  rstd: usize,
  batchMean: usize,
  batchRstd: usize,
  rows: i32,
  channels: i32,
  fixed: i32,
): void {
  const bytes = <usize> (channels << 2), count = f32x4.splat(<f32> rows);
  for (let group = start; group < end; group++) {
    const at = <usize> (group << 4), last = <usize> rows * bytes;
    const m = v128.load(mean + at), r = v128.load(rstd + at);
    const ownM = v128.load(batchMean + at), ownR = v128.load(batchRstd + at);
    let beta = f32x4.splat(0), scale = beta, own = beta;
    for (let line = at; line < last; line += bytes) {
      const d = v128.load(dy + line), value = v128.load(x + line);
      beta = f32x4.add(beta, d);
      scale = madd(d, f32x4.mul(f32x4.sub(value, m), r), scale);
      own = madd(d, f32x4.mul(f32x4.sub(value, ownM), ownR), own);
    }
    v128.store(dgamma + at, f32x4.add(v128.load(dgamma + at), scale));
    v128.store(dbeta + at, f32x4.add(v128.load(dbeta + at), beta));
    const slope = f32x4.mul(v128.load(gamma + at), r);
    const averageG = fixed ? f32x4.splat(0) : f32x4.div(beta, count);
    const averageGH = fixed ? f32x4.splat(0) : f32x4.div(own, count);
    for (let line = at; line < last; line += bytes) {
      const h = f32x4.mul(f32x4.sub(v128.load(x + line), ownM), ownR);
      const d = f32x4.sub(f32x4.sub(v128.load(dy + line), averageG), f32x4.mul(h, averageGH));
      v128.store(dx + line, madd(d, slope, v128.load(dx + line)));
    }
  }
}
