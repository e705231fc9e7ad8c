// What Muon (Jordan et al. 2024) does element by element, around the matrix products of its orthogonalisation.

import { flush, LEAST_MOMENT, madd } from "./simd";

/**
 * Elements 16 * [start, end), Nesterov's momentum as torch.optim.Muon has it:
 *   g *= gradientScale; m += (1 - momentum) (g - m); update = g + momentum (m - g); g = 0
 */
export function muon_momentum(
  start: i32,
  end: i32,
  update: usize,
  gradients: usize,
  moments: usize,
  gradientScale: f32,
  momentum: f64,
): void {
  const scale = f32x4.splat(gradientScale), zero = f32x4.splat(0);
  const rise = f32x4.splat(<f32> (1 - momentum)), keep = f32x4.splat(<f32> momentum);
  const least = f32x4.splat(LEAST_MOMENT);
  for (let at = <usize> start << 6; at < <usize> end << 6; at += 16) {
    const g = f32x4.mul(v128.load(gradients + at), scale);
    v128.store(gradients + at, zero);
    let m = v128.load(moments + at);
    m = flush(madd(f32x4.sub(g, m), rise, m), least);
    v128.store(moments + at, m);
    v128.store(update + at, madd(f32x4.sub(m, g), keep, g));
  }
}

/** Elements 16 * [start, end): x *= factor. */
export function muon_scale(start: i32, end: i32, x: usize, factor: f32): void {
  const f = f32x4.splat(factor);
  for (let at = <usize> start << 6; at < <usize> end << 6; at += 16) {
    v128.store(x + at, f32x4.mul(v128.load(x + at), f));
  }
}

/** Rows [start, end) of square = c * square + b * gram + a * identity, all [n, n], n a multiple of 4. */
export function muon_polynomial(
  start: i32,
  end: i32,
  square: usize,
  gram: usize,
  n: i32,
  a: f32,
  b: f32,
  c: f32,
): void {
  const bytes = <usize> (n << 2), vb = f32x4.splat(b), vc = f32x4.splat(c);
  for (let row = start; row < end; row++) {
    const line = <usize> row * bytes;
    for (let at = line; at < line + bytes; at += 16) {
      const part = f32x4.mul(v128.load(gram + at), vb);
      v128.store(square + at, madd(v128.load(square + at), vc, part));
    }
    const diagonal = square + line + <usize> (row << 2);
    store<f32>(diagonal, load<f32>(diagonal) + a);
  }
}

/** Elements 16 * [start, end): p = p * keep - rate * update. */
export function muon_step(
  start: i32,
  end: i32,
  parameters: usize,
  update: usize,
  keep: f32,
  rate: f32,
): void {
  const k = f32x4.splat(keep), r = f32x4.splat(-rate);
  for (let at = <usize> start << 6; at < <usize> end << 6; at += 16) {
    const kept = f32x4.mul(v128.load(parameters + at), k);
    v128.store(parameters + at, madd(v128.load(update + at), r, kept));
  }
}
