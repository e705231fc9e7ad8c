// Causal self-attention over ragged sequences. One work item is one head of one sequence; the thread
// packs that head's Q, K and V into its scratch and runs the GEMM tiles over blocks of queries.
// Nothing of size [T, T] is kept between forward and backward: backward computes it again.
//
//   qkv [N, 3C]: a token's query, key, value, each [H, D]      logSumExp [N, H]

import { keepScale4 } from "./dropout";
import { multiply, scratch } from "./gemm";
import { pack_rows, pack_rows_transposed, packColumns, packColumnsTransposed } from "./pack";
import { exp4, madd, maxLanes, sumLanes } from "./simd";
import { TILE_COLUMNS, TILE_ROWS } from "./tile";

/** Queries handled at a time: bounds the scores to 96 x T floats. */
const QUERY_BLOCK: i32 = 96;

// @ts-ignore: decorator
@inline
function roundUp(n: i32, step: i32): i32 {
  return (n + step - 1) / step * step;
}

/** Packs B [depth, n] row-major (or its transpose) whole; returns the first byte behind it. */
function packB(to: usize, b: usize, rowBytes: usize, depth: i32, n: i32, transposed: bool): usize {
  for (let column = 0; column < n; column += TILE_COLUMNS) {
    const columns = min(TILE_COLUMNS, n - column);
    if (transposed) {
      packColumnsTransposed(to, b + <usize> column * rowBytes, rowBytes, depth, columns);
    } else packColumns(to, b + <usize> (column << 2), rowBytes, depth, columns);
    to += <usize> (depth << 6);
  }
  return to;
}

/** Packs A [rows, depth] (or, transposed, from A^T [depth, rows]). */
function packA(
  to: usize,
  a: usize,
  rowBytes: usize,
  rows: i32,
  depth: i32,
  transposed: bool,
): void {
  const panels = roundUp(rows, TILE_ROWS) / TILE_ROWS;
  if (transposed) pack_rows_transposed(0, panels, to, a, rowBytes, rows, depth);
  else pack_rows(0, panels, to, a, rowBytes, rows, depth);
}

/**
 * Row of probabilities in place of a row of scores: exp(scale * s - logSumExp) for the first `keys`
 * columns, zeros behind them up to `width`, a multiple of 4.
 */
function probabilities(row: usize, keys: i32, width: i32, scale: f32, logSumExp: f32): void {
  const s = f32x4.splat(scale), l = f32x4.splat(-logSumExp);
  let k = 0;
  for (; k + 4 <= keys; k += 4) {
    const at = row + <usize> (k << 2);
    v128.store(at, exp4(madd(v128.load(at), s, l)));
  }
  for (; k < width; k++) {
    const at = row + <usize> (k << 2);
    const value: f32 = k < keys
      ? f32x4.extract_lane(exp4(madd(v128.load32_splat(at), s, l)), 0)
      : 0;
    store<f32>(at, value);
  }
}

/** log(sum(exp(scale * s))) over a row of scores. */
function logSumExp(row: usize, keys: i32, scale: f32): f32 {
  let highest: f32 = -Infinity;
  for (let k = 0; k < keys; k++) highest = max(highest, load<f32>(row + <usize> (k << 2)));
  const s = f32x4.splat(scale), h = f32x4.splat(-highest * scale);
  let sums = f32x4.splat(0), total: f32 = 0;
  let k = 0;
  for (; k + 4 <= keys; k += 4) {
    sums = f32x4.add(sums, exp4(madd(v128.load(row + <usize> (k << 2)), s, h)));
  }
  for (; k < keys; k++) {
    const value = v128.load32_splat(row + <usize> (k << 2));
    total += f32x4.extract_lane(exp4(madd(value, s, h)), 0);
  }
  return highest * scale + <f32> Math.log(<f64> (sumLanes(sums) + total));
}

/** Multiplies a row of `width` (a multiple of 4) by its dropout scales. counter: of its first element. */
function dropRow(row: usize, width: i32, counter: u32, keyA: u32, keyB: u32, p: f32): void {
  for (let k = 0; k < width; k += 4) {
    const at = row + <usize> (k << 2);
    v128.store(at, f32x4.mul(v128.load(at), keepScale4(counter + k, keyA, keyB, p)));
  }
}

/**
 * out [N, C] = softmax(Q K^T / sqrt(D), causal) V, work items [start, end) of B * H.
 * offsets [B + 1]. dropout of probability p on the attention weights; keys: its stream.
 */
export function attention_forward(
  start: i32,
  end: i32,
  qkv: usize,
  offsets: usize,
  out: usize,
  sums: usize,
  channels: i32,
  heads: i32,
  p: f32,
  keyA: u32,
  keyB: u32,
): void {
  const D = channels / heads;
  const qkvBytes = <usize> (channels * 12), outBytes = <usize> (channels << 2);
  const scale = <f32> (1.0 / Math.sqrt(<f64> D));
  for (let item = start; item < end; item++) {
    const sequence = item / heads, head = item % heads;
    const first = load<i32>(offsets + <usize> (sequence << 2));
    const T = load<i32>(offsets + <usize> (sequence << 2), 4) - first;
    const q = qkv + <usize> first * qkvBytes + <usize> (head * D << 2);
    const k = q + outBytes, v = k + outBytes;
    const packedV = packB(scratch, k, qkvBytes, D, T, true);
    const a = packB(packedV, v, qkvBytes, T, D, false);
    const width = roundUp(T, TILE_COLUMNS);
    const scores = a + <usize> (QUERY_BLOCK * max(width, roundUp(D, TILE_COLUMNS)) << 2);
    for (let row = 0; row < T; row += QUERY_BLOCK) {
      const rows = min(QUERY_BLOCK, T - row), keys = row + rows;
      packA(a, q + <usize> row * qkvBytes, qkvBytes, rows, D, false);
      multiply(rows, keys, D, a, scratch, scores, <usize> (width << 2), false);
      for (let i = 0; i < rows; i++) {
        const line = scores + <usize> (i * width << 2), n = first + row + i;
        const sum = logSumExp(line, row + i + 1, scale);
        store<f32>(sums + <usize> (n * heads + head << 2), sum);
        probabilities(line, row + i + 1, roundUp(keys, 4), scale, sum);
        if (p > 0) dropRow(line, roundUp(keys, 4), counterOf(n, head, heads), keyA, keyB, p);
      }
      packA(a, scores, <usize> (width << 2), rows, keys, false);
      multiplyKeys(
        rows,
        D,
        keys,
        T,
        a,
        packedV,
        out + <usize> (first + row) * outBytes + <usize> (head * D << 2),
        outBytes,
        false,
      );
    }
  }
}

/** The first dropout counter of one query's row: rows never overlap while T <= 4096. */
// @ts-ignore: decorator
@inline
function counterOf(n: i32, head: i32, heads: i32): u32 {
  return <u32> (n * heads + head) << 12;
}

/** C [rows, n] = A [rows, keys] B for B panels that were packed T deep, of which `keys` are used. */
function multiplyKeys(
  rows: i32,
  n: i32,
  keys: i32,
  T: i32,
  a: usize,
  b: usize,
  c: usize,
  rowBytes: usize,
  add: bool,
): void {
  for (let column = 0; column < n; column += TILE_COLUMNS) {
    const panel = b + <usize> column * <usize> (T << 2);
    multiply(rows, min(TILE_COLUMNS, n - column), keys, a, panel, c, rowBytes, add);
    c += <usize> (TILE_COLUMNS << 2);
  }
}

/**
 * dqkv [N, 3C] (written whole) from dout [N, C], work items [start, end) of B * H.
 * With P the probabilities, M the dropout scales and dP = (dO V^T) M:
 *   dV = (P M)^T dO,  dS = P (dP - rowsum(P dP)),  dQ = dS K / sqrt(D),  dK = dS^T Q / sqrt(D)
 */
export function attention_backward(
  start: i32,
  end: i32,
  qkv: usize,
  offsets: usize,
  dout: usize,
  sums: usize,
  dqkv: usize,
  channels: i32,
  heads: i32,
  p: f32,
  keyA: u32,
  keyB: u32,
): void {
  const D = channels / heads;
  const qkvBytes = <usize> (channels * 12), outBytes = <usize> (channels << 2);
  const scale = <f32> (1.0 / Math.sqrt(<f64> D));
  for (let item = start; item < end; item++) {
    const sequence = item / heads, head = item % heads;
    const first = load<i32>(offsets + <usize> (sequence << 2));
    const T = load<i32>(offsets + <usize> (sequence << 2), 4) - first;
    const headBytes = <usize> (head * D << 2);
    const q = qkv + <usize> first * qkvBytes + headBytes;
    const dq = dqkv + <usize> first * qkvBytes + headBytes;
    const dk = dq + outBytes, dv = dk + outBytes;
    for (let t = 0; t < T; t++) {
      memory.fill(dk + <usize> t * qkvBytes, 0, <usize> (D << 2));
      memory.fill(dv + <usize> t * qkvBytes, 0, <usize> (D << 2));
    }
    const width = roundUp(T, TILE_COLUMNS), wideD = roundUp(D, TILE_COLUMNS);
    const lineBytes = <usize> (width << 2);
    // Scratch: K^T, V^T and K whole; then per block of queries its B operand, an A operand, P and dS.
    const packedVt = packB(scratch, q + outBytes, qkvBytes, D, T, true);
    const packedK = packB(packedVt, q + 2 * outBytes, qkvBytes, D, T, true);
    const b = packB(packedK, q + outBytes, qkvBytes, T, D, false);
    const a = b + <usize> (QUERY_BLOCK * wideD << 2);
    const P = a + <usize> (QUERY_BLOCK * (max(width, wideD) + TILE_ROWS) << 2);
    const dS = P + <usize> QUERY_BLOCK * lineBytes;
    for (let row = 0; row < T; row += QUERY_BLOCK) {
      const rows = min(QUERY_BLOCK, T - row), keys = row + rows;
      const queries = q + <usize> row * qkvBytes;
      const dO = dout + <usize> (first + row) * outBytes + headBytes;
      packA(a, queries, qkvBytes, rows, D, false);
      multiply(rows, keys, D, a, scratch, P, lineBytes, false);
      packA(a, dO, outBytes, rows, D, false);
      multiply(rows, keys, D, a, packedVt, dS, lineBytes, false);
      for (let i = 0; i < rows; i++) {
        const n = first + row + i, at = <usize> i * lineBytes;
        const sum = load<f32>(sums + <usize> (n * heads + head << 2));
        probabilities(P + at, row + i + 1, roundUp(keys, 4), scale, sum);
        const counter = counterOf(n, head, heads);
        if (p > 0) dropRow(dS + at, roundUp(keys, 4), counter, keyA, keyB, p);
        scoreGradient(P + at, dS + at, row + i + 1, roundUp(keys, 4), scale);
        if (p > 0) dropRow(P + at, roundUp(keys, 4), counter, keyA, keyB, p);
      }
      packB(b, dO, outBytes, rows, D, false);
      packA(a, P, lineBytes, keys, rows, true);
      multiply(keys, D, rows, a, b, dv, qkvBytes, true);
      packB(b, queries, qkvBytes, rows, D, false);
      packA(a, dS, lineBytes, keys, rows, true);
      multiply(keys, D, rows, a, b, dk, qkvBytes, true);
      packA(a, dS, lineBytes, rows, keys, false);
      multiplyKeys(rows, D, keys, T, a, packedK, dq + <usize> row * qkvBytes, qkvBytes, false);
    }
  }
}

/** dS = scale * P (dP - sum(P dP)) in place of dP, zeros from `keys` to `width`. */
function scoreGradient(p: usize, dp: usize, keys: i32, width: i32, scale: f32): void {
  let sums = f32x4.splat(0), total: f32 = 0;
  let k = 0;
  for (; k + 4 <= keys; k += 4) {
    const at = <usize> (k << 2);
    sums = madd(v128.load(p + at), v128.load(dp + at), sums);
  }
  for (; k < keys; k++) {
    const at = <usize> (k << 2);
    total += load<f32>(p + at) * load<f32>(dp + at);
  }
  total += sumLanes(sums);
  const t = f32x4.splat(total), s = f32x4.splat(scale);
  for (k = 0; k + 4 <= keys; k += 4) {
    const at = <usize> (k << 2);
    const difference = f32x4.sub(v128.load(dp + at), t);
    v128.store(dp + at, f32x4.mul(f32x4.mul(v128.load(p + at), difference), s));
  }
  for (; k < width; k++) {
    const at = <usize> (k << 2);
    store<f32>(dp + at, k < keys ? load<f32>(p + at) * (load<f32>(dp + at) - total) * scale : 0);
  }
}

/**
 * Attention of new tokens over cached ones, work items [start, end) of rows * H. A sequence's keys and values
 * may lie anywhere in the cache: `tables` [sequences, tableBytes / 4] lists the cache rows of each; query row n
 * belongs to sequence owners[n] and sees that table's first counts[n] rows, its own among them.
 */
export function attention_cached(
  start: i32,
  end: i32,
  qkv: usize,
  keys: usize,
  values: usize,
  out: usize,
  channels: i32,
  heads: i32,
  tables: usize,
  tableBytes: usize,
  owners: usize,
  counts: usize,
): void {
  const D = channels / heads;
  const rowBytes = <usize> (channels << 2);
  const scale = f32x4.splat(<f32> (1.0 / Math.sqrt(<f64> D)));
  for (let item = start; item < end; item++) {
    const token = item / heads, headBytes = <usize> (item % heads * D << 2);
    const q = qkv + <usize> token * rowBytes * 3 + headBytes;
    const at = <usize> (token << 2);
    const table = tables + <usize> load<i32>(owners + at) * tableBytes;
    const count = load<i32>(counts + at);
    const scores = scratch;
    let highest: f32 = -Infinity;
    for (let t = 0; t < count; t++) {
      const row = <usize> load<i32>(table + <usize> (t << 2));
      const score = dot(q, keys + row * rowBytes + headBytes, D);
      store<f32>(scores + <usize> (t << 2), score);
      highest = max(highest, score);
    }
    const h = f32x4.splat(-highest * f32x4.extract_lane(scale, 0));
    let total: f32 = 0;
    for (let t = 0; t < count; t += 4) {
      const score = scores + <usize> (t << 2);
      const e = exp4(madd(v128.load(score), scale, h));
      v128.store(score, e);
      if (t + 4 <= count) total += sumLanes(e);
      else for (let u = t; u < count; u++) total += load<f32>(scores + <usize> (u << 2));
    }
    const o = out + <usize> token * rowBytes + headBytes;
    memory.fill(o, 0, <usize> (D << 2));
    for (let t = 0; t < count; t++) {
      const weight = load<f32>(scores + <usize> (t << 2)) / total;
      const row = <usize> load<i32>(table + <usize> (t << 2));
      addScaled(o, values + row * rowBytes + headBytes, weight, D);
    }
  }
}

function dot(a: usize, b: usize, n: i32): f32 {
  let sum = f32x4.splat(0), rest: f32 = 0;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> (i << 2);
    sum = madd(v128.load(a + at), v128.load(b + at), sum);
  }
  for (; i < n; i++) rest += load<f32>(a + <usize> (i << 2)) * load<f32>(b + <usize> (i << 2));
  return sumLanes(sum) + rest;
}

function addScaled(y: usize, x: usize, scale: f32, n: i32): void {
  const s = f32x4.splat(scale);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const at = <usize> (i << 2);
    v128.store(y + at, madd(v128.load(x + at), s, v128.load(y + at)));
  }
  for (; i < n; i++) {
    const at = <usize> (i << 2);
    store<f32>(y + at, load<f32>(y + at) + load<f32>(x + at) * scale);
  }
}
