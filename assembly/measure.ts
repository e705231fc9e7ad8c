// Yardsticks for the benchmark: what one thread's arithmetic and memory can do at most.

import { madd, sumLanes } from "./simd";

/** `repeats` rounds of twelve independent multiply-adds in registers: 96 floating-point operations each. */
export function fma_peak(repeats: i32, seed: f32): f32 {
  const x = f32x4.splat(seed), y = f32x4.splat(1 - seed);
  let a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
  for (let n = 0; n < repeats; n++) {
    a = madd(a, x, y), b = madd(b, x, y), c = madd(c, x, y), d = madd(d, x, y);
    e = madd(e, x, y), f = madd(f, x, y), g = madd(g, x, y), h = madd(h, x, y);
    i = madd(i, x, y), j = madd(j, x, y), k = madd(k, x, y), l = madd(l, x, y);
  }
  const ab = f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
  const cd = f32x4.add(f32x4.add(e, f), f32x4.add(g, h));
  return sumLanes(f32x4.add(f32x4.add(ab, cd), f32x4.add(f32x4.add(i, j), f32x4.add(k, l))));
}

/** Reads 64-byte lines [start, end) from `pointer`; the lanes' sum goes to `results` so that it counts. */
export function memory_read(start: i32, end: i32, pointer: usize, results: usize): void {
  let a = f32x4.splat(0), b = a, c = a, d = a;
  const last = pointer + (<usize> end << 6);
  for (let at = pointer + (<usize> start << 6); at < last; at += 64) {
    a = f32x4.add(a, v128.load(at));
    b = f32x4.add(b, v128.load(at, 16));
    c = f32x4.add(c, v128.load(at, 32));
    d = f32x4.add(d, v128.load(at, 48));
  }
  store<f32>(results, sumLanes(f32x4.add(f32x4.add(a, b), f32x4.add(c, d))));
}
