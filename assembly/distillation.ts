// Knowledge distillation: the teachers' softened probabilities and the largest of them, and the divergence of a
// student's prediction from such a list, with its gradient in the same visit of a row.

import { gradientRow, highestOf, scaleRow, sumOf } from "./softmax";
import { exp4, madd, sumLanes } from "./simd";

/** Reverse divergence: what a teacher gives to nothing counts as so much, so that the loss stays finite. */
const LEAST: f64 = 1e-10;

/** exp((z - highest) * sharpness) */
// @ts-ignore: decorator
@inline
function softened(z: v128, highest: v128, sharpness: v128): v128 {
  return exp4(f32x4.mul(f32x4.sub(z, highest), sharpness));
}

/** The same of one element, to the bit. */
// @ts-ignore: decorator
@inline
function softenedAt(z: usize, highest: f32, sharpness: f32): f32 {
  const e = softened(v128.load32_splat(z), f32x4.splat(highest), f32x4.splat(sharpness));
  return f32x4.extract_lane(e, 0);
}

/** y = exp((z - highest) * sharpness) for `count` elements, y may be z; returns their sum. */
function softenRow(y: usize, z: usize, count: i32, highest: f32, sharpness: f32): f32 {
  const h = f32x4.splat(highest), s = f32x4.splat(sharpness);
  let sums = f32x4.splat(0), rest: f32 = 0;
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize> (i << 2);
    const e = softened(v128.load(z + at), h, s);
    sums = f32x4.add(sums, e);
    v128.store(y + at, e);
  }
  for (; i < count; i++) {
    const at = <usize> (i << 2);
    const e = softenedAt(z + at, highest, sharpness);
    rest += e;
    store<f32>(y + at, e);
  }
  return sumLanes(sums) + rest;
}

/**
 * A teacher's rows [start, end) of logits [rows, stride], of which the first V count, with their softmax at
 * temperature 1 / sharpness: mean[to[n], map[v]] += share[n] * softmax(logits[n] * sharpness)[v].
 * Where map is 0, token v of the teacher is token v of mean [*, width]. The logits are used up.
 */
export function add_softened(
  start: i32,
  end: i32,
  mean: usize,
  width: i32,
  to: usize,
  shares: usize,
  map: usize,
  logits: usize,
  V: i32,
  stride: i32,
  sharpness: f32,
): void {
  for (let n = start; n < end; n++) {
    const row = logits + <usize> n * <usize> (stride << 2);
    const total = softenRow(row, row, V, highestOf(row, V), sharpness);
    const scale = load<f32>(shares + <usize> (n << 2)) / total;
    const target = mean + <usize> load<i32>(to + <usize> (n << 2)) * <usize> (width << 2);
    if (map != 0) addMapped(target, row, scale, map, V);
    else addRow(target, row, scale, V);
  }
}

/** y += scale * x */
function addRow(y: usize, x: usize, scale: f32, count: i32): void {
  const s = f32x4.splat(scale);
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize> (i << 2);
    v128.store(y + at, madd(v128.load(x + at), s, v128.load(y + at)));
  }
  for (; i < count; i++) {
    const at = <usize> (i << 2);
    store<f32>(y + at, load<f32>(y + at) + scale * load<f32>(x + at));
  }
}

/** y[map[i]] += scale * x[i] */
function addMapped(y: usize, x: usize, scale: f32, map: usize, count: i32): void {
  for (let i = 0; i < count; i++) {
    const at = <usize> (i << 2);
    const place = y + <usize> (load<i32>(map + at) << 2);
    store<f32>(place, load<f32>(place) + scale * load<f32>(x + at));
  }
}

/**
 * Rows [start, end) of mean [rows, V + 1], probabilities of V tokens and, behind them, of none of these:
 *   tokens, probabilities [rows, k]: the k largest of the V, falling, those above `least`; then -1 and 0
 *   rests [rows]: the sum of all others
 * Of equal ones the first come first. What is listed becomes zero in mean.
 */
export function top_k(
  start: i32,
  end: i32,
  tokens: usize,
  probabilities: usize,
  rests: usize,
  mean: usize,
  V: i32,
  k: i32,
  least: f32,
): void {
  for (let n = start; n < end; n++) {
    const row = mean + <usize> n * <usize> (V + 1 << 2);
    const names = tokens + <usize> n * <usize> (k << 2);
    const values = probabilities + <usize> n * <usize> (k << 2);
    memory.fill(names, 0xff, <usize> (k << 2));
    memory.fill(values, 0, <usize> (k << 2));
    const last = values + <usize> (k - 1 << 2);
    let i = 0;
    // Most tokens are none of the k: sixteen at a time are seen to be none.
    for (; i + 16 <= V; i += 16) {
      const low = f32x4.splat(max(least, load<f32>(last)));
      if (!v128.any_true(f32x4.gt(highest16(row + <usize> (i << 2)), low))) continue;
      for (let j = i; j < i + 16; j++) insert(names, values, k, j, load<f32>(row + <usize> (j << 2)), least);
    }
    for (; i < V; i++) insert(names, values, k, i, load<f32>(row + <usize> (i << 2)), least);
    for (let j = 0; j < k; j++) {
      const token = load<i32>(names + <usize> (j << 2));
      if (token >= 0) store<f32>(row + <usize> (token << 2), 0);
    }
    store<f32>(rests + <usize> (n << 2), <f32> sumOf(row, V + 1));
  }
}

/** Of sixteen numbers the largest in each lane. */
// @ts-ignore: decorator
@inline
function highest16(x: usize): v128 {
  return f32x4.pmax(
    f32x4.pmax(v128.load(x), v128.load(x, 16)),
    f32x4.pmax(v128.load(x, 32), v128.load(x, 48)),
  );
}

/** Puts a token among the k largest, where it is one. */
function insert(names: usize, values: usize, k: i32, token: i32, value: f32, least: f32): void {
  if (!(value > least && value > load<f32>(values + <usize> (k - 1 << 2)))) return;
  let j = k - 1;
  for (; j > 0; j--) {
    const before = <usize> (j - 1 << 2), at = <usize> (j << 2);
    const higher = load<f32>(values + before);
    if (!(value > higher)) break;
    store<f32>(values + at, higher);
    store<i32>(names + at, load<i32>(names + before));
  }
  store<f32>(values + <usize> (j << 2), value);
  store<i32>(names + <usize> (j << 2), token);
}

/**
 * Distillation (Hinton et al. 2015) of rows [start, end) of logits [rows, stride], of which the first V count.
 * The teachers' probabilities p of row n are those of tokens[j] for j from first[n] to first[n + 1], and rests[n] of
 * all other tokens together; of these it is not said which, and so the student's own q = softmax(logits * sharpness)
 * is compared with p over the listed tokens and their rest as one more class:
 *   results [rows]: KL(p, q), or with reverse != 0 KL(q, p) (Gu et al. 2023)
 *   gradient [rows, stride]: its gradient by the logits, times weights[n] * scale, zeros from V to stride
 * A row without a list gets zeros. A row that lists every token has no rest.
 */
export function distillation(
  start: i32,
  end: i32,
  gradient: usize,
  results: usize,
  logits: usize,
  weights: usize,
  first: usize,
  tokens: usize,
  probabilities: usize,
  rests: usize,
  V: i32,
  stride: i32,
  sharpness: f32,
  scale: f32,
  reverse: i32,
): void {
  for (let n = start; n < end; n++) {
    const row = logits + <usize> n * <usize> (stride << 2);
    const g = gradient + <usize> n * <usize> (stride << 2);
    const from = load<i32>(first + <usize> (n << 2)), to = load<i32>(first + <usize> (n << 2), 4);
    if (from == to) {
      memory.fill(g, 0, <usize> (stride << 2));
      store<f32>(results + <usize> (n << 2), 0);
      continue;
    }
    const highest = highestOf(row, V);
    softenRow(g, row, V, highest, sharpness);
    let listed: f64 = 0, mass: f64 = 0;
    for (let j = from; j < to; j++) {
      const e = g + <usize> (load<i32>(tokens + <usize> (j << 2)) << 2);
      listed += <f64> load<f32>(e);
      mass += <f64> load<f32>(probabilities + <usize> (j << 2));
      store<f32>(e, 0);
    }
    const others = sumOf(g, V), total = others + listed, logTotal = Math.log(total);
    const rest: f64 = others > 0 ? <f64> load<f32>(rests + <usize> (n << 2)) : 0;
    mass += rest;

    let divergence: f64 = 0;
    for (let j = from; j < to; j++) {
      const z = row + <usize> (load<i32>(tokens + <usize> (j << 2)) << 2);
      const p = <f64> load<f32>(probabilities + <usize> (j << 2));
      const logQ = <f64> (load<f32>(z) - highest) * <f64> sharpness - logTotal;
      divergence += reverse ? Math.exp(logQ) * (logQ - logFloored(p)) : term(p, logQ);
    }
    const logRest = others > 0 ? Math.log(others) - logTotal : 0;
    if (others > 0) {
      divergence += reverse ? others / total * (logRest - logFloored(rest)) : term(rest, logRest);
    }
    store<f32>(results + <usize> (n << 2), <f32> divergence);

    const factor = <f64> (load<f32>(weights + <usize> (n << 2)) * scale * sharpness);
    const slope = reverse
      ? (logRest - logFloored(rest) - divergence) / total
      : mass / total - (others > 0 ? rest / others : 0);
    gradientRow(g, V, <f32> (factor * slope), 0);
    for (let j = from; j < to; j++) {
      const at = <usize> (load<i32>(tokens + <usize> (j << 2)) << 2);
      const p = <f64> load<f32>(probabilities + <usize> (j << 2));
      const logQ = <f64> (load<f32>(row + at) - highest) * <f64> sharpness - logTotal;
      const q = Math.exp(logQ);
      const slope = reverse ? q * (logQ - logFloored(p) - divergence) : mass * q - p;
      store<f32>(g + at, <f32> (factor * slope));
    }
    memory.fill(g + <usize> (V << 2), 0, <usize> (stride - V << 2));
  }
}

/** p (log p - log q), which is 0 for p = 0 */
function term(p: f64, logQ: f64): f64 {
  return p > 0 ? p * (Math.log(p) - logQ) : 0;
}

function logFloored(p: f64): f64 {
  return Math.log(max(p, LEAST));
}
