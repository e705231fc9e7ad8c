// Rearranges matrices into the panels that the GEMM tiles read, and back. Each call packs whole panels;
// rows or columns that the matrix does not have become zeros.

import { highHalves, interleaveHigh, interleaveLow, lowHalves } from "./simd";
import { TILE_COLUMNS, TILE_ROWS } from "./tile";

/** One A panel [depth, 6] from six rows of a row-major matrix (k contiguous). */
function packSixRows(target: usize, a: usize, rowBytes: usize, depth: i32): void {
  let q0 = a, q1 = q0 + rowBytes, q2 = q1 + rowBytes;
  let q3 = q2 + rowBytes, q4 = q3 + rowBytes, q5 = q4 + rowBytes;
  let k = 0;
  for (; k + 4 <= depth; k += 4) {
    const r0 = v128.load(q0), r1 = v128.load(q1), r2 = v128.load(q2);
    const r3 = v128.load(q3), r4 = v128.load(q4), r5 = v128.load(q5);
    const a0 = interleaveLow(r0, r1), a1 = interleaveHigh(r0, r1);
    const b0 = interleaveLow(r2, r3), b1 = interleaveHigh(r2, r3);
    const c0 = interleaveLow(r4, r5), c1 = interleaveHigh(r4, r5);
    v128.store(target, lowHalves(a0, b0));
    v128.store(target, v128.shuffle<f64>(c0, a0, 0, 3), 16);
    v128.store(target, highHalves(b0, c0), 32);
    v128.store(target, lowHalves(a1, b1), 48);
    v128.store(target, v128.shuffle<f64>(c1, a1, 0, 3), 64);
    v128.store(target, highHalves(b1, c1), 80);
    target += 96;
    q0 += 16, q1 += 16, q2 += 16, q3 += 16, q4 += 16, q5 += 16;
  }
  for (; k < depth; k++) {
    store<f32>(target, load<f32>(q0));
    store<f32>(target, load<f32>(q1), 4);
    store<f32>(target, load<f32>(q2), 8);
    store<f32>(target, load<f32>(q3), 12);
    store<f32>(target, load<f32>(q4), 16);
    store<f32>(target, load<f32>(q5), 20);
    target += 24;
    q0 += 4, q1 += 4, q2 += 4, q3 += 4, q4 += 4, q5 += 4;
  }
}

/** One panel [depth, width] of `count` <= width lines; element (k, i) lies at k * kBytes + i * lineBytes. */
function packEdge(
  target: usize,
  source: usize,
  kBytes: usize,
  lineBytes: usize,
  depth: i32,
  count: i32,
  width: i32,
): void {
  for (let k = 0; k < depth; k++) {
    let q = source;
    for (let i = 0; i < width; i++) {
      store<f32>(target, i < count ? load<f32>(q) : 0);
      target += 4;
      q += lineBytes;
    }
    source += kBytes;
  }
}

/** A panels [start, end) of [ceil(rows / 6), depth, 6] from row-major A [rows, depth]. */
export function pack_rows(
  start: i32,
  end: i32,
  target: usize,
  a: usize,
  rowBytes: usize,
  rows: i32,
  depth: i32,
): void {
  const panelBytes = <usize> (depth * TILE_ROWS * 4);
  for (let panel = start; panel < end; panel++) {
    const row = panel * TILE_ROWS;
    const from = a + <usize> row * rowBytes;
    const to = target + <usize> panel * panelBytes;
    if (row + TILE_ROWS <= rows) packSixRows(to, from, rowBytes, depth);
    else packEdge(to, from, 4, rowBytes, depth, rows - row, TILE_ROWS);
  }
}

/** A panels [start, end) of [ceil(rows / 6), depth, 6] from A^T [depth, rows], row-major. */
export function pack_rows_transposed(
  start: i32,
  end: i32,
  target: usize,
  a: usize,
  rowBytes: usize,
  rows: i32,
  depth: i32,
): void {
  const panelBytes = <usize> (depth * TILE_ROWS * 4);
  for (let panel = start; panel < end; panel++) {
    const row = panel * TILE_ROWS;
    let from = a + <usize> (row << 2);
    let to = target + <usize> panel * panelBytes;
    if (row + TILE_ROWS > rows) {
      packEdge(to, from, rowBytes, 4, depth, rows - row, TILE_ROWS);
      continue;
    }
    for (const last = to + panelBytes; to < last; to += 24) {
      v128.store(to, v128.load(from));
      store<u64>(to, load<u64>(from, 16), 16);
      from += rowBytes;
    }
  }
}

/** One B panel [depth, 16] from row-major B (columns contiguous), `columns` <= 16 of which exist. */
export function packColumns(
  target: usize,
  b: usize,
  rowBytes: usize,
  depth: i32,
  columns: i32,
): void {
  if (columns < TILE_COLUMNS) return packEdge(target, b, rowBytes, 4, depth, columns, TILE_COLUMNS);
  for (const last = target + <usize> (depth << 6); target < last; target += 64) {
    const x0 = v128.load(b), x1 = v128.load(b, 16), x2 = v128.load(b, 32), x3 = v128.load(b, 48);
    v128.store(target, x0);
    v128.store(target, x1, 16);
    v128.store(target, x2, 32);
    v128.store(target, x3, 48);
    b += rowBytes;
  }
}

/** One B panel [depth, 16] from B^T, row-major [columns, depth] (k contiguous). */
export function packColumnsTransposed(
  target: usize,
  b: usize,
  rowBytes: usize,
  depth: i32,
  columns: i32,
): void {
  if (columns < TILE_COLUMNS) return packEdge(target, b, 4, rowBytes, depth, columns, TILE_COLUMNS);
  for (let quarter = 0; quarter < 4; quarter++) {
    let q0 = b + <usize> (quarter << 2) * rowBytes;
    let q1 = q0 + rowBytes, q2 = q1 + rowBytes, q3 = q2 + rowBytes;
    let to = target + <usize> (quarter << 4);
    let k = 0;
    for (; k + 4 <= depth; k += 4) {
      transpose4(to, 64, v128.load(q0), v128.load(q1), v128.load(q2), v128.load(q3));
      to += 256;
      q0 += 16, q1 += 16, q2 += 16, q3 += 16;
    }
    for (; k < depth; k++) {
      store<f32>(to, load<f32>(q0));
      store<f32>(to, load<f32>(q1), 4);
      store<f32>(to, load<f32>(q2), 8);
      store<f32>(to, load<f32>(q3), 12);
      to += 64;
      q0 += 4, q1 += 4, q2 += 4, q3 += 4;
    }
  }
}

/** Writes the transpose of four rows, `rowBytes` apart. */
// @ts-ignore: decorator
@inline
function transpose4(to: usize, rowBytes: usize, r0: v128, r1: v128, r2: v128, r3: v128): void {
  const a0 = interleaveLow(r0, r1), a1 = interleaveHigh(r0, r1);
  const b0 = interleaveLow(r2, r3), b1 = interleaveHigh(r2, r3);
  v128.store(to, lowHalves(a0, b0));
  v128.store(to + rowBytes, highHalves(a0, b0));
  v128.store(to + 2 * rowBytes, lowHalves(a1, b1));
  v128.store(to + 3 * rowBytes, highHalves(a1, b1));
}

/**
 * One B panel [outDepth, 16] of W^T from a weight W [in, out] that lives in panels
 * [ceil(out / 16), in, 16]: rows `out0` to `out0 + outDepth` (out0 a multiple of 16), sixteen inputs
 * from `input`, `inputs` <= 16 of which exist.
 */
export function packWeightTransposed(
  target: usize,
  weight: usize,
  panelBytes: usize,
  input: i32,
  inputs: i32,
  out0: i32,
  outDepth: i32,
): void {
  for (let o = 0; o < outDepth; o += TILE_COLUMNS) {
    const count = min(TILE_COLUMNS, outDepth - o);
    let from = weight + <usize> ((out0 + o) >> 4) * panelBytes + <usize> (input << 6);
    let to = target + <usize> (o << 6);
    if (inputs == TILE_COLUMNS && count == TILE_COLUMNS) {
      for (let i = 0; i < 4; i++) {
        for (let j = 0; j < 4; j++) {
          const q = from + <usize> (j << 4);
          const r0 = v128.load(q), r1 = v128.load(q, 64);
          const r2 = v128.load(q, 128), r3 = v128.load(q, 192);
          transpose4(to + <usize> (j << 8), 64, r0, r1, r2, r3);
        }
        from += 256;
        to += 16;
      }
    } else {
      packEdge(to, from, 4, 64, count, inputs, TILE_COLUMNS);
    }
  }
}

/** Weight panels [start, end) of [ceil(out / 16), in, 16] from row-major W [in, out]. */
export function to_panels(
  start: i32,
  end: i32,
  panels: usize,
  matrix: usize,
  inputs: i32,
  outputs: i32,
): void {
  for (let panel = start; panel < end; panel++) {
    const column = panel * TILE_COLUMNS;
    packColumns(
      panels + <usize> panel * <usize> (inputs << 6),
      matrix + <usize> (column << 2),
      <usize> (outputs << 2),
      inputs,
      min(TILE_COLUMNS, outputs - column),
    );
  }
}

/** Weight panels [start, end) of [ceil(out / 16), in, 16] from row-major W^T [out, in]. */
export function to_panels_transposed(
  start: i32,
  end: i32,
  panels: usize,
  matrix: usize,
  inputs: i32,
  outputs: i32,
): void {
  const rowBytes = <usize> (inputs << 2);
  for (let panel = start; panel < end; panel++) {
    const column = panel * TILE_COLUMNS;
    packColumnsTransposed(
      panels + <usize> panel * <usize> (inputs << 6),
      matrix + <usize> column * rowBytes,
      rowBytes,
      inputs,
      min(TILE_COLUMNS, outputs - column),
    );
  }
}

/** Row-major W [in, out] (or W^T [out, in]) from weight panels [start, end). */
export function from_panels(
  start: i32,
  end: i32,
  panels: usize,
  matrix: usize,
  inputs: i32,
  outputs: i32,
  transposed: i32,
): void {
  const inputBytes = transposed ? <usize> 4 : <usize> (outputs << 2);
  const outputBytes = transposed ? <usize> (inputs << 2) : <usize> 4;
  for (let panel = start; panel < end; panel++) {
    const column = panel * TILE_COLUMNS;
    const columns = min(TILE_COLUMNS, outputs - column);
    let from = panels + <usize> panel * <usize> (inputs << 6);
    let to = matrix + <usize> column * outputBytes;
    for (let i = 0; i < inputs; i++) {
      for (let j = 0; j < columns; j++) {
        store<f32>(to + <usize> j * outputBytes, load<f32>(from + <usize> (j << 2)));
      }
      from += 64;
      to += inputBytes;
    }
  }
}
