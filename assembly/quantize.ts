// Weights in fewer bits, for generation, and f32 weights that are read as if they were bf16, in training with mixed
// precision. Both formats keep the panels of 16 outputs in one sequential stream.
//
//   bf16: a panel is [in] rows of two vectors. A lane holds column i in its low half and i + 8 in its high
//         half, so that a shift and a mask widen both vectors alike, which V8's revectoriser can pair.
//   int8: a panel is groups of 32 inputs: 16 scales (bf16, stored like a bf16 row), then 8 times 4 vectors,
//         each 4 columns by 4 inputs, a column's 4 bytes side by side as the dot product wants them. Behind
//         the groups stand 16 floats: what the offset of the activations adds to each column (see gemv).

/** Inputs that share a scale. */
export const GROUP: i32 = 32;
const SCALE_BYTES: i32 = 32;
/** Bytes of a group: scales and 32 x 16 weights. */
export const GROUP_BYTES: i32 = SCALE_BYTES + GROUP * 16;
/** Activations have 14 bits and are stored without sign, as their value + OFFSET. */
export const OFFSET: i32 = 8192;

/** Bytes of a bf16 panel. */
// @ts-ignore: decorator
@inline
export function panelBytesBf16(inputs: i32): usize {
  return <usize> (inputs << 5);
}

/** Bytes of an int8 panel. */
// @ts-ignore: decorator
@inline
export function panelBytesInt8(inputs: i32): usize {
  return <usize> ((inputs + GROUP - 1) / GROUP * GROUP_BYTES + 64);
}

/** The four columns in the low halves of a bf16 vector, as floats. */
// @ts-ignore: decorator
@inline
export function lowBf16(v: v128): v128 {
  return i32x4.shl(v, 16);
}

/** The four columns in the high halves of a bf16 vector, as floats. */
// @ts-ignore: decorator
@inline
export function highBf16(v: v128): v128 {
  return v128.and(v, i32x4.splat(0xffff0000));
}

/** Four floats, each rounded to the nearest bf16 (ties to even), in the high halves. NaN stays NaN. */
// @ts-ignore: decorator
@inline
export function roundBf16(v: v128): v128 {
  const odd = v128.and(i32x4.shr_u(v, 16), i32x4.splat(1));
  const rounded = i32x4.add(i32x4.add(v, i32x4.splat(0x7fff)), odd);
  const quiet = v128.or(v, i32x4.splat(0x00400000));
  return highBf16(v128.bitselect(rounded, quiet, f32x4.eq(v, v)));
}

/** Two vectors of bf16 in high halves as one: a in the low halves, b in the high ones. */
// @ts-ignore: decorator
@inline
export function pairBf16(a: v128, b: v128): v128 {
  return v128.or(i32x4.shr_u(a, 16), b);
}

/** Panels [start, end) of W in f32 [.., in, 16] to bf16. */
export function narrow_bf16(start: i32, end: i32, to: usize, from: usize, inputs: i32): void {
  let source = from + <usize> start * <usize> (inputs << 6);
  let target = to + <usize> start * panelBytesBf16(inputs);
  for (let rows = (end - start) * inputs; rows > 0; rows--) {
    v128.store(target, pairBf16(roundBf16(v128.load(source)), roundBf16(v128.load(source, 32))));
    v128.store(
      target,
      pairBf16(roundBf16(v128.load(source, 16)), roundBf16(v128.load(source, 48))),
      16,
    );
    source += 64;
    target += 32;
  }
}

/** Rows of sixteen floats, each rounded to the nearest bf16 but kept as f32 (target may be source). */
export function roundRows(target: usize, source: usize, rows: i32): void {
  for (const end = target + <usize> (rows << 6); target < end; target += 64) {
    const a = v128.load(source), b = v128.load(source, 16);
    const c = v128.load(source, 32), d = v128.load(source, 48);
    v128.store(target, roundBf16(a));
    v128.store(target, roundBf16(b), 16);
    v128.store(target, roundBf16(c), 32);
    v128.store(target, roundBf16(d), 48);
    source += 64;
  }
}

/** Rows [k, k + depth) of one bf16 panel to f32 [depth, 16]. */
export function widenBf16(target: usize, panel: usize, k: i32, depth: i32): void {
  let source = panel + <usize> (k << 5);
  for (let row = 0; row < depth; row++) {
    const a = v128.load(source), b = v128.load(source, 16);
    v128.store(target, lowBf16(a));
    v128.store(target, lowBf16(b), 16);
    v128.store(target, highBf16(a), 32);
    v128.store(target, highBf16(b), 48);
    source += 32;
    target += 64;
  }
}

/** The larger magnitude of each lane. */
// @ts-ignore: decorator
@inline
function largest(highest: v128, row: usize): v128 {
  return f32x4.max(highest, f32x4.abs(v128.load(row)));
}

/** Scale for weights of this magnitude: bf16, rounded up so that none exceeds 127. */
// @ts-ignore: decorator
@inline
function scaleOf(highest: v128): v128 {
  const exact = f32x4.mul(highest, f32x4.splat(1.0 / 127.0));
  return highBf16(i32x4.add(exact, i32x4.splat(0xffff)));
}

/** round(weights / scale) as integers; zero where the scale is. */
// @ts-ignore: decorator
@inline
function quantized(row: usize, scale: v128): v128 {
  const ratio = f32x4.nearest(f32x4.div(v128.load(row), scale));
  return v128.and(i32x4.trunc_sat_f32x4_s(ratio), i32x4.ne(scale, i32x4.splat(0)));
}

/**
 * Four columns of one group to int8: 8 vectors, 64 bytes apart. rows: how many of the 32 inputs there are.
 * Returns scale * sum of the quantised weights, each column's.
 */
// @ts-ignore: decorator
@inline
function narrowColumns(target: usize, source: usize, rows: i32, scale: v128): v128 {
  const byte = i32x4.splat(0xff);
  let sum = i32x4.splat(0);
  for (let quad = 0; quad < GROUP; quad += 4) {
    let packed = i32x4.splat(0);
    for (let i = 0; i < 4; i++) {
      if (quad + i >= rows) break;
      const q = quantized(source + <usize> (quad + i << 6), scale);
      sum = i32x4.add(sum, q);
      packed = v128.or(packed, i32x4.shl(v128.and(q, byte), i << 3));
    }
    v128.store(target + <usize> (quad << 4), packed);
  }
  return f32x4.mul(scale, f32x4.convert_i32x4_s(sum));
}

/** Panels [start, end) of W in f32 [.., in, 16] to int8. */
export function narrow_int8(start: i32, end: i32, to: usize, from: usize, inputs: i32): void {
  for (let panel = start; panel < end; panel++) {
    const source = from + <usize> panel * <usize> (inputs << 6);
    let target = to + <usize> panel * panelBytesInt8(inputs);
    const zero = f32x4.splat(0), offset = f32x4.splat(<f32> OFFSET);
    let sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
    for (let k = 0; k < inputs; k += GROUP) {
      const rows = min(GROUP, inputs - k), first = source + <usize> (k << 6);
      let m0 = zero, m1 = zero, m2 = zero, m3 = zero;
      for (let row = first; row < first + <usize> (rows << 6); row += 64) {
        m0 = largest(m0, row), m1 = largest(m1, row + 16);
        m2 = largest(m2, row + 32), m3 = largest(m3, row + 48);
      }
      const s0 = scaleOf(m0), s1 = scaleOf(m1), s2 = scaleOf(m2), s3 = scaleOf(m3);
      v128.store(target, pairBf16(s0, s2));
      v128.store(target, pairBf16(s1, s3), 16);
      const weights = target + SCALE_BYTES;
      sum0 = f32x4.add(sum0, narrowColumns(weights, first, rows, s0));
      sum1 = f32x4.add(sum1, narrowColumns(weights + 16, first + 16, rows, s1));
      sum2 = f32x4.add(sum2, narrowColumns(weights + 32, first + 32, rows, s2));
      sum3 = f32x4.add(sum3, narrowColumns(weights + 48, first + 48, rows, s3));
      target += GROUP_BYTES;
    }
    v128.store(target, f32x4.mul(offset, sum0));
    v128.store(target, f32x4.mul(offset, sum1), 16);
    v128.store(target, f32x4.mul(offset, sum2), 32);
    v128.store(target, f32x4.mul(offset, sum3), 48);
  }
}

/** Input i (of 4) of a vector of weights, times the scale. */
// @ts-ignore: decorator
@inline
function dequantized(packed: v128, left: i32, scale: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(packed, left), 24)), scale);
}

/** Rows [k, k + depth) of one int8 panel to f32 [depth, 16]; k is a multiple of 32. */
export function widenInt8(target: usize, panel: usize, k: i32, depth: i32): void {
  let group = panel + <usize> (k / GROUP * GROUP_BYTES);
  for (let first = 0; first < depth; first += GROUP) {
    const a = v128.load(group), b = v128.load(group, 16);
    const s0 = lowBf16(a), s1 = lowBf16(b), s2 = highBf16(a), s3 = highBf16(b);
    const rows = min(GROUP, depth - first);
    for (let row = 0; row < rows; row++) {
      const quad = group + SCALE_BYTES + <usize> ((row >> 2) << 6);
      const left = 24 - ((row & 3) << 3);
      v128.store(target, dequantized(v128.load(quad), left, s0));
      v128.store(target, dequantized(v128.load(quad, 16), left, s1), 16);
      v128.store(target, dequantized(v128.load(quad, 32), left, s2), 32);
      v128.store(target, dequantized(v128.load(quad, 48), left, s3), 48);
      target += 64;
    }
    group += GROUP_BYTES;
  }
}

/** Panels [start, end) of a bf16 weight back to f32 panels. */
export function widen_bf16(start: i32, end: i32, to: usize, from: usize, inputs: i32): void {
  const first = start * inputs;
  widenBf16(to + (<usize> first << 6), from + (<usize> first << 5), 0, (end - start) * inputs);
}

/** Panels [start, end) of an int8 weight back to f32 panels. */
export function widen_int8(start: i32, end: i32, to: usize, from: usize, inputs: i32): void {
  for (let panel = start; panel < end; panel++) {
    const target = to + <usize> panel * <usize> (inputs << 6);
    widenInt8(target, from + <usize> panel * panelBytesInt8(inputs), 0, inputs);
  }
}

/** One weight of a bf16 panel. */
// @ts-ignore: decorator
@inline
export function valueBf16(panel: usize, row: i32, column: i32): f32 {
  const at = panel + <usize> ((row << 5) + ((column & 7) << 2) + (column >> 3 << 1));
  return reinterpret<f32>(<i32> load<u16>(at) << 16);
}

/** One weight of an int8 panel. */
// @ts-ignore: decorator
@inline
export function valueInt8(panel: usize, row: i32, column: i32): f32 {
  const group = panel + <usize> (row / GROUP * GROUP_BYTES), within = row & (GROUP - 1);
  const weights = group + SCALE_BYTES + <usize> ((within >> 2 << 6) + (column << 2) + (within & 3));
  return <f32> load<i8>(weights) * valueBf16(group, 0, column);
}

/** Bytes of a row of quantised activations: its scale in 16, then the high and the low 7 bits of each input. */
// @ts-ignore: decorator
@inline
export function activationBytes(inputs: i32): usize {
  return <usize> (16 + 2 * ((inputs + GROUP - 1) & ~(GROUP - 1)));
}

/**
 * Rows [start, end) of x [rows, in] to 14 bits: x = scale * (128 high + low - OFFSET), the largest
 * magnitude at 8191. Inputs are a multiple of 4; those up to a multiple of 32 become zeros.
 */
export function quantize_rows(start: i32, end: i32, to: usize, x: usize, inputs: i32): void {
  const padded = (inputs + GROUP - 1) & ~(GROUP - 1);
  for (let row = start; row < end; row++) {
    const from = x + <usize> row * <usize> (inputs << 2);
    const target = to + <usize> row * activationBytes(inputs);
    const high = target + 16, low = high + padded;
    let highest4 = f32x4.splat(0);
    for (let i = 0; i < inputs; i += 4) highest4 = largest(highest4, from + <usize> (i << 2));
    const a = max(f32x4.extract_lane(highest4, 0), f32x4.extract_lane(highest4, 1));
    const b = max(f32x4.extract_lane(highest4, 2), f32x4.extract_lane(highest4, 3));
    const highest = max(a, b);
    store<f32>(target, highest / 8191);
    const inverse = f32x4.splat(highest > 0 ? 8191 / highest : 0), offset = i32x4.splat(OFFSET);
    for (let i = 0; i < padded; i += 4) {
      let q = i32x4.splat(0);
      if (i < inputs) {
        const scaled = f32x4.nearest(f32x4.mul(v128.load(from + <usize> (i << 2)), inverse));
        q = i32x4.add(i32x4.trunc_sat_f32x4_s(scaled), offset);
      }
      store<u32>(high + i, gatherBytes(i32x4.shr_u(q, 7)));
      store<u32>(low + i, gatherBytes(v128.and(q, i32x4.splat(127))));
    }
  }
}

/** The four lanes' low bytes, side by side. */
// @ts-ignore: decorator
@inline
function gatherBytes(v: v128): u32 {
  return i32x4.extract_lane(i8x16.shuffle(v, v, 0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
}
