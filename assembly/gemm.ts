// Matrix products over packed operands. A is packed once for all threads (pack_rows), then each thread
// takes column panels of C; it packs the B that it needs into its own scratch, block by block.

import { packColumns, packColumnsTransposed, packWeightTransposed } from "./pack";
import { roundRows, widenBf16, widenInt8 } from "./quantize";
import { tile, TILE_COLUMNS, TILE_ROWS } from "./tile";

/** Depth of a block: a B panel of 384 x 16 floats (24 KB) and an A panel (9 KB) share the L1 cache. */
export const DEPTH_BLOCK: i32 = 384;
/**
 * Rows of a block: 264 x 384 floats of A (396 KB) stay in L2 while a chunk of columns goes by, and a batch of 256 tokens
 * reads B only once: 6 % faster there than blocks of 192.
 */
const ROW_BLOCK: i32 = 264;
/** Most column panels of a block, 32 x 24 KB: A is read from L2 or L3 once for every 512 columns. */
const MOST_PANELS: i32 = 32;

// How the operand B is stored.
const B_PANELS: i32 = 0; // already [ceil(n / 16), depth, 16]
const B_ROWS: i32 = 1; // row-major [depth, n]
const B_TRANSPOSED: i32 = 2; // row-major [n, depth]
const B_WEIGHT_TRANSPOSED: i32 = 3; // the weight W [n, depth] in panels [ceil(depth / 16), n, 16]
const B_PANELS_BF16: i32 = 4; // see quantize; DEPTH_BLOCK is a multiple of its groups
const B_PANELS_INT8: i32 = 5;
// As B_PANELS and B_WEIGHT_TRANSPOSED, each element rounded to bf16 on its way. A bf16 copy of the weights would take
// half as much memory again, and have to be made anew after every step of the optimiser.
const B_PANELS_ROUNDED: i32 = 6;
const B_WEIGHT_TRANSPOSED_ROUNDED: i32 = 7;

// This thread's scratch, from its pointer on: 64 bytes of zeros, a tile for edges, room for B.
let zeros: usize = 0;
let edge: usize = 0;
let blockB: usize = 0;
/** The rest of this thread's scratch, for kernels that need more than GEMM does. */
export let scratch: usize = 0;

/** Gives this thread its scratch memory, zero-filled at its head. */
export function set_scratch(pointer: usize): void {
  zeros = pointer;
  edge = pointer + 64;
  blockB = edge + <usize> (TILE_ROWS * TILE_COLUMNS * 4);
  scratch = blockB + <usize> (MOST_PANELS * DEPTH_BLOCK * TILE_COLUMNS * 4);
  memory.fill(zeros, 0, 64);
}

/** What a B operand is and how to read it. */
// @ts-ignore: decorator
@inline
function packPanel(
  kind: i32,
  target: usize,
  b: usize,
  stride: usize,
  column: i32,
  columns: i32,
  k: i32,
  depth: i32,
): void {
  if (kind == B_ROWS) {
    packColumns(target, b + <usize> k * stride + <usize> (column << 2), stride, depth, columns);
  } else if (kind == B_TRANSPOSED) {
    packColumnsTransposed(
      target,
      b + <usize> column * stride + <usize> (k << 2),
      stride,
      depth,
      columns,
    );
  } else if (kind == B_WEIGHT_TRANSPOSED || kind == B_WEIGHT_TRANSPOSED_ROUNDED) {
    packWeightTransposed(target, b, stride, column, columns, k, depth);
    if (kind == B_WEIGHT_TRANSPOSED_ROUNDED) roundRows(target, target, depth);
  } else {
    const panel = b + <usize> (column >> 4) * stride;
    if (kind == B_PANELS_BF16) widenBf16(target, panel, k, depth);
    else if (kind == B_PANELS_INT8) widenInt8(target, panel, k, depth);
    else roundRows(target, panel + <usize> (k << 6), depth);
  }
}

/**
 * One block of C: row panels [row0, row1), column panel `b` of `columns` <= 16 columns, `depth` deep.
 * a: first A panel's block, its panels panelBytes apart. c: this column panel's first row in C.
 */
function multiplyPanel(
  row0: i32,
  row1: i32,
  columns: i32,
  depth: i32,
  a: usize,
  panelBytes: usize,
  b: usize,
  c: usize,
  rowBytes: usize,
  start: usize,
  add: bool,
): void {
  for (let row = row0; row < row1; row += TILE_ROWS) {
    const rows = min(TILE_ROWS, row1 - row);
    if (rows == TILE_ROWS && columns == TILE_COLUMNS) {
      tile(depth, a, b, c, rowBytes, start, add);
    } else {
      tile(depth, a, b, edge, <usize> (TILE_COLUMNS << 2), start, false);
      copyEdge(c, rowBytes, rows, columns, add);
    }
    a += panelBytes;
    c += <usize> TILE_ROWS * rowBytes;
  }
}

/** Moves the part of the edge tile that exists into C. */
function copyEdge(c: usize, rowBytes: usize, rows: i32, columns: i32, add: bool): void {
  for (let i = 0; i < rows; i++) {
    const from = edge + <usize> (i << 6);
    const to = c + <usize> i * rowBytes;
    for (let j = 0; j < columns; j++) {
      const at = <usize> (j << 2);
      const value = load<f32>(from + at);
      store<f32>(to + at, add ? load<f32>(to + at) + value : value);
    }
  }
}

/**
 * Column panels [start, end) of C [rows, n] = A [rows, depth] x B [depth, n] (+ bias [n], or += C).
 *
 * a: A panels [ceil(rows / 6), depth, 6]. b: see `kind`; stride: bytes between its rows, or between the
 * weight's panels. c: rows rowBytes apart, column panels panelBytes apart (64 when row-major).
 * bias: n floats, padded to 16 in memory, or 0 for none.
 */
export function gemm(
  start: i32,
  end: i32,
  rows: i32,
  n: i32,
  depth: i32,
  a: usize,
  kind: i32,
  b: usize,
  stride: usize,
  c: usize,
  rowBytes: usize,
  panelBytes: usize,
  bias: usize,
  add: i32,
): void {
  const panelA = <usize> (depth * TILE_ROWS * 4);
  for (let first = start; first < end; first += MOST_PANELS) {
    const last = min(end, first + MOST_PANELS);
    if (kind == B_PANELS) {
      // Depth inside rows: a block of C is still in L2 when its next share of the sum comes.
      const panelB = <usize> (depth << 6), panels = b + <usize> first * panelB;
      for (let row = 0; row < rows; row += ROW_BLOCK) {
        for (let k = 0; k < depth; k += DEPTH_BLOCK) {
          const fromA = a + <usize> (row / TILE_ROWS) * panelA + <usize> (k * TILE_ROWS * 4);
          multiplyPanels(
            first,
            last,
            n,
            min(ROW_BLOCK, rows - row),
            min(DEPTH_BLOCK, depth - k),
            fromA,
            panelA,
            panels + <usize> (k << 6),
            panelB,
            c + <usize> row * rowBytes,
            rowBytes,
            panelBytes,
            bias,
            k > 0 || add != 0,
          );
        }
      }
    } else {
      // Depth outside: what was packed of B is used for all rows.
      for (let k = 0; k < depth; k += DEPTH_BLOCK) {
        const block = min(DEPTH_BLOCK, depth - k), panelB = <usize> (block << 6);
        for (let panel = first; panel < last; panel++) {
          const column = panel << 4;
          const to = blockB + <usize> (panel - first) * panelB;
          packPanel(kind, to, b, stride, column, min(TILE_COLUMNS, n - column), k, block);
        }
        for (let row = 0; row < rows; row += ROW_BLOCK) {
          const fromA = a + <usize> (row / TILE_ROWS) * panelA + <usize> (k * TILE_ROWS * 4);
          multiplyPanels(
            first,
            last,
            n,
            min(ROW_BLOCK, rows - row),
            block,
            fromA,
            panelA,
            blockB,
            panelB,
            c + <usize> row * rowBytes,
            rowBytes,
            panelBytes,
            bias,
            k > 0 || add != 0,
          );
        }
      }
    }
  }
}

/**
 * One block of C: `rows` rows from `c` on, column panels [first, last), `depth` deep. a, b: the block's first
 * panels, panelA and panelB bytes apart. bias: 0 or the whole row's, for the first share of the sum.
 */
function multiplyPanels(
  first: i32,
  last: i32,
  n: i32,
  rows: i32,
  depth: i32,
  a: usize,
  panelA: usize,
  b: usize,
  panelB: usize,
  c: usize,
  rowBytes: usize,
  panelBytes: usize,
  bias: usize,
  add: bool,
): void {
  for (let panel = first; panel < last; panel++) {
    const column = panel << 4;
    multiplyPanel(
      0,
      rows,
      min(TILE_COLUMNS, n - column),
      depth,
      a,
      panelA,
      b + <usize> (panel - first) * panelB,
      c + <usize> panel * panelBytes,
      rowBytes,
      bias != 0 && !add ? bias + <usize> (column << 2) : zeros,
      add,
    );
  }
}

/**
 * C [rows, n] = A x B (or +=) for operands already packed whole: the small products of attention.
 * a: [ceil(rows / 6), depth, 6]; b: [ceil(n / 16), depth, 16]; C row-major.
 */
export function multiply(
  rows: i32,
  n: i32,
  depth: i32,
  a: usize,
  b: usize,
  c: usize,
  rowBytes: usize,
  add: bool,
): void {
  for (let column = 0; column < n; column += TILE_COLUMNS) {
    multiplyPanel(
      0,
      rows,
      min(TILE_COLUMNS, n - column),
      depth,
      a,
      <usize> (depth * TILE_ROWS * 4),
      b + <usize> column * <usize> (depth << 2),
      c + <usize> (column << 2),
      rowBytes,
      zeros,
      add,
    );
  }
}
