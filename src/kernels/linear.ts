// The matrix products of a linear layer y = x W + b, its weight living in the panels that GEMM reads.

import type { Tensor } from "./arena.ts";
import { checkShape } from "./check.ts";
import type { Runtime } from "./runtime.ts";

/** W [inputs, outputs] in memory as [ceil(outputs / 16), inputs, 16], the rest of the last panel zero. */
export interface Weight {
  readonly pointer: number;
  readonly inputs: number;
  readonly outputs: number;
}

/** Columns of a panel; rows of W beyond `outputs` up to a multiple of it are zeros. */
export const PANEL = 16;
const TILE_ROWS = 6;
/** Chunks a thread gets at least, so that an uneven start or end costs little. */
const CHUNKS_PER_THREAD = 4;
const MOST_PANELS_PER_CHUNK = 32;
/** Below this many multiply-adds, waking threads costs more than they save. */
const SMALL_PRODUCT = 100_000;

// How GEMM's operand B is stored; see assembly/gemm.ts.
const B_PANELS = 0, B_ROWS = 1, B_WEIGHT_TRANSPOSED = 3;

/** Floats of a weight in panels. */
export function weightLength(inputs: number, outputs: number): number {
  return Math.ceil(outputs / PANEL) * PANEL * inputs;
}

interface Product {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  /** A [rows, depth] row-major with rows of `aRowBytes`, or its transpose. */
  readonly a: number;
  readonly aRowBytes: number;
  readonly aTransposed: boolean;
  readonly kind: number;
  readonly b: number;
  readonly bStride: number;
  readonly c: number;
  readonly cRowBytes: number;
  readonly cPanelBytes: number;
  readonly bias: number;
  readonly add: boolean;
}

/** Packs A, then runs GEMM over column panels, on all threads. */
function multiply(runtime: Runtime, p: Product): void {
  const { pool, arena } = runtime;
  const rowPanels = Math.ceil(p.rows / TILE_ROWS), panels = Math.ceil(p.columns / PANEL);
  const small = p.rows * p.columns * p.depth < SMALL_PRODUCT;
  const chunk = small ? panels : Math.max(
    1,
    Math.min(MOST_PANELS_PER_CHUNK, Math.ceil(panels / (pool.threads * CHUNKS_PER_THREAD))),
  );
  arena.scope(() => {
    const packed = arena.allocate([rowPanels, p.depth, TILE_ROWS]).pointer;
    pool.run(
      p.aTransposed ? "pack_rows_transposed" : "pack_rows",
      rowPanels,
      small ? rowPanels : Math.max(1, Math.ceil(16384 / (p.depth * TILE_ROWS))),
      packed,
      p.a,
      p.aRowBytes,
      p.rows,
      p.depth,
    );
    pool.run(
      "gemm",
      panels,
      chunk,
      p.rows,
      p.columns,
      p.depth,
      packed,
      p.kind,
      p.b,
      p.bStride,
      p.c,
      p.cRowBytes,
      p.cPanelBytes,
      p.bias,
      Number(p.add),
    );
  });
}

/** Floats from one row of a [N, width] matrix to the next. */
function rowLength(x: Tensor): number {
  return x.shape[1]!;
}

/**
 * y [N, outputs] = x [N, inputs] W + bias. y's rows may be wider than `outputs` (a multiple of 16).
 * One row reads the weight once, by GEMV.
 */
export function linearForward(
  runtime: Runtime,
  y: Tensor,
  x: Tensor,
  weight: Weight,
  bias: Tensor | null,
): void {
  const rows = x.shape[0]!;
  checkShape("linearForward x", x, [rows, weight.inputs]);
  checkRows("linearForward y", y, rows, weight.outputs);
  if (bias !== null) checkShape("linearForward bias", bias, [weight.outputs]);
  if (rows === 1) {
    runtime.pool.run(
      "gemv",
      Math.ceil(weight.outputs / PANEL),
      weight.inputs * weight.outputs < SMALL_PRODUCT ? Infinity : 4,
      y.pointer,
      x.pointer,
      weight.pointer,
      bias?.pointer ?? 0,
      weight.inputs,
    );
    return;
  }
  multiply(runtime, {
    rows,
    columns: weight.outputs,
    depth: weight.inputs,
    a: x.pointer,
    aRowBytes: weight.inputs * 4,
    aTransposed: false,
    kind: B_PANELS,
    b: weight.pointer,
    bStride: 0,
    c: y.pointer,
    cRowBytes: rowLength(y) * 4,
    cPanelBytes: PANEL * 4,
    bias: bias?.pointer ?? 0,
    add: false,
  });
}

/** dx [N, inputs] = dy [N, outputs] W^T, or += with `add`. */
export function linearBackwardInput(
  runtime: Runtime,
  dx: Tensor,
  dy: Tensor,
  weight: Weight,
  add = false,
): void {
  const rows = dx.shape[0]!;
  checkShape("linearBackwardInput dx", dx, [rows, weight.inputs]);
  checkRows("linearBackwardInput dy", dy, rows, weight.outputs);
  multiply(runtime, {
    rows,
    columns: weight.inputs,
    depth: weight.outputs,
    a: dy.pointer,
    aRowBytes: rowLength(dy) * 4,
    aTransposed: false,
    kind: B_WEIGHT_TRANSPOSED,
    b: weight.pointer,
    bStride: weight.inputs * PANEL * 4,
    c: dx.pointer,
    cRowBytes: weight.inputs * 4,
    cPanelBytes: PANEL * 4,
    bias: 0,
    add,
  });
}

/** dW [inputs, outputs] += x^T dy, dW in panels like its weight. */
export function linearBackwardWeight(
  runtime: Runtime,
  dweight: Weight,
  x: Tensor,
  dy: Tensor,
): void {
  const rows = x.shape[0]!;
  checkShape("linearBackwardWeight x", x, [rows, dweight.inputs]);
  checkRows("linearBackwardWeight dy", dy, rows, dweight.outputs);
  multiply(runtime, {
    rows: dweight.inputs,
    columns: dweight.outputs,
    depth: rows,
    a: x.pointer,
    aRowBytes: dweight.inputs * 4,
    aTransposed: true,
    kind: B_ROWS,
    b: dy.pointer,
    bStride: rowLength(dy) * 4,
    c: dweight.pointer,
    cRowBytes: PANEL * 4,
    cPanelBytes: dweight.inputs * PANEL * 4,
    bias: 0,
    add: true,
  });
}

/** Rows may be padded: at least `columns` wide, and if wider, to a multiple of 16. */
function checkRows(what: string, tensor: Tensor, rows: number, columns: number): void {
  const width = tensor.shape[1]!;
  const padded = Math.ceil(columns / PANEL) * PANEL;
  checkShape(what, tensor, [rows, width === padded ? padded : columns]);
}

/** Fills a weight from a row-major matrix: W [inputs, outputs], or W^T when `transposed`. */
export function packWeight(
  runtime: Runtime,
  weight: Weight,
  matrix: Tensor,
  transposed: boolean,
): void {
  const shape = [weight.inputs, weight.outputs];
  checkShape("packWeight matrix", matrix, transposed ? shape.reverse() : shape);
  runtime.pool.run(
    transposed ? "to_panels_transposed" : "to_panels",
    Math.ceil(weight.outputs / PANEL),
    8,
    weight.pointer,
    matrix.pointer,
    weight.inputs,
    weight.outputs,
  );
}

/** The inverse of packWeight. */
export function unpackWeight(
  runtime: Runtime,
  weight: Weight,
  matrix: Tensor,
  transposed: boolean,
): void {
  const shape = [weight.inputs, weight.outputs];
  checkShape("unpackWeight matrix", matrix, transposed ? shape.reverse() : shape);
  runtime.pool.run(
    "from_panels",
    Math.ceil(weight.outputs / PANEL),
    8,
    weight.pointer,
    matrix.pointer,
    weight.inputs,
    weight.outputs,
    Number(transposed),
  );
}
