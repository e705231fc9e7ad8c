// Layer normalisation and its gradients against f64, on rows far from mean 0.

import { layerNormBackward, layerNormForward } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, largest, U } from "../kernels/helpers.ts";
import { layerNorm, layerNormBackward as backward, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const EPSILON = 1e-3; // large, so that leaving it out shows

/** Rows of different means and spreads. */
function rowsOfAllKinds(rows: number, channels: number): Float32Array {
  return randomValues(rows * channels, rows + channels).map((value, i) => {
    const row = Math.floor(i / channels);
    return value * (0.2 + row % 3) + row % 5 - 1;
  });
}

function run(rows: number, channels: number) {
  const x = rowsOfAllKinds(rows, channels), dy = randomValues(x.length, 2);
  const gamma = randomValues(channels, 3), beta = randomValues(channels, 4);
  const before = randomValues(x.length, 5);
  const dgammaBefore = randomValues(channels, 6), dbetaBefore = randomValues(channels, 7);
  const [y, mean, rstd, dx, dgamma, dbeta] = engines.compute((space) => {
    const { runtime } = space;
    const input = space.floats(x, [rows, channels]), scale = space.floats(gamma);
    const out = space.output([rows, channels]);
    const saved = { mean: space.output([rows]), rstd: space.output([rows]) };
    layerNormForward(runtime, out, saved, input, scale, space.floats(beta), EPSILON);
    const dx = space.floats(before, [rows, channels]);
    const dgamma = space.floats(dgammaBefore), dbeta = space.floats(dbetaBefore);
    const slope = space.floats(dy, [rows, channels]);
    layerNormBackward(runtime, dx, dgamma, dbeta, slope, input, scale, saved);
    return [out, saved.mean, saved.rstd, dx, dgamma, dbeta].map((tensor) => space.read(tensor));
  });

  const expected = layerNorm(x, gamma, beta, rows, EPSILON);
  const gradient = backward(dy, x, gamma, rows, EPSILON);
  const ones = new Float32Array(channels).fill(1);
  const highest = largest(layerNorm(x, ones, new Float32Array(channels), rows, EPSILON).y);
  const most = largest(expected.rstd), lanes = channels / 4;
  // First-order error analysis, u being the unit roundoff and sums running in four lanes:
  const offMean = (lanes + 4) * U * largest(x);
  const offScale = (lanes / 2 + 5) * U + (offMean * most) ** 2 / 2; // relative, of rstd
  const offNormal = highest * (offScale + 2 * U) + offMean * most;
  const what = `${rows} x ${channels}`;
  assertWithin(mean!, expected.mean, offMean, `mean, ${what}`);
  assertWithin(rstd!, expected.rstd, offScale * most, `rstd, ${what}`);
  const offY = largest(gamma) * (offNormal + 2 * U * highest) + 2 * U * largest(beta);
  assertWithin(y!, expected.y, offY, `y, ${what}`);

  const slope = largest(dy) * largest(gamma);
  const offSlope = (lanes + 8) * U * (1 + highest) + 2 * offNormal * highest;
  const offDx = most * slope * (offSlope + (2 + highest) * (offScale + 2 * U));
  const sum = (a: ArrayLike<number>, b: ArrayLike<number>, i: number) => a[i]! + b[i]!;
  assertWithin(
    dx!,
    gradient.dx.map((_, i) => sum(gradient.dx, before, i)),
    offDx + 2 * U * largest(before),
    `dx, ${what}`,
  );
  const offParameter = rows * largest(dy) * (offNormal + (rows + 3) * U * Math.max(1, highest)) +
    2 * U * largest(dgammaBefore);
  assertWithin(
    dgamma!,
    gradient.dgamma.map((_, i) => sum(gradient.dgamma, dgammaBefore, i)),
    offParameter,
    `dgamma, ${what}`,
  );
  assertWithin(
    dbeta!,
    gradient.dbeta.map((_, i) => sum(gradient.dbeta, dbetaBefore, i)),
    rows * largest(dy) * (rows + 3) * U,
    `dbeta, ${what}`,
  );
}

for (const channels of [4, 20, 100, 768, 1028]) {
  Deno.test(`layernorm of ${channels} channels, 1 to 193 rows: y, mean, rstd and gradients within (channels / 4 + 8) u of sizes`, () => {
    for (const rows of [1, 2, 5, 7, 13, 97, 193]) run(rows, channels);
  });
}

Deno.test("layernorm of a constant row, however large: y = 0; dx within (channels / 4 + 8) u |dy gamma| rstd", () => {
  const channels = 36;
  const x = Float32Array.from({ length: 3 * channels }, (_, i) => [0, 1e4, -3e8][i % 3]!);
  x.sort();
  const [y, dx] = engines.compute((space) => {
    const { runtime } = space;
    const shape = [3, channels], input = space.floats(x, shape);
    const zeros = space.floats(new Float32Array(channels));
    const gamma = space.floats(new Float32Array(channels).fill(2));
    const out = space.output(shape), saved = { mean: space.output([3]), rstd: space.output([3]) };
    layerNormForward(runtime, out, saved, input, gamma, zeros, EPSILON);
    const dx = space.floats(new Float32Array(x.length), shape);
    const dy = space.floats(randomValues(x.length, 1), shape);
    layerNormBackward(runtime, dx, zeros, zeros, dy, input, gamma, saved);
    return [space.read(out), space.read(dx)];
  });
  assertWithin(y!, new Float32Array(y!.length), 0, "y");
  // With h = 0: rstd * (g - mean(g)), g = dy * gamma.
  const gamma = new Float32Array(channels).fill(2);
  const expected = backward(randomValues(x.length, 1), x, gamma, 3, EPSILON).dx;
  assertWithin(dx!, expected, (channels / 4 + 8) * U * 2 * 4 / Math.sqrt(EPSILON), "dx");
});
