// Weights in bf16 and int8: how they are rounded and packed, and their products with a few rows.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  embeddingForward,
  linearBackwardInput,
  linearBackwardWeight,
  linearForward,
  packWeight,
  type Precision,
  unpackWeight,
  type Weight,
  weightBytes,
} from "../../src/kernels/mod.ts";
import {
  assertWithin,
  Engines,
  largest,
  norms,
  sameBytes,
  transposed,
  U,
  type Workspace,
} from "../kernels/helpers.ts";
import { embedding, linear, randomIntegers, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const GROUP = 32, SCALE_BYTES = 32, GROUP_BYTES = SCALE_BYTES + 16 * GROUP;
/** Inputs and outputs; int8 activations come in fours. */
const SIZES = [[4, 1], [12, 15], [32, 16], [36, 17], [100, 33], [388, 100], [772, 49]] as const;
const PRECISIONS = ["f32", "bf16", "int8"] as const;

/** A weight made from W [inputs, outputs], and the tensor that holds its bytes. */
function packed(
  space: Workspace,
  w: Float32Array,
  [inputs, outputs]: readonly [number, number],
  precision: Precision,
) {
  const memory = space.output([weightBytes(inputs, outputs, precision) / 4]);
  const weight: Weight = { pointer: memory.pointer, inputs, outputs, precision };
  packWeight(space.runtime, weight, space.floats(w, [inputs, outputs]), false);
  return { weight, memory };
}

/** W as a precision keeps it, and the bytes of that. */
function roundTrip(w: Float32Array, size: readonly [number, number], precision: Precision) {
  const [back, bytes] = engines.compute((space) => {
    const { weight, memory } = packed(space, w, size, precision);
    const matrix = space.output(size);
    unpackWeight(space.runtime, weight, matrix, false);
    return [space.read(matrix), space.read(memory)];
  });
  return { back: back!, bytes: new DataView(bytes!.buffer) };
}

const word = new DataView(new ArrayBuffer(4));

function fromBits(bits: number): number {
  word.setUint32(0, bits);
  return word.getFloat32(0);
}

function toBits(value: number): number {
  word.setFloat32(0, value);
  return word.getUint32(0);
}

/** The nearest of the two bf16 around a number; of two equally near, the one whose last bit is 0. */
function nearestBf16(value: number): number {
  if (Number.isNaN(value)) return NaN;
  const below = toBits(value) & 0xffff0000, above = (below + 0x10000) >>> 0;
  const down = fromBits(below >>> 0), up = fromBits(above);
  // Rounding sees what follows the largest number as if exponents went on.
  const far = Number.isFinite(up) ? up : Math.sign(value) * 2 ** 128;
  const toDown = Math.abs(value - down), toUp = Math.abs(far - value);
  if (toDown === toUp) return (below & 0x10000) === 0 ? down : up;
  return toDown < toUp || value === down ? down : up;
}

Deno.test("bf16: the nearest number, ties to even, NaN and infinities as they are", () => {
  const ulp = 2 ** -7, most = fromBits(0x7f7fffff);
  const ties = [1 + ulp / 2, 1 + 3 * ulp / 2, -1 - ulp / 2, 2 - ulp / 2, 1.5 + ulp / 2];
  const near = [1 + ulp / 2 + 2 ** -23, 1 + 3 * ulp / 2 - 2 ** -23, -2 + ulp / 2 - 2 ** -23];
  const odd = [0, -0, NaN, Infinity, -Infinity, most, -most, 2 ** -149, -(2 ** -133), 1e-40, 3e38];
  const w = Float32Array.from([...ties, ...near, ...odd, ...randomValues(200, 1)]);
  // NaN whose payload lies in the bits that are cut off.
  new Uint32Array(w.buffer)[w.length - 1] = 0x7f800001;
  for (const size of [[w.length, 1], [1, w.length]] as const) {
    const { back } = roundTrip(w, size, "bf16");
    assert(sameNumbers(back, Float32Array.from(w, nearestBf16)), `${size}: ${back}`);
  }
  const { back } = roundTrip(Float32Array.from(ties), [1, ties.length], "bf16");
  assertEquals([...back], [1, 1 + 2 * ulp, -1, 2, 1.5]);
});

/** Equal to the bit, all NaN alike. */
function sameNumbers(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
}

Deno.test("bf16: random weights of every size, there and back", () => {
  for (const [inputs, outputs] of [...SIZES, [1, 1], [3, 15], [385, 33]] as const) {
    const w = randomValues(inputs * outputs, inputs);
    const { back } = roundTrip(w, [inputs, outputs], "bf16");
    assert(sameBytes(back, Float32Array.from(w, nearestBf16)), `${inputs} x ${outputs}`);
  }
});

/** The scale of a column's group of inputs in the bytes of an int8 weight. */
function scaleAt(bytes: DataView, inputs: number, group: number, column: number): number {
  const groups = Math.ceil(inputs / GROUP), panelBytes = groups * GROUP_BYTES + 64;
  const start = (column >> 4) * panelBytes + group * GROUP_BYTES, lane = column % 16;
  return fromBits(bytes.getUint16(start + lane % 8 * 4 + (lane >> 3) * 2, true) << 16 >>> 0);
}

Deno.test("int8: a group's scale is its largest weight / 127, rounded up to bf16; no weight is off by more than half of it", () => {
  for (const [inputs, outputs] of [...SIZES, [1, 1], [3, 15], [385, 33]] as const) {
    const w = randomValues(inputs * outputs, outputs);
    w.forEach((_, i) => w[i]! *= 10 ** (Math.floor(i / outputs / GROUP) % 5 - 2));
    const { back, bytes } = roundTrip(w, [inputs, outputs], "int8");
    for (let column = 0; column < outputs; column++) {
      for (let first = 0; first < inputs; first += GROUP) {
        const rows = Array.from({ length: Math.min(GROUP, inputs - first) }, (_, i) => first + i);
        const values = rows.map((row) => w[row * outputs + column]!);
        const scale = scaleAt(bytes, inputs, first / GROUP, column);
        const exact = largest(values) / 127, what = `${inputs} x ${outputs}, column ${column}`;
        // The division is two roundings off.
        const before = fromBits(toBits(scale) - 0x10000);
        assert(before < exact * (1 + 2 * U) && exact * (1 - 2 * U) <= scale, what);
        const kept = rows.map((row) => back[row * outputs + column]!);
        assertWithin(kept, values, scale * (0.5 + 127 * U), what);
        assert(kept.every((value) => Math.abs(value / scale) <= 127 && value % scale === 0), what);
      }
    }
  }
});

Deno.test("int8: weights that are multiples of the scale stay, zeros are zeros", () => {
  const inputs = 64, outputs = 20;
  const w = Float32Array.from({ length: inputs * outputs }, (_, i) => (i * 37 % 255 - 127) / 4);
  for (let column = 0; column < outputs; column++) {
    w[column] = 127 / 4;
    w[GROUP * outputs + column] = -127 / 4;
  }
  assert(sameBytes(roundTrip(w, [inputs, outputs], "int8").back, w));
  const zeros = new Float32Array(inputs * outputs);
  assert(sameBytes(roundTrip(zeros, [inputs, outputs], "int8").back, zeros));
});

Deno.test("packing narrow weights: the transpose gives the same bytes", () => {
  for (const precision of ["bf16", "int8"] as const) {
    for (const [inputs, outputs] of SIZES) {
      const w = randomValues(inputs * outputs, 1), wT = transposed(w, outputs);
      const [plain, ofTransposed, matrixT] = engines.compute((space) => {
        const { memory } = packed(space, w, [inputs, outputs], precision);
        const other = space.output(memory.shape);
        const weight = { pointer: other.pointer, inputs, outputs, precision };
        packWeight(space.runtime, weight, space.floats(wT, [outputs, inputs]), true);
        const matrix = space.output([outputs, inputs]);
        unpackWeight(space.runtime, weight, matrix, true);
        return [space.read(memory), space.read(other), space.read(matrix)];
      });
      assert(sameBytes(plain!, ofTransposed!), `${precision}, ${inputs} x ${outputs}`);
      const { back } = roundTrip(w, [inputs, outputs], precision);
      assert(
        sameBytes(matrixT!, transposed(back, outputs)),
        `${precision}, ${inputs} x ${outputs}`,
      );
    }
  }
});

/** y [rows, outputs] = x W + bias, W in a precision. */
function product(
  x: Float32Array,
  w: Float32Array,
  bias: Float32Array | null,
  size: readonly [number, number],
  precision: Precision,
  step: boolean,
): Float32Array {
  const [inputs, outputs] = size, rows = x.length / inputs;
  const [y] = engines.compute((space) => {
    const { weight } = packed(space, w, size, precision);
    const out = space.output([rows, outputs]), rowTensor = space.floats(x, [rows, inputs]);
    const biasTensor = bias === null ? null : space.floats(bias);
    linearForward(space.runtime, out, rowTensor, weight, biasTensor, { step });
    return [space.read(out)];
  });
  return y!;
}

/** Sums of the magnitudes of W's columns. */
function columnSums(w: Float32Array, outputs: number): Float64Array {
  const sums = new Float64Array(outputs);
  w.forEach((value, i) => sums[i % outputs]! += Math.abs(value));
  return sums;
}

Deno.test("gemv_bf16, and gemm of bf16: within (in + 3) u (|x| |w column| + |bias|) of the rounded weights' product", () => {
  for (const [inputs, outputs] of [...SIZES, [3, 15], [385, 33]] as const) {
    const size = [inputs, outputs] as const;
    const w = randomValues(inputs * outputs, 1), bias = randomValues(outputs, 2);
    const { back } = roundTrip(w, size, "bf16");
    const columns = norms(back, outputs, "columns");
    for (let rows = 1; rows <= 5; rows++) {
      const x = randomValues(rows * inputs, rows), xNorms = norms(x, inputs, "rows");
      const expected = linear(x, back, bias, rows, inputs, outputs);
      const bound = (i: number) => {
        const row = Math.floor(i / outputs), column = i % outputs;
        const size = xNorms[row]! * columns[column]! + Math.abs(bias[column]!);
        return (inputs + 3) * U * size;
      };
      for (const step of [true, false]) {
        const what = `${rows} x ${inputs} x ${outputs}, step ${step}`;
        assertWithin(product(x, w, bias, size, "bf16", step), expected, bound, what);
      }
    }
    const x = randomValues(inputs, 7), xNorm = norms(x, inputs, "rows")[0]!;
    const bound = (i: number) => (inputs + 3) * U * xNorm * columns[i]!;
    const expected = linear(x, back, null, 1, inputs, outputs);
    assertWithin(product(x, w, null, size, "bf16", true), expected, bound, "without bias");
  }
});

Deno.test("gemm of int8: within (in + 3) u (|x| |w column| + |bias|) of the rounded weights' product", () => {
  for (const [inputs, outputs] of SIZES) {
    const size = [inputs, outputs] as const, rows = 3;
    const w = randomValues(inputs * outputs, 1), bias = randomValues(outputs, 2);
    const x = randomValues(rows * inputs, 3), xNorms = norms(x, inputs, "rows");
    const { back } = roundTrip(w, size, "int8");
    const columns = norms(back, outputs, "columns");
    const bound = (i: number) => {
      const row = Math.floor(i / outputs), column = i % outputs;
      return (inputs + 3) * U * (xNorms[row]! * columns[column]! + Math.abs(bias[column]!));
    };
    const expected = linear(x, back, bias, rows, inputs, outputs);
    assertWithin(product(x, w, bias, size, "int8", false), expected, bound, `${size}`);
  }
});

/**
 * What gemv_int8 may be off by for a row whose largest activation is `most`: half a unit of 14 bits for each
 * activation, a hundredth of that for finding the unit; the sums run over activations + 8192 units, twice as
 * large as any, and round once a group and a few times at the end.
 */
function boundInt8(inputs: number, most: number, columnSum: number, bias: number): number {
  const rounding = 2 * (Math.ceil(inputs / GROUP) + 6) * U;
  return most * columnSum * (1.01 / 2 / 8191 + rounding) + 2 * U * bias;
}

Deno.test("gemv_int8: within half a unit of the activations times the sum of |weights|", () => {
  for (const [inputs, outputs] of SIZES) {
    const size = [inputs, outputs] as const;
    const w = randomValues(inputs * outputs, 1), bias = randomValues(outputs, 2);
    const { back } = roundTrip(w, size, "int8");
    const sums = columnSums(back, outputs);
    for (let rows = 1; rows <= 5; rows++) {
      // Rows of very different size: each has a scale of its own.
      const x = randomValues(rows * inputs, rows).map((value, i) =>
        value * 10 ** (Math.floor(i / inputs) * 2 - 4)
      );
      const most = Array.from(
        { length: rows },
        (_, row) => largest(x.subarray(row * inputs, (row + 1) * inputs)),
      );
      const bound = (with_: Float32Array | null) => (i: number) =>
        boundInt8(
          inputs,
          most[Math.floor(i / outputs)]!,
          sums[i % outputs]!,
          Math.abs(with_?.[i % outputs] ?? 0),
        );
      for (const b of [bias, null]) {
        const y = product(x, w, b, size, "int8", true);
        const expected = linear(x, back, b, rows, inputs, outputs);
        assertWithin(y, expected, bound(b), `${rows} x ${inputs} x ${outputs}`);
      }
    }
  }
});

Deno.test("gemv_int8: the largest magnitudes of both signs, a row of zeros, and NaN", () => {
  const inputs = 384, outputs = 16;
  const w = Float32Array.from({ length: inputs * outputs }, (_, i) => i % 2 === 0 ? 1 : -1);
  const bias = randomValues(outputs, 1);
  const { back } = roundTrip(w, [inputs, outputs], "int8");
  const sums = columnSums(back, outputs);
  for (const value of [3, -3]) {
    const x = new Float32Array(inputs).fill(value);
    const expected = linear(x, back, bias, 1, inputs, outputs);
    const bound = (i: number) => boundInt8(inputs, 3, sums[i]!, Math.abs(bias[i]!));
    const y = product(x, w, bias, [inputs, outputs], "int8", true);
    assertWithin(y, expected, bound, `all ${value}`);
  }
  const zeros = new Float32Array(inputs);
  assertEquals(product(zeros, w, bias, [inputs, outputs], "int8", true), bias);
  const broken = zeros.with(100, NaN);
  assert(product(broken, w, bias, [inputs, outputs], "int8", true).every(Number.isNaN));
});

Deno.test("linearForward: a row's bytes do not depend on the other rows, in a step or not", () => {
  for (const precision of PRECISIONS) {
    for (const [inputs, outputs] of SIZES) {
      const w = randomValues(inputs * outputs, 1), bias = randomValues(outputs, 2);
      const x = randomValues(5 * inputs, 3);
      for (const step of [true, false]) {
        const of = (from: number, to: number) =>
          product(
            x.subarray(from * inputs, to * inputs),
            w,
            bias,
            [inputs, outputs],
            precision,
            step,
          );
        const all = of(0, 5);
        for (const [from, to] of [[0, 1], [4, 5], [1, 3], [2, 5]] as const) {
          assert(
            sameBytes(of(from, to), all.slice(from * outputs, to * outputs)),
            `${precision}, ${inputs} x ${outputs}, rows ${from} to ${to}, step ${step}`,
          );
        }
      }
    }
  }
});

Deno.test("gemv in f32: one to six rows have the bytes that gemm gives them among seven", () => {
  for (const [inputs, outputs] of [...SIZES, [3, 15], [385, 33]] as const) {
    const w = randomValues(inputs * outputs, 1), x = randomValues(7 * inputs, 3);
    for (const bias of [randomValues(outputs, 2), null]) {
      const size = [inputs, outputs] as const;
      const byGemm = product(x, w, bias, size, "f32", false);
      for (let rows = 1; rows <= 6; rows++) {
        const byGemv = product(x.slice(0, rows * inputs), w, bias, size, "f32", false);
        assert(sameBytes(byGemv, byGemm.slice(0, rows * outputs)), `${rows} x ${size}`);
      }
    }
  }
});

Deno.test("linearForward: rows padded to whole panels, for every precision", () => {
  const inputs = 36, outputs = 17, rows = 3;
  const w = randomValues(inputs * outputs, 1), x = randomValues(rows * inputs, 2);
  for (const precision of PRECISIONS) {
    const expected = product(x, w, null, [inputs, outputs], precision, true);
    const [padded] = engines.compute((space) => {
      const { weight } = packed(space, w, [inputs, outputs], precision);
      const out = space.output([rows, 32]), rowTensor = space.floats(x, [rows, inputs]);
      linearForward(space.runtime, out, rowTensor, weight, null, { step: true });
      return [space.read(out).filter((_, i) => i % 32 < outputs)];
    });
    assert(sameBytes(padded!, expected), precision);
  }
});

Deno.test("embedding_bf16 and embedding_int8: the f32 sum of the rounded row and the position, to the byte", () => {
  for (const precision of ["bf16", "int8"] as const) {
    for (const channels of [4, 15, 33, 100, 385]) {
      const rows = 13, V = 40, P = 9;
      const wte = randomValues(V * channels, 1), wpe = randomValues(P * channels, 2);
      const tokens = randomIntegers(rows, V, 3), positions = randomIntegers(rows, P, 4);
      tokens[0] = V - 1;
      positions[0] = P - 1;
      const [out] = engines.compute((space) => {
        const { pointer } = space.output([weightBytes(channels, V, precision) / 4]);
        const table = { pointer, inputs: channels, outputs: V, precision };
        packWeight(space.runtime, table, space.floats(wte, [V, channels]), true);
        const out = space.output([rows, channels]);
        const indices = [space.integers(tokens), space.integers(positions)] as const;
        embeddingForward(space.runtime, out, ...indices, table, space.floats(wpe, [P, channels]));
        return [space.read(out)];
      });
      const { back } = roundTrip(transposed(wte, channels), [channels, V], precision);
      const rounded = transposed(back, V);
      const expected = Float32Array.from(embedding(tokens, positions, rounded, wpe, channels));
      assert(sameBytes(out!, expected), `${precision}, ${channels}`);
    }
  }
});

Deno.test("a weight in bf16 or int8 is not trained", () => {
  for (const precision of ["bf16", "int8"] as const) {
    engines.compute((space) => {
      const { weight } = packed(space, randomValues(64, 1), [8, 8], precision);
      const x = space.output([2, 8]), dy = space.output([2, 8]);
      assertThrows(() => linearBackwardInput(space.runtime, x, dy, weight), TypeError, precision);
      assertThrows(() => linearBackwardWeight(space.runtime, weight, x, dy), TypeError, precision);
      return [];
    }, 1);
  }
});
