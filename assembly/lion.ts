// Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms"), in one visit of every element.

import { flush, LEAST_MOMENT, madd } from "./simd";

/**
 * Elements 16 * [start, end):
 *   g *= gradientScale; p = p * keep - rate * sign(beta1 m + (1 - beta1) g);
 *   m = beta2 m + (1 - beta2) g; g = 0
 * keep: 1 - lr * decay. The sign of 0, and of what is no number, is 0.
 */
export function lion(
  start: i32,
  end: i32,
  parameters: usize,
  gradients: usize,
  moments: usize,
  gradientScale: f32,
  beta1: f64,
  beta2: f64,
  keep: f32,
  rate: f32,
): void {
  const scale = f32x4.splat(gradientScale), zero = f32x4.splat(0);
  // 1 - beta in 64 bits, as in AdamW.
  const rise1 = f32x4.splat(<f32> (1 - beta1)), rise2 = f32x4.splat(<f32> (1 - beta2));
  const k = f32x4.splat(keep), up = f32x4.splat(rate), down = f32x4.splat(-rate);
  const least = f32x4.splat(LEAST_MOMENT);
  for (let at = <usize> start << 6; at < <usize> end << 6; at += 16) {
    const g = f32x4.mul(v128.load(gradients + at), scale);
    v128.store(gradients + at, zero);
    const m = v128.load(moments + at), rise = f32x4.sub(g, m);
    const direction = madd(rise, rise1, m);
    const step = v128.or(
      v128.and(f32x4.gt(direction, zero), down),
      v128.and(f32x4.lt(direction, zero), up),
    );
    v128.store(parameters + at, madd(v128.load(parameters + at), k, step));
    v128.store(moments + at, flush(madd(rise, rise2, m), least));
  }
}
