// Products of two row-major matrices, by the GEMM of linear layers.

import type { Tensor } from "./arena.ts";
import { checkShape, matrixShape } from "./check.ts";
import { B_ROWS, B_TRANSPOSED, multiply } from "./linear.ts";
import type { Runtime } from "./runtime.ts";

/** c [m, n] = a b, one of which may be stored transposed: a as [k, m] instead of [m, k], or b as [n, k]. */
export function matmul(
  runtime: Runtime,
  c: Tensor,
  a: Tensor,
  b: Tensor,
  transposed: "none" | "a" | "b" = "none",
): void {
  const [rows, columns] = matrixShape("matmul c", c);
  const [aRows, aColumns] = matrixShape("matmul a", a);
  const depth = transposed === "a" ? aRows : aColumns;
  checkShape("matmul a", a, transposed === "a" ? [depth, rows] : [rows, depth]);
  checkShape("matmul b", b, transposed === "b" ? [columns, depth] : [depth, columns]);
  multiply(runtime, {
    rows,
    columns,
    depth,
    a: a.pointer,
    aRowBytes: aColumns * 4,
    aTransposed: transposed === "a",
    kind: transposed === "b" ? B_TRANSPOSED : B_ROWS,
    b: b.pointer,
    bStride: b.shape[1]! * 4,
    c: c.pointer,
    cRowBytes: columns * 4,
    cPanelBytes: 64,
    bias: 0,
    add: false,
  });
}
