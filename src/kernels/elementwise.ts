// GELU, dropout and column sums: typed wrappers that check shapes, then run their kernel on all threads.

import type { Tensor } from "./arena.ts";
import { checkMultiple, checkProbability, checkShape, matrixShape } from "./check.ts";
import { columnsPerChunk, ELEMENTS_PER_CHUNK, groups } from "./chunks.ts";
import type { Runtime } from "./runtime.ts";

/** A stream of dropout decisions: probability and the two keys of its counter-based bits. */
export interface DropoutStream {
  readonly p: number;
  readonly keyA: number;
  readonly keyB: number;
}

/** Nothing is dropped. */
export const NO_DROPOUT: DropoutStream = { p: 0, keyA: 0, keyB: 0 };

/** y = GELU(x), exact or by tanh. */
export function geluForward(runtime: Runtime, y: Tensor, x: Tensor, approximate: boolean): void {
  checkShape("geluForward y", y, x.shape);
  const chunk = ELEMENTS_PER_CHUNK / 16;
  runtime.pool.run("gelu_forward", groups(x), chunk, y.pointer, x.pointer, Number(approximate));
}

/** dx = dy * GELU'(x); dx may be dy. */
export function geluBackward(
  runtime: Runtime,
  dx: Tensor,
  dy: Tensor,
  x: Tensor,
  approximate: boolean,
): void {
  checkShape("geluBackward dx", dx, x.shape);
  checkShape("geluBackward dy", dy, x.shape);
  runtime.pool.run(
    "gelu_backward",
    groups(x),
    ELEMENTS_PER_CHUNK / 16,
    dx.pointer,
    dy.pointer,
    x.pointer,
    Number(approximate),
  );
}

/** y = dropout(x); y may be x. */
export function dropout(runtime: Runtime, y: Tensor, x: Tensor, stream: DropoutStream): void {
  checkShape("dropout y", y, x.shape);
  checkProbability("dropout p", stream.p);
  runtime.pool.run(
    "dropout",
    groups(x),
    ELEMENTS_PER_CHUNK / 16,
    y.pointer,
    x.pointer,
    stream.p,
    stream.keyA,
    stream.keyB,
  );
}

/** y = residual + dropout(x). */
export function residualDropout(
  runtime: Runtime,
  y: Tensor,
  residual: Tensor,
  x: Tensor,
  stream: DropoutStream,
): void {
  checkShape("residualDropout y", y, x.shape);
  checkShape("residualDropout residual", residual, x.shape);
  checkProbability("residualDropout p", stream.p);
  runtime.pool.run(
    "residual_dropout",
    groups(x),
    ELEMENTS_PER_CHUNK / 16,
    y.pointer,
    residual.pointer,
    x.pointer,
    stream.p,
    stream.keyA,
    stream.keyB,
  );
}

/** out [columns] += column sums of x [N, columns]: a bias's gradient. */
export function addColumnSums(runtime: Runtime, out: Tensor, x: Tensor): void {
  const [rows, columns] = matrixShape("addColumnSums x", x);
  checkShape("addColumnSums out", out, [columns]);
  checkMultiple("addColumnSums columns", columns, 4);
  runtime.pool.run(
    "column_sums",
    columns / 4,
    columnsPerChunk(rows),
    out.pointer,
    x.pointer,
    rows,
    columns,
  );
}
