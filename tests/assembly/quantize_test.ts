// Weights in fewer bits: rounding, scales, and the products with them.

import { assert, assertEquals } from "@std/assert";
import {
  embeddingForward,
  linearForward,
  packWeight,
  type Precision,
  unpackWeight,
  type Weight,
  weightBytes,
} from "../../src/kernels/mod.ts";
import { assertWithin, Engines, norms, sameBytes, U, type Workspace } from "../kernels/helpers.ts";
import { linear, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const SIZES = [[4, 1], [12, 17], [32, 16], [36, 33], [100, 48], [388, 40], [768, 20]] as const;

/** A weight in the given format, filled from a row-major matrix. */
function weightOf(
  space: Workspace,
  w: Float32Array,
  [inputs, outputs]: readonly [number, number],
  precision: Precision,
): Weight {
  const { pointer } = space.output([weightBytes(inputs, outputs, precision) / 4]);
  const weight = { pointer, inputs, outputs, precision };
  packWeight(space.runtime, weight, space.floats(w, [inputs, outputs]), false);
  return weight;
}

/** What a weight of this format holds of a matrix. */
function held(
  w: Float32Array,
  size: readonly [number, number],
  precision: Precision,
): Float32Array {
  return engines.compute((space) => {
    const matrix = space.output([...size]);
    unpackWeight(space.runtime, weightOf(space, w, size, precision), matrix, false);
    return [space.read(matrix)];
  })[0]!;
}

const bits = (x: number) => new Uint32Array(Float32Array.of(x).buffer)[0]!;
const fromBits = (b: number) => new Float32Array(Uint32Array.of(b).buffer)[0]!;

/** The nearest bf16, ties to even. */
function nearestBf16(x: number): number {
  const b = bits(x), odd = (b >>> 16) & 1;
  return fromBits(((b + 0x7fff + odd) >>> 16 << 16) >>> 0);
}

Deno.test("bf16: every weight is the nearest one, ties to even; infinities and NaN stay", () => {
  for (const size of SIZES) {
    const w = randomValues(size[0] * size[1], size[0]);
    // Exactly between two neighbours, and on either side of it.
    [0x3f808000, 0x3f818000, 0x3f808001, 0x3f817fff].forEach((b, i) => w[i] = fromBits(b));
    assertEquals(held(w, size, "bf16"), w.map(nearestBf16), `${size}`);
  }
  const strange = Float32Array.of(Infinity, -Infinity, NaN, -0);
  assertEquals(held(strange, [4, 1], "bf16"), strange);
});

/** The scale of each weight: its group's and column's largest magnitude / 127, rounded up to bf16. */
function scales(w: Float32Array, [inputs, outputs]: readonly [number, number]): Float32Array {
  return w.map((_, i) => {
    const column = i % outputs, group = Math.floor(i / outputs / 32) * 32;
    let most = 0;
    for (let k = group; k < Math.min(inputs, group + 32); k++) {
      most = Math.max(most, Math.abs(w[k * outputs + column]!));
    }
    return fromBits(((bits(Math.fround(most * Math.fround(1 / 127))) + 0xffff) & 0xffff0000) >>> 0);
  });
}

Deno.test("int8: every weight is within half of its group's scale; a group of zeros stays zero", () => {
  for (const size of SIZES) {
    const w = randomValues(size[0] * size[1], size[1], 0.3);
    for (let k = 0; k < Math.min(32, size[0]); k++) w[k * size[1]] = 0;
    const scale = scales(w, size), back = held(w, size, "int8");
    assertWithin(back, w, (i) => scale[i]! * 0.5001, `${size}`);
    back.forEach((value, i) => {
      if (scale[i] === 0) return assertEquals(value, 0);
      const steps = value / scale[i]!;
      assert(Math.abs(steps - Math.round(steps)) < 1e-3 && Math.abs(steps) <= 127, `${size} ${i}`);
    });
  }
});

Deno.test("gemv in bf16 and int8: within bounds of the held weight's product; a row does not see the others", () => {
  for (const precision of ["bf16", "int8"] as const) {
    for (const size of SIZES) {
      const [inputs, outputs] = size;
      const w = randomValues(inputs * outputs, 1, 0.1), bias = randomValues(outputs, 2);
      const x = randomValues(5 * inputs, 3);
      const exact = held(w, size, precision);
      const expected = linear(x, exact, bias, 5, inputs, outputs);
      const xs = norms(x, inputs, "rows"), ws = norms(exact, outputs, "columns");
      // 14-bit activations: each is off by at most half of its row's largest magnitude / 8191.
      const peak = Array.from(
        { length: 5 },
        (_, row) => Math.max(...x.subarray(row * inputs, (row + 1) * inputs).map(Math.abs)),
      );
      const bound = (i: number) => {
        const row = Math.floor(i / outputs), column = i % outputs;
        const size = xs[row]! * ws[column]! + Math.abs(bias[column]!);
        // The offset 8192 cancels, but its rounding does not: 16384 / 8191 times the peak in every product.
        const coarse = precision === "bf16" ? 0 : peak[row]! * ws[column]! * Math.sqrt(inputs) *
          (0.5 / 8191 + 2 * (inputs / 32 + 8) * U);
        return (inputs + 8) * U * size + coarse;
      };
      const [all, last] = engines.compute((space) => {
        const weight = weightOf(space, w, size, precision);
        const product = (rows: Float32Array) => {
          const n = rows.length / inputs, y = space.output([n, outputs]);
          const biasTensor = space.floats(bias);
          linearForward(space.runtime, y, space.floats(rows, [n, inputs]), weight, biasTensor, {
            step: true,
          });
          return space.read(y);
        };
        return [product(x), product(x.slice(4 * inputs))];
      });
      assertWithin(all!, expected, bound, `${precision} ${size}`);
      assert(sameBytes(last!, all!.slice(4 * outputs)), `${precision} ${size}: one row alone`);
    }
  }
});

Deno.test("a product that is no step: a narrow weight gives the bytes of its wide copy", () => {
  for (const precision of ["bf16", "int8"] as const) {
    for (const size of SIZES) {
      const [inputs, outputs] = size;
      const w = randomValues(inputs * outputs, 5), x = randomValues(7 * inputs, 6);
      const wide = held(w, size, precision);
      const [narrow, copy] = engines.compute((space) =>
        [weightOf(space, w, size, precision), weightOf(space, wide, size, "f32")].map((weight) => {
          const y = space.output([7, outputs]);
          linearForward(space.runtime, y, space.floats(x, [7, inputs]), weight, null);
          return space.read(y);
        })
      );
      assert(sameBytes(narrow!, copy!), `${precision} ${size}`);
    }
  }
});

Deno.test("gemv in f32: the bytes of gemm, for every number of rows", () => {
  for (const size of SIZES) {
    const [inputs, outputs] = size;
    const w = randomValues(inputs * outputs, 7), bias = randomValues(outputs, 8);
    const x = randomValues(7 * inputs, 9);
    const results = engines.compute((space) => {
      const weight = weightOf(space, w, size, "f32");
      return [1, 2, 3, 5, 6, 7].map((rows) => {
        const y = space.output([rows, outputs]);
        const tensor = space.floats(x.slice(0, rows * inputs), [rows, inputs]);
        linearForward(space.runtime, y, tensor, weight, space.floats(bias));
        return space.read(y);
      });
    });
    const whole = results.at(-1)!;
    for (const part of results) assert(sameBytes(part, whole.slice(0, part.length)), `${size}`);
  }
});

Deno.test("embedding: a narrow table gives the rows of its wide copy", () => {
  for (const precision of ["bf16", "int8"] as const) {
    const [channels, vocabulary, positions] = [36, 50, 6];
    const w = randomValues(channels * vocabulary, 3), p = randomValues(positions * channels, 4);
    const wide = held(w, [channels, vocabulary], precision);
    const tokens = Int32Array.of(0, 49, 7, 8, 15, 16), at = Int32Array.of(0, 5, 1, 2, 3, 4);
    const [narrow, copy] = engines.compute((space) =>
      [
        weightOf(space, w, [channels, vocabulary], precision),
        weightOf(space, wide, [channels, vocabulary], "f32"),
      ].map((table) => {
        const { runtime } = space, out = space.output([6, channels]);
        const places = space.floats(p, [positions, channels]);
        embeddingForward(runtime, out, space.integers(tokens), space.integers(at), table, places);
        return space.read(out);
      })
    );
    assert(sameBytes(narrow!, copy!), precision);
  }
});
