// The two GEMM microkernels. Both sum every element of C over k in the same order, from the same start,
// so that they give the same bytes. They trust their caller for every address.
//
//   A panel [depth, 6]: six rows of A, k-major     B panel [depth, 16]: sixteen columns of B, k-major

import { madd } from "./simd";

/** Rows and columns of a C tile. */
export const TILE_ROWS: i32 = 6;
export const TILE_COLUMNS: i32 = 16;

let wide: bool = false;

/** Chooses the microkernel of this thread: 6x16 (fast when V8 emits 256-bit code) or twice 6x8. */
export function choose_tile(useWide: i32): void {
  wide = useWide != 0;
}

/**
 * C tile [6, 16] = start + A panel x B panel, or += without start's share.
 * start: 16 floats that every row begins from (a bias, or zeros). rowBytes: distance of C's rows.
 */
// @ts-ignore: decorator
@inline
export function tile(
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  rowBytes: usize,
  start: usize,
  add: bool,
): void {
  if (wide) {
    tile6x16(depth, a, b, c, rowBytes, start, add);
  } else {
    tile6x8(depth, a, b, c, rowBytes, start, add);
    tile6x8(depth, a, b + 32, c + 32, rowBytes, start + 32, add);
  }
}

// @ts-ignore: decorator
@inline
function storeRow16(c: usize, rowBytes: usize, x0: v128, x1: v128, x2: v128, x3: v128): usize {
  v128.store(c, x0);
  v128.store(c, x1, 16);
  v128.store(c, x2, 32);
  v128.store(c, x3, 48);
  return c + rowBytes;
}

// @ts-ignore: decorator
@inline
function addRow16(c: usize, rowBytes: usize, x0: v128, x1: v128, x2: v128, x3: v128): usize {
  const d0 = v128.load(c), d1 = v128.load(c, 16), d2 = v128.load(c, 32), d3 = v128.load(c, 48);
  const e0 = f32x4.add(x0, d0), e1 = f32x4.add(x1, d1);
  const e2 = f32x4.add(x2, d2), e3 = f32x4.add(x3, d3);
  return storeRow16(c, rowBytes, e0, e1, e2, e3);
}

// @ts-ignore: decorator
@inline
function storeRow8(c: usize, rowBytes: usize, x0: v128, x1: v128): usize {
  v128.store(c, x0);
  v128.store(c, x1, 16);
  return c + rowBytes;
}

// @ts-ignore: decorator
@inline
function addRow8(c: usize, rowBytes: usize, x0: v128, x1: v128): usize {
  return storeRow8(c, rowBytes, f32x4.add(x0, v128.load(c)), f32x4.add(x1, v128.load(c, 16)));
}

/** Even lanes of a, odd lanes of b. */
// @ts-ignore: decorator
@inline
function evenOdd(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 5, 2, 7);
}

/** Low half of a, high half of b. */
// @ts-ignore: decorator
@inline
function lowHigh(a: v128, b: v128): v128 {
  return v128.shuffle<f32>(a, b, 0, 1, 6, 7);
}

/**
 * C tile [6, 16] from 24 accumulators, of which V8's revectoriser makes 12 256-bit registers.
 * All of a C row is loaded before any of it is stored, which is what lets the pairs be found.
 */
export function tile6x16(
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  rowBytes: usize,
  start: usize,
  add: bool,
): void {
  const s0 = v128.load(start, 0);
  const s1 = v128.load(start, 16);
  const s2 = v128.load(start, 32);
  const s3 = v128.load(start, 48);
  let c00 = s0, c01 = s1, c02 = s2, c03 = s3;
  let c10 = s0, c11 = s1, c12 = s2, c13 = s3;
  let c20 = s0, c21 = s1, c22 = s2, c23 = s3;
  let c30 = s0, c31 = s1, c32 = s2, c33 = s3;
  let c40 = s0, c41 = s1, c42 = s2, c43 = s3;
  let c50 = s0, c51 = s1, c52 = s2, c53 = s3;
  const end = a + <usize> (depth * 24);
  while (a < end) {
    const b0 = v128.load(b), b1 = v128.load(b, 16), b2 = v128.load(b, 32), b3 = v128.load(b, 48);
    const a0 = v128.load32_splat(a, 0);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    c02 = madd(a0, b2, c02);
    c03 = madd(a0, b3, c03);
    const a1 = v128.load32_splat(a, 4);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    c12 = madd(a1, b2, c12);
    c13 = madd(a1, b3, c13);
    const a2 = v128.load32_splat(a, 8);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    c22 = madd(a2, b2, c22);
    c23 = madd(a2, b3, c23);
    const a3 = v128.load32_splat(a, 12);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    c32 = madd(a3, b2, c32);
    c33 = madd(a3, b3, c33);
    const a4 = v128.load32_splat(a, 16);
    c40 = madd(a4, b0, c40);
    c41 = madd(a4, b1, c41);
    c42 = madd(a4, b2, c42);
    c43 = madd(a4, b3, c43);
    const a5 = v128.load32_splat(a, 20);
    c50 = madd(a5, b0, c50);
    c51 = madd(a5, b1, c51);
    c52 = madd(a5, b2, c52);
    c53 = madd(a5, b3, c53);
    a += 24;
    b += 64;
  }
  if (add) {
    c = addRow16(c, rowBytes, c00, c01, c02, c03);
    c = addRow16(c, rowBytes, c10, c11, c12, c13);
    c = addRow16(c, rowBytes, c20, c21, c22, c23);
    c = addRow16(c, rowBytes, c30, c31, c32, c33);
    c = addRow16(c, rowBytes, c40, c41, c42, c43);
    c = addRow16(c, rowBytes, c50, c51, c52, c53);
  } else {
    c = storeRow16(c, rowBytes, c00, c01, c02, c03);
    c = storeRow16(c, rowBytes, c10, c11, c12, c13);
    c = storeRow16(c, rowBytes, c20, c21, c22, c23);
    c = storeRow16(c, rowBytes, c30, c31, c32, c33);
    c = storeRow16(c, rowBytes, c40, c41, c42, c43);
    c = storeRow16(c, rowBytes, c50, c51, c52, c53);
  }
}

/**
 * C tile [6, 8] for 128-bit code. Rows 0 to 3 of A come as one vector that is permuted in place
 * between multiply-adds (lane^1, lane^2, lane^1), rows 4 and 5 as one 64-bit splat: 4 loads for 12
 * multiply-adds. Lane l of accumulator i then belongs to row i ^ l, which the blends at the end undo.
 */
function tile6x8(
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  rowBytes: usize,
  start: usize,
  add: bool,
): void {
  const s0 = v128.load(start, 0);
  const s1 = v128.load(start, 16);
  let c00 = s0, c01 = s1;
  let c10 = s0, c11 = s1;
  let c20 = s0, c21 = s1;
  let c30 = s0, c31 = s1;
  let c40 = s0, c41 = s1;
  let c50 = s0, c51 = s1;
  const end = a + <usize> (depth * 24);
  while (a < end) {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    let v = v128.load(a);
    c00 = madd(v, b0, c00);
    c01 = madd(v, b1, c01);
    v = v128.shuffle<f32>(v, v, 1, 0, 3, 2);
    c10 = madd(v, b0, c10);
    c11 = madd(v, b1, c11);
    v = v128.shuffle<f32>(v, v, 2, 3, 0, 1);
    c30 = madd(v, b0, c30);
    c31 = madd(v, b1, c31);
    v = v128.shuffle<f32>(v, v, 1, 0, 3, 2);
    c20 = madd(v, b0, c20);
    c21 = madd(v, b1, c21);
    let w = v128.load64_splat(a, 16);
    c40 = madd(w, b0, c40);
    c41 = madd(w, b1, c41);
    w = v128.shuffle<f32>(w, w, 1, 0, 3, 2);
    c50 = madd(w, b0, c50);
    c51 = madd(w, b1, c51);
    a += 24;
    b += 64; // a panel is 16 wide; this tile reads one half of it
  }
  const p0 = evenOdd(c00, c10), q0 = evenOdd(c10, c00);
  const t0 = evenOdd(c20, c30), u0 = evenOdd(c30, c20);
  const x0 = evenOdd(c40, c50), y0 = evenOdd(c50, c40);
  const p1 = evenOdd(c01, c11), q1 = evenOdd(c11, c01);
  const t1 = evenOdd(c21, c31), u1 = evenOdd(c31, c21);
  const x1 = evenOdd(c41, c51), y1 = evenOdd(c51, c41);
  if (add) {
    c = addRow8(c, rowBytes, lowHigh(p0, t0), lowHigh(p1, t1));
    c = addRow8(c, rowBytes, lowHigh(q0, u0), lowHigh(q1, u1));
    c = addRow8(c, rowBytes, lowHigh(t0, p0), lowHigh(t1, p1));
    c = addRow8(c, rowBytes, lowHigh(u0, q0), lowHigh(u1, q1));
    c = addRow8(c, rowBytes, x0, x1);
    c = addRow8(c, rowBytes, y0, y1);
  } else {
    c = storeRow8(c, rowBytes, lowHigh(p0, t0), lowHigh(p1, t1));
    c = storeRow8(c, rowBytes, lowHigh(q0, u0), lowHigh(q1, u1));
    c = storeRow8(c, rowBytes, lowHigh(t0, p0), lowHigh(t1, p1));
    c = storeRow8(c, rowBytes, lowHigh(u0, q0), lowHigh(u1, q1));
    c = storeRow8(c, rowBytes, x0, x1);
    c = storeRow8(c, rowBytes, y0, y1);
  }
}
