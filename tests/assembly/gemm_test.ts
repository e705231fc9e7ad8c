// GEMM and its packing: every operand kind, shape of tile edge, bias and accumulation.

import {
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  type Weight,
} from "../../src/kernels/mod.ts";
import { assertWithin, Engines, norms, transposed, U, type Workspace } from "../kernels/helpers.ts";
import { linear, matmul, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start([
  { threads: 1, kernel: "6x8" },
  { threads: 1, kernel: "6x16" },
  { threads: 2, kernel: "6x8" },
  { threads: 3, kernel: "6x16" },
]);
Deno.test.afterAll(() => engines.close());

const ROWS = [1, 2, 5, 7, 13, 97, 193], COLUMNS = [1, 4, 15, 17, 33, 100];
const DEPTHS = [1, 3, 383, 385, 769];
const KINDS = ["panels", "rows", "transposed", "weight transposed"] as const;
type Kind = typeof KINDS[number];

/** Floats of row-major B [depth, n] as the weight panels [ceil(n / 16), depth, 16]. */
function panelsOf(b: Float32Array, depth: number, n: number): Float32Array {
  const panels = new Float32Array(Math.ceil(n / 16) * 16 * depth);
  for (let k = 0; k < depth; k++) {
    for (let j = 0; j < n; j++) panels[((j >> 4) * depth + k) * 16 + j % 16] = b[k * n + j]!;
  }
  return panels;
}

/** What GEMM is handed as B, and the bytes of its stride, for B [depth, n]. */
function operand(kind: Kind, b: Float32Array, depth: number, n: number): [Float32Array, number] {
  switch (kind) {
    case "panels":
      return [panelsOf(b, depth, n), 0];
    case "rows":
      return [b, n * 4];
    case "transposed":
      return [transposed(b, n), depth * 4];
    case "weight transposed":
      return [panelsOf(transposed(b, n), n, depth), n * 64];
  }
}

interface Product {
  readonly rows: number;
  readonly n: number;
  readonly depth: number;
  readonly kind: Kind;
  readonly aTransposed: boolean;
  /** C in panels [ceil(n / 16), rows, 16] rather than row-major. */
  readonly cPanels: boolean;
  readonly start: "nothing" | "bias" | "C";
}

/** Operands as the kernel wants them, and where C starts. */
interface Operands {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly stride: number;
  readonly before: Float32Array;
}

/** Runs the kernel, with every panel a chunk of its own. */
function runProduct(space: Workspace, product: Product, operands: Operands): Float32Array {
  const { rows, n, depth, kind, aTransposed, cPanels, start } = product;
  const panels = Math.ceil(n / 16), rowPanels = Math.ceil(rows / 6);
  const source = space.floats(operands.a), packed = space.output([rowPanels, depth, 6]);
  space.run(
    aTransposed ? "pack_rows_transposed" : "pack_rows",
    rowPanels,
    1,
    ...[packed.pointer, source.pointer, (aTransposed ? rows : depth) * 4, rows, depth],
  );
  const right = space.floats(operands.b);
  const c = space.output(cPanels ? [panels, rows, 16] : [rows, n]);
  if (start === "C") {
    space.runtime.f32(c).set(cPanels ? panelsOf(operands.before, rows, n) : operands.before);
  }
  const bias = start === "bias" ? space.floats(operands.before.subarray(0, n)).pointer : 0;
  space.run(
    "gemm",
    panels,
    1,
    ...[rows, n, depth, packed.pointer, KINDS.indexOf(kind), right.pointer, operands.stride],
    ...[c.pointer, cPanels ? 64 : n * 4, cPanels ? rows * 64 : 64, bias, Number(start === "C")],
  );
  const result = space.read(c);
  if (!cPanels) return result;
  return Float32Array.from({ length: rows * n }, (_, i) => {
    const row = Math.floor(i / n), column = i % n;
    return result[((column >> 4) * rows + row) * 16 + column % 16]!;
  });
}

/** Roundings of a sum of `depth` products in blocks of 384, from a start value. */
function roundings(depth: number): number {
  return depth + Math.ceil(depth / 384) + 1;
}

/** Matrices of one size with their product and norms, which all operand kinds share. */
const cases = DEPTHS.flatMap((depth) =>
  COLUMNS.flatMap((n) => {
    const b = randomValues(depth * n, 1000 * n + depth);
    const columnNorms = norms(b, n, "columns");
    return ROWS.map((rows) => {
      const a = randomValues(rows * depth, 2000 * rows + depth);
      const rowNorms = norms(a, depth, "rows");
      const product = matmul(a, b, rows, n, depth);
      return { rows, n, depth, a, b, product, rowNorms, columnNorms };
    });
  })
);

for (const [index, kind] of KINDS.entries()) {
  Deno.test(
    `gemm, B ${kind}: within (depth + blocks + 1) u (|a row| |b column| + |start|), ` +
      "same bytes for 6x8, 6x16 and every thread count",
    () => {
      let turn = index; // turns through A's transpose, C's layout and the start values
      for (const { rows, n, depth, a, b, product, rowNorms, columnNorms } of cases) {
        turn++;
        const p: Product = {
          ...{ rows, n, depth, kind, aTransposed: turn % 2 === 1, cPanels: turn % 5 > 2 },
          start: (["nothing", "bias", "C"] as const)[turn % 3]!,
        };
        const before = randomValues(rows * n, turn, 3);
        const [right, stride] = operand(kind, b, depth, n);
        const left = p.aTransposed ? transposed(a, depth) : a;
        // Workers on every size would only cost time.
        const [actual] = engines.compute(
          (space) => [runProduct(space, p, { a: left, b: right, stride, before })],
          turn % 11 === 0 ? 4 : 2,
        );
        const start = (i: number) =>
          p.start === "nothing" ? 0 : before[p.start === "bias" ? i % n : i]!;
        const size = (i: number) => rowNorms[Math.floor(i / n)]! * columnNorms[i % n]!;
        assertWithin(
          actual!,
          product.map((value, i) => value + start(i)),
          (i) => roundings(depth) * U * (size(i) + Math.abs(start(i))),
          JSON.stringify(p),
        );
      }
    },
  );
}

/** A weight with the values of row-major W [inputs, outputs]. */
function weightOf(space: Workspace, w: Float32Array, inputs: number, outputs: number): Weight {
  return { pointer: space.floats(panelsOf(w, inputs, outputs)).pointer, inputs, outputs };
}

/** Rows of `columns` values, each followed by NaN up to `width`. */
function widened(x: Float32Array, columns: number, width: number): Float32Array {
  const rows = x.length / columns;
  return Float32Array.from({ length: rows * width }, (_, i) => {
    return i % width < columns ? x[Math.floor(i / width) * columns + i % width]! : NaN;
  });
}

for (const [rows, inputs, outputs] of [[7, 33, 17], [97, 385, 100], [193, 100, 385]] as const) {
  Deno.test(`linear ${rows} x ${inputs} x ${outputs}: forward and both gradients, rows padded or not, within roundings * u * norms`, () => {
    const x = randomValues(rows * inputs, 1), w = randomValues(inputs * outputs, 2);
    const bias = randomValues(outputs, 3), dy = randomValues(rows * outputs, 4);
    const before = randomValues(rows * inputs, 5), weightBefore = randomValues(w.length, 6);
    const padded = Math.ceil(outputs / 16) * 16;
    const y = linear(x, w, bias, rows, inputs, outputs);
    const dx = matmul(dy, w, rows, inputs, outputs, { transposeB: true });
    const transposes = { transposeA: true, accumulate: weightBefore };
    const dw = matmul(x, dy, inputs, outputs, rows, transposes);
    for (const width of [outputs, padded]) {
      const [y1, dx1, dx2, dw1] = engines.compute((space) => {
        const { runtime } = space;
        const input = space.floats(x, [rows, inputs]);
        const weight = weightOf(space, w, inputs, outputs);
        const gradient = weightOf(space, weightBefore, inputs, outputs);
        const slope = space.floats(widened(dy, outputs, width), [rows, width]);
        const out = space.output([rows, width]);
        const written = space.output([rows, inputs]);
        const added = space.floats(before, [rows, inputs]);
        linearForward(runtime, out, input, weight, space.floats(bias));
        linearBackwardInput(runtime, written, slope, weight);
        linearBackwardInput(runtime, added, slope, weight, true);
        linearBackwardWeight(runtime, gradient, input, slope);
        const panels = runtime.f32({ ...out, ...gradient, shape: [padded * inputs] });
        return [
          space.read(out).filter((_, i) => i % width < outputs),
          space.read(written),
          space.read(added),
          w.map((_, i) => {
            const column = i % outputs;
            const panel = (column >> 4) * inputs + Math.floor(i / outputs);
            return panels[panel * 16 + column % 16]!;
          }),
        ];
      });
      const [xs, ws] = [norms(x, inputs, "rows"), norms(w, outputs, "columns")];
      const [dys, wRows] = [norms(dy, outputs, "rows"), norms(w, outputs, "rows")];
      const [xColumns, dyColumns] = [norms(x, inputs, "columns"), norms(dy, outputs, "columns")];
      const row = (i: number, columns: number) => Math.floor(i / columns);
      assertWithin(
        y1!,
        y,
        (i) =>
          roundings(inputs) * U *
          (xs[row(i, outputs)]! * ws[i % outputs]! + Math.abs(bias[i % outputs]!)),
        "y",
      );
      const dxBound = (i: number) =>
        roundings(outputs) * U * dys[row(i, inputs)]! * wRows[i % inputs]!;
      assertWithin(dx1!, dx, dxBound, "dx");
      assertWithin(
        dx2!,
        dx.map((value, i) => value + before[i]!),
        (i) => dxBound(i) + 4 * U * Math.abs(before[i]!),
        "dx added",
      );
      assertWithin(
        dw1!,
        dw,
        (i) =>
          roundings(rows) * U *
          (xColumns[row(i, outputs)]! * dyColumns[i % outputs]! + Math.abs(weightBefore[i]!)),
        "dw",
      );
    }
  });
}
