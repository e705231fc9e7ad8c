// Inline helpers that every kernel shares: fused multiply-add, lane shuffles, exp, counter-based bits.

/** a * b + c in one rounding. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_madd(a, b, c);
}

/** c - a * b in one rounding. */
// @ts-ignore: decorator
@inline
export function nmadd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_nmadd(a, b, c);
}

/** Moments nearer to 0 are forgotten, before they fade out of f32's range. */
export const LEAST_MOMENT: f32 = 1e-30;

/**
 * v, with 0 for what is nearer to 0 than `least`: processors take a hundred times as long over numbers below 1e-38, and
 * WebAssembly cannot have them flush such numbers by themselves. NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function flush(v: v128, least: v128): v128 {
  return v128.andnot(v, f32x4.lt(f32x4.abs(v), least));
}

/** Sum of the four lanes, always in the order (0 + 1) + (2 + 3). */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return (f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1)) +
    (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}

/** Largest of the four lanes. */
// @ts-ignore: decorator
@inline
export function maxLanes(v: v128): f32 {
  return max(
    max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
    max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
  );
}

/** a0 b0 a1 b1 */
// @ts-ignore: decorator
@inline
export function interleaveLow(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 4, 1, 5);
}

/** a2 b2 a3 b3 */
// @ts-ignore: decorator
@inline
export function interleaveHigh(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 2, 6, 3, 7);
}

/** The low halves of a and b. */
// @ts-ignore: decorator
@inline
export function lowHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f64>(a, b, 0, 2);
}

/** The high halves of a and b. */
// @ts-ignore: decorator
@inline
export function highHalves(a: v128, b: v128): v128 {
  return v128.shuffle<f64>(a, b, 1, 3);
}

/**
 * exp(x), relative error below 2e-7 for x in [-87.3, 88.3], clamped outside.
 * Cody-Waite reduction to |r| <= ln(2) / 2, then a degree-6 polynomial. NaN stays NaN.
 */
// @ts-ignore: decorator
@inline
export function exp4(value: v128): v128 {
  // pmin(a, b) is b < a ? b : a, so NaN in `value` must be the first operand to survive both clamps.
  const x = f32x4.pmin(f32x4.pmax(value, f32x4.splat(-87.3)), f32x4.splat(88.3));
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low mantissa bits.
  const magic = f32x4.splat(12582912.0);
  const t = madd(x, f32x4.splat(1.44269504), magic);
  const n = f32x4.sub(t, magic);
  let r = nmadd(n, f32x4.splat(0.693359375), x);
  r = nmadd(n, f32x4.splat(-2.12194440e-4), r);
  let p = f32x4.splat(0.0013814599);
  p = madd(p, r, f32x4.splat(0.0083687166));
  p = madd(p, r, f32x4.splat(0.04166839));
  p = madd(p, r, f32x4.splat(0.16666522));
  p = madd(p, r, f32x4.splat(0.49999994));
  p = madd(f32x4.mul(r, r), p, f32x4.add(r, f32x4.splat(1)));
  return i32x4.add(p, i32x4.shl(t, 23));
}

/** Four scalars 0, 1, 2, 3 as integers: the lane numbers. */
// @ts-ignore: decorator
@inline
export function laneNumbers(): v128 {
  return i32x4(0, 1, 2, 3);
}

/**
 * 32 pseudo-random bits for each of four counters: two rounds of a 32-bit mixer (Wellons'
 * "lowbias32" constants) keyed before each round. A pure function, so that backward can ask again.
 */
// @ts-ignore: decorator
@inline
export function randomBits4(counter: v128, keyA: v128, keyB: v128): v128 {
  let x = v128.xor(i32x4.mul(counter, i32x4.splat(0x9e3779b1)), keyA);
  x = mix4(x);
  return mix4(i32x4.add(x, keyB));
}

// @ts-ignore: decorator
@inline
function mix4(value: v128): v128 {
  let x = v128.xor(value, i32x4.shr_u(value, 16));
  x = i32x4.mul(x, i32x4.splat(0x21f0aaad));
  x = v128.xor(x, i32x4.shr_u(x, 15));
  x = i32x4.mul(x, i32x4.splat(0x735a2d97));
  return v128.xor(x, i32x4.shr_u(x, 15));
}

/** randomBits4 for one counter. */
export function randomBits(counter: u32, keyA: u32, keyB: u32): u32 {
  return mix(mix((counter * 0x9e3779b1) ^ keyA) + keyB);
}

// @ts-ignore: decorator
@inline
function mix(value: u32): u32 {
  let x = value ^ (value >> 16);
  x *= 0x21f0aaad;
  x ^= x >> 15;
  x *= 0x735a2d97;
  return x ^ (x >> 15);
}
