// RMS normalisation and its gradients against f64.

import { rmsNormBackward, rmsNormForward } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, largest, U } from "../kernels/helpers.ts";
import { randomValues, rmsNorm, rmsNormBackward as backward } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const EPSILON = 1e-3; // large, so that leaving it out shows

function run(rows: number, channels: number) {
  // Rows of different sizes.
  const x = randomValues(rows * channels, rows + channels)
    .map((value, i) => value * (0.2 + Math.floor(i / channels) % 3) + 0.3);
  const dy = randomValues(x.length, 2), gamma = randomValues(channels, 3);
  const before = randomValues(x.length, 5), dgammaBefore = randomValues(channels, 6);
  const [y, rstd, dx, dgamma] = engines.compute((space) => {
    const { runtime } = space, shape = [rows, channels];
    const input = space.floats(x, shape), scale = space.floats(gamma);
    const out = space.output(shape), rstd = space.output([rows]);
    rmsNormForward(runtime, out, rstd, input, scale, EPSILON);
    const dx = space.floats(before, shape), dgamma = space.floats(dgammaBefore);
    rmsNormBackward(runtime, dx, dgamma, space.floats(dy, shape), input, scale, rstd);
    return [out, rstd, dx, dgamma].map((tensor) => space.read(tensor));
  });

  const expected = rmsNorm(x, gamma, rows, EPSILON);
  const gradient = backward(dy, x, gamma, rows, EPSILON);
  const highest = largest(rmsNorm(x, new Float32Array(channels).fill(1), rows, EPSILON).y);
  const most = largest(expected.rstd), lanes = channels / 4, what = `${rows} x ${channels}`;
  // First-order error analysis, u being the unit roundoff and sums running in four lanes:
  const offScale = (lanes / 2 + 5) * U; // relative, of rstd
  assertWithin(rstd!, expected.rstd, (r) => offScale * expected.rstd[r]!, `rstd, ${what}`);
  const offY = largest(gamma) * highest * (offScale + 2 * U);
  assertWithin(y!, expected.y, offY, `y, ${what}`);
  const slope = largest(dy) * largest(gamma);
  const offMean = (lanes + 8) * U * highest + 2 * highest * offScale;
  const offDx = most * slope * ((1 + highest ** 2) * (offScale + 4 * U) + highest * offMean);
  assertWithin(
    dx!,
    gradient.dx.map((value, i) => value + before[i]!),
    offDx + 2 * U * largest(before),
    `dx, ${what}`,
  );
  assertWithin(
    dgamma!,
    gradient.dgamma.map((value, i) => value + dgammaBefore[i]!),
    rows * largest(dy) * highest * (offScale + (rows + 3) * U) + 2 * U * largest(dgammaBefore),
    `dgamma, ${what}`,
  );
}

for (const channels of [4, 20, 100, 768, 1028]) {
  Deno.test(`rmsnorm of ${channels} channels, 1 to 193 rows: y, rstd and gradients within (channels / 4 + 8) u of sizes`, () => {
    for (const rows of [1, 2, 5, 7, 13, 97, 193]) run(rows, channels);
  });
}

Deno.test("rmsnorm: NaN stays in its row, a row of zeros gives zeros", () => {
  const channels = 8, x = randomValues(3 * channels, 1);
  x[3] = NaN;
  x.fill(0, channels, 2 * channels);
  const [y] = engines.compute((space) => {
    const out = space.output([3, channels]), gamma = space.floats(randomValues(channels, 2));
    rmsNormForward(
      space.runtime,
      out,
      space.output([3]),
      space.floats(x, [3, channels]),
      gamma,
      EPSILON,
    );
    return [space.read(out)];
  });
  const isNaN = Array.from(y!, Number.isNaN), zeros = y!.subarray(channels, 2 * channels);
  if (!isNaN.slice(0, channels).every(Boolean)) throw new Error("NaN is lost");
  if (isNaN.slice(channels).some(Boolean)) throw new Error("NaN spreads");
  assertWithin(zeros, new Float32Array(channels), 0, "zeros");
});
