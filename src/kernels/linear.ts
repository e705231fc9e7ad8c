// The matrix products of a linear layer y = x W + b, its weight living in the panels that GEMM reads.

import type { Tensor } from "./arena.ts";
import { checkShape } from "./check.ts";
import type { Runtime } from "./runtime.ts";

/** Number formats of weights. Only f32 is trained, rounded or not; the others are for generation. */
export type Precision = "f32" | "bf16" | "int8";

/** W [inputs, outputs] in memory as [ceil(outputs / 16), inputs, 16], the rest of the last panel zero. */
export interface Weight {
  readonly pointer: number;
  readonly inputs: number;
  readonly outputs: number;
  /** Absent: f32. bf16 and int8 panels are laid out as assembly/quantize.ts says. */
  readonly precision?: Precision;
  /** Mixed precision: products read this f32 weight rounded to the nearest bf16. */
  readonly rounded?: boolean;
}

/** W's columns from `first` on, a multiple of 16, in the same memory. */
export function weightFrom(weight: Weight, first: number): Weight {
  const { inputs, outputs, precision = "f32" } = weight;
  if (!(first % PANEL === 0 && first >= 0 && first < outputs)) {
    throw new RangeError(`weightFrom: column ${first} of ${outputs}`);
  }
  const pointer = weight.pointer + first / PANEL * panelBytes(inputs, precision);
  return { ...weight, pointer, outputs: outputs - first };
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
const B_PANELS = 0, B_WEIGHT_TRANSPOSED = 3, B_PANELS_BF16 = 4, B_PANELS_INT8 = 5;
const B_PANELS_ROUNDED = 6, B_WEIGHT_TRANSPOSED_ROUNDED = 7;
export const B_ROWS = 1, B_TRANSPOSED = 2;
const PANELS_KIND = { f32: B_PANELS, bf16: B_PANELS_BF16, int8: B_PANELS_INT8 };
const GEMV = { f32: "gemv", bf16: "gemv_bf16", int8: "gemv_int8" };

/** Up to so many rows, GEMV is faster than GEMM, which packs its operands first. */
const GEMV_ROWS = 6;
/** Bytes of a weight that a thread takes at a time: one stream, long enough to be read ahead. */
const GEMV_CHUNK = 2 ** 17;
/** Inputs that share a scale in int8. */
const GROUP = 32;

/** Floats of a weight in panels. */
export function weightLength(inputs: number, outputs: number): number {
  return Math.ceil(outputs / PANEL) * PANEL * inputs;
}

/** Bytes of one panel of 16 outputs. */
function panelBytes(inputs: number, precision: Precision): number {
  if (precision === "f32") return inputs * PANEL * 4;
  if (precision === "bf16") return inputs * PANEL * 2;
  return Math.ceil(inputs / GROUP) * (GROUP + 2) * PANEL + PANEL * 4;
}

/** Bytes of a weight in panels. */
export function weightBytes(inputs: number, outputs: number, precision: Precision): number {
  return Math.ceil(outputs / PANEL) * panelBytes(inputs, precision);
}

export interface Product {
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
export function multiply(runtime: Runtime, p: Product): void {
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

/** What linearForward may assume. */
export interface LinearOptions {
  /**
   * The few rows of a decoding step, whose speed is that of reading the weight: GEMV, in int8 with activations
   * of 14 bits. Otherwise a weight is widened and multiplied in f32 by GEMM.
   */
  readonly step?: boolean;
  /** Adds to y instead of writing it. */
  readonly add?: boolean;
}

/**
 * y [N, outputs] = x [N, inputs] W + bias, or += with `add`. y's rows may be wider than `outputs` (a multiple of 16).
 * A row's bytes do not depend on the other rows.
 */
export function linearForward(
  runtime: Runtime,
  y: Tensor,
  x: Tensor,
  weight: Weight,
  bias: Tensor | null,
  { step = false, add = false }: LinearOptions = {},
): void {
  const { inputs, outputs, precision = "f32", rounded = false } = weight;
  const rows = x.shape[0]!;
  checkShape("linearForward x", x, [rows, inputs]);
  checkRows("linearForward y", y, rows, outputs);
  if (bias !== null) checkShape("linearForward bias", bias, [outputs]);
  // In f32, GEMV and GEMM give the same bytes, so that the faster is free to choose. GEMV does not round.
  if (!add && !rounded && (precision === "f32" ? rows <= GEMV_ROWS : step)) {
    fewRows(runtime, y, x, weight, precision, bias);
    return;
  }
  multiply(runtime, {
    rows,
    columns: outputs,
    depth: inputs,
    a: x.pointer,
    aRowBytes: inputs * 4,
    aTransposed: false,
    kind: rounded ? B_PANELS_ROUNDED : PANELS_KIND[precision],
    b: weight.pointer,
    bStride: panelBytes(inputs, precision),
    c: y.pointer,
    cRowBytes: rowLength(y) * 4,
    cPanelBytes: PANEL * 4,
    bias: bias?.pointer ?? 0,
    add,
  });
}

/**
 * linearForward by GEMV, which writes whole panels: where y's rows have no room for that, its last panel
 * goes through a copy.
 */
function fewRows(
  runtime: Runtime,
  y: Tensor,
  x: Tensor,
  { pointer, inputs, outputs }: Weight,
  precision: Precision,
  bias: Tensor | null,
): void {
  const { arena, pool } = runtime;
  const rows = x.shape[0]!, panels = Math.ceil(outputs / PANEL), width = panels * PANEL;
  const small = rows * inputs * outputs < SMALL_PRODUCT;
  arena.scope(() => {
    const whole = rows === 1 || rowLength(y) === width ? y : arena.allocate([rows, width]);
    pool.run(
      GEMV[precision],
      panels,
      small ? panels : Math.max(1, Math.floor(GEMV_CHUNK / panelBytes(inputs, precision))),
      rows,
      whole.pointer,
      width * 4,
      precision === "int8" ? quantizeRows(runtime, x).pointer : x.pointer,
      pointer,
      bias?.pointer ?? 0,
      inputs,
    );
    if (whole === y) return;
    const from = runtime.f32(whole), to = runtime.f32(y), length = rowLength(y);
    for (let row = 0; row < rows; row++) {
      to.set(from.subarray(row * width, row * width + outputs), row * length);
    }
  });
}

/** Activations of 14 bits for gemv_int8. */
function quantizeRows(runtime: Runtime, x: Tensor): Tensor {
  const [rows, inputs] = x.shape as [number, number];
  const bytes = 16 + 2 * Math.ceil(inputs / GROUP) * GROUP;
  const quantized = runtime.arena.allocate([rows, bytes], "u8");
  const perChunk = Math.max(1, Math.floor(SMALL_PRODUCT / inputs));
  runtime.pool.run("quantize_rows", rows, perChunk, quantized.pointer, x.pointer, inputs);
  return quantized;
}

function checkTrainable(what: string, { precision = "f32" }: Weight): void {
  if (precision !== "f32") throw new TypeError(`${what}: a weight in ${precision} is not trained`);
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
  checkTrainable("linearBackwardInput", weight);
  checkShape("linearBackwardInput dx", dx, [rows, weight.inputs]);
  checkRows("linearBackwardInput dy", dy, rows, weight.outputs);
  multiply(runtime, {
    rows,
    columns: weight.inputs,
    depth: weight.outputs,
    a: dy.pointer,
    aRowBytes: rowLength(dy) * 4,
    aTransposed: false,
    kind: weight.rounded ? B_WEIGHT_TRANSPOSED_ROUNDED : B_WEIGHT_TRANSPOSED,
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
  checkTrainable("linearBackwardWeight", dweight);
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
  const { inputs, outputs, precision = "f32" } = weight;
  const shape = [inputs, outputs];
  checkShape("packWeight matrix", matrix, transposed ? shape.reverse() : shape);
  const panels = Math.ceil(outputs / PANEL);
  const pack = (to: number) =>
    runtime.pool.run(
      transposed ? "to_panels_transposed" : "to_panels",
      panels,
      8,
      to,
      matrix.pointer,
      inputs,
      outputs,
    );
  if (precision === "f32") return pack(weight.pointer);
  runtime.arena.scope(() => {
    const wide = runtime.arena.allocate([weightLength(inputs, outputs)]).pointer;
    pack(wide);
    runtime.pool.run(`narrow_${precision}`, panels, 8, weight.pointer, wide, inputs);
  });
}

/** The inverse of packWeight, but for what a narrower format rounds. */
export function unpackWeight(
  runtime: Runtime,
  weight: Weight,
  matrix: Tensor,
  transposed: boolean,
): void {
  const { inputs, outputs, precision = "f32" } = weight;
  const shape = [inputs, outputs];
  checkShape("unpackWeight matrix", matrix, transposed ? shape.reverse() : shape);
  const { arena, pool } = runtime;
  const panels = Math.ceil(outputs / PANEL);
  arena.scope(() => {
    let wide = weight.pointer;
    if (precision !== "f32") {
      wide = arena.allocate([weightLength(inputs, outputs)]).pointer;
      pool.run(`widen_${precision}`, panels, 8, wide, weight.pointer, inputs);
    }
    const flag = Number(transposed);
    pool.run("from_panels", panels, 8, wide, matrix.pointer, inputs, outputs, flag);
  });
}
