// One token times a weight: y [out] = x [in] W + bias. Decoding reads every weight once, so memory sets
// the pace; the panels are one sequential stream.

import { madd } from "./simd";

/** Output panels [start, end) of y [ceil(out / 16) * 16], W in panels [ceil(out / 16), in, 16]. */
export function gemv(
  start: i32,
  end: i32,
  y: usize,
  x: usize,
  weight: usize,
  bias: usize,
  inputs: i32,
): void {
  for (let panel = start; panel < end; panel++) {
    let w = weight + <usize> panel * <usize> (inputs << 6), input = x;
    const zero = f32x4.splat(0), last = w + <usize> (inputs << 6);
    let a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
    for (const even = w + <usize> ((inputs & ~1) << 6); w < even; w += 128) {
      const s = v128.load32_splat(input), t = v128.load32_splat(input, 4);
      a0 = madd(s, v128.load(w), a0);
      a1 = madd(s, v128.load(w, 16), a1);
      a2 = madd(s, v128.load(w, 32), a2);
      a3 = madd(s, v128.load(w, 48), a3);
      b0 = madd(t, v128.load(w, 64), b0);
      b1 = madd(t, v128.load(w, 80), b1);
      b2 = madd(t, v128.load(w, 96), b2);
      b3 = madd(t, v128.load(w, 112), b3);
      input += 8;
    }
    if (w < last) {
      const s = v128.load32_splat(input);
      a0 = madd(s, v128.load(w), a0);
      a1 = madd(s, v128.load(w, 16), a1);
      a2 = madd(s, v128.load(w, 32), a2);
      a3 = madd(s, v128.load(w, 48), a3);
    }
    const out = y + <usize> (panel << 6);
    a0 = f32x4.add(a0, b0), a1 = f32x4.add(a1, b1), a2 = f32x4.add(a2, b2), a3 = f32x4.add(a3, b3);
    if (bias) {
      const from = bias + <usize> (panel << 6);
      a0 = f32x4.add(a0, v128.load(from)), a1 = f32x4.add(a1, v128.load(from, 16));
      a2 = f32x4.add(a2, v128.load(from, 32)), a3 = f32x4.add(a3, v128.load(from, 48));
    }
    v128.store(out, a0);
    v128.store(out, a1, 16);
    v128.store(out, a2, 32);
    v128.store(out, a3, 48);
  }
}
