// Muon's kernels and the products of two matrices against f64.

import { assert } from "@std/assert";
import { matmul, matrixPolynomial, muonMomentum, muonStep, scale } from "../../src/kernels/mod.ts";
import {
  assertFaded,
  assertWithin,
  Engines,
  FADING,
  largest,
  norms,
  transposed,
  U,
} from "../kernels/helpers.ts";
import { matmul as product, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

/** More than a chunk of 16,384 and no multiple of it. */
const LENGTH = 17_008;

Deno.test("muon_momentum: update and moment within 4 u of sizes, gradients zeroed; scale, muon_step within 2 u", () => {
  const [g, m, p] = [1, 2, 3].map((seed) => randomValues(LENGTH, seed)) as Float32Array[];
  const gradientScale = 0.375, momentum = 0.95;
  const [update, moment, left, scaled, moved] = engines.compute((space) => {
    const { runtime } = space;
    const update = space.output([LENGTH]), gradient = space.floats(g!), moment = space.floats(m!);
    const pointers = [update, gradient, moment].map(({ pointer }) => pointer);
    const [to, from, mean] = pointers as [number, number, number];
    muonMomentum(runtime, to, from, mean, LENGTH, gradientScale, momentum);
    const results = [update, moment, gradient].map((tensor) => space.read(tensor));
    scale(runtime, update, 1.7);
    results.push(space.read(update));
    const parameter = space.floats(p!);
    muonStep(runtime, parameter.pointer, update.pointer, LENGTH, 0.99, 0.01);
    return [...results, space.read(parameter)];
  });
  const size = largest(g!) * gradientScale + largest(m!);
  const mean = Float64Array.from(
    m!,
    (value, i) => momentum * value + (1 - momentum) * g![i]! * gradientScale,
  );
  assertWithin(moment!, mean, 4 * U * size, "moment");
  const expected = mean.map((value, i) =>
    momentum * value + (1 - momentum) * g![i]! * gradientScale
  );
  assertWithin(update!, expected, 6 * U * size, "update");
  assert(left!.every((value) => value === 0), "gradients are zero afterwards");
  assertWithin(scaled!, Float64Array.from(update!, (v) => v * 1.7), 2 * U * 1.7 * size, "scaled");
  assertWithin(
    moved!,
    Float64Array.from(p!, (value, i) => value * 0.99 - 0.01 * scaled![i]!),
    4 * U * (largest(p!) + size),
    "parameters",
  );
});

for (
  const [rows, columns, depth] of [
    [1, 1, 1],
    [5, 3, 7],
    [24, 72, 24],
    [40, 41, 97],
    [97, 100, 500],
    [64, 256, 64],
  ] as const
) {
  Deno.test(`matmul ${rows} x ${columns}, ${depth} deep, either operand transposed: within (depth + 2) u |a| |b|`, () => {
    const a = randomValues(rows * depth, 1), b = randomValues(depth * columns, 2);
    const results = engines.compute((space) => {
      const shape = [rows, columns];
      const make = (x: Float32Array, y: Float32Array, how: "none" | "a" | "b") => {
        const c = space.output(shape);
        matmul(
          space.runtime,
          c,
          space.floats(x, how === "a" ? [depth, rows] : [rows, depth]),
          space.floats(y, how === "b" ? [columns, depth] : [depth, columns]),
          how,
        );
        return space.read(c);
      };
      return [
        make(a, b, "none"),
        make(transposed(a, depth), b, "a"),
        make(a, transposed(b, columns), "b"),
      ];
    });
    const expected = product(a, b, rows, columns, depth);
    const left = norms(a, depth, "rows"), right = norms(b, columns, "columns");
    for (const result of results) {
      assertWithin(
        result,
        expected,
        (i) => (depth + 2) * U * left[Math.floor(i / columns)]! * right[i % columns]!,
        "product",
      );
    }
  });
}

for (const n of [4, 20, 132]) {
  Deno.test(`muon_polynomial ${n} x ${n}: within 4 u of its terms`, () => {
    const square = randomValues(n * n, 1),
      gram = randomValues(n * n, 2),
      [a, b, c] = [3.5, -4.5, 2.25];
    const [result] = engines.compute((space) => {
      const out = space.floats(square, [n, n]);
      matrixPolynomial(space.runtime, out, space.floats(gram, [n, n]), [a, b, c]);
      return [space.read(out)];
    });
    const expected = Float64Array.from(
      square,
      (value, i) => c * value + b * gram[i]! + (i % (n + 1) === 0 ? a : 0),
    );
    const size = c * largest(square) - b * largest(gram) + a;
    assertWithin(result!, expected, 4 * U * size, "polynomial");
  });
}

Deno.test("muon_momentum: a moment below 1e-30 is forgotten", () => {
  const [moment] = engines.compute((space) => {
    const update = space.output([16]), gradient = space.floats(FADING.map(() => 0));
    const moment = space.floats(FADING);
    muonMomentum(space.runtime, update.pointer, gradient.pointer, moment.pointer, 16, 1, 0.9);
    return [space.read(moment)];
  });
  assertFaded(moment!);
});
