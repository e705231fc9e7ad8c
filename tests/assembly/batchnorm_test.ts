// Batch normalisation and its gradients against f64, on channels far from mean 0.

import { batchNormBackward, batchNormForward, batchStatistics } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, largest, U } from "../kernels/helpers.ts";
import { batchRenormBackward, channelStatistics, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const EPSILON = 1e-3; // large, so that leaving it out shows

const rstdOf = (variance: ArrayLike<number>) =>
  Float32Array.from(variance, (v) => 1 / Math.sqrt(v + EPSILON));

function run(rows: number, channels: number, fixed: boolean) {
  // Channels of different means and spreads.
  const x = randomValues(rows * channels, rows + channels)
    .map((value, i) => value * (0.2 + i % channels % 3) + i % channels % 5 - 1);
  const dy = randomValues(x.length, 2), shape = [rows, channels];
  const gamma = randomValues(channels, 3), beta = randomValues(channels, 4);
  const running = {
    mean: randomValues(channels, 5),
    variance: randomValues(channels, 6).map((v) => 0.5 + v * v),
  };
  const before = randomValues(x.length, 7), dgammaBefore = randomValues(channels, 8);
  const rstd = rstdOf(running.variance);
  const [y, mean, variance, dx, dgamma, dbeta] = engines.compute((space) => {
    const { runtime } = space, input = space.floats(x, shape), scale = space.floats(gamma);
    const used = { mean: space.floats(running.mean), rstd: space.floats(rstd) };
    const out = space.output(shape);
    batchNormForward(runtime, out, input, used, scale, space.floats(beta));
    const mean = space.output([channels]), variance = space.output([channels]);
    batchStatistics(runtime, mean, variance, input);
    const own = { mean, rstd: space.floats(rstdOf(space.read(variance))) };
    const dx = space.floats(before, shape), slope = space.floats(dy, shape);
    const dgamma = space.floats(dgammaBefore), dbeta = space.floats(new Float32Array(channels));
    batchNormBackward(runtime, dx, dgamma, dbeta, slope, input, scale, used, fixed ? null : own);
    return [out, mean, variance, dx, dgamma, dbeta].map((tensor) => space.read(tensor));
  });

  const what = `${rows} x ${channels}, ${fixed ? "fixed" : "batch"}`;
  const own = channelStatistics(x, rows), biggest = largest(x);
  // First-order error analysis, u being the unit roundoff and a channel's sum running over all rows:
  const offMean = (rows + 1) * U * biggest;
  assertWithin(mean!, own.mean, offMean, `mean, ${what}`);
  const spread = Math.max(...own.variance);
  const offVariance = (rows + 5) * U * spread + offMean ** 2;
  assertWithin(variance!, own.variance, offVariance, `variance, ${what}`);

  const normal = (i: number) => (x[i]! - running.mean[i % channels]!) * rstd[i % channels]!;
  const highest = largest(x.map((_, i) => normal(i)));
  assertWithin(
    y!,
    Float64Array.from(x, (_, i) => normal(i) * gamma[i % channels]! + beta[i % channels]!),
    4 * U * (largest(gamma) * highest + largest(beta)) +
      3 * U * biggest * largest(rstd) * largest(gamma),
    `y, ${what}`,
  );

  const gradient = batchRenormBackward(dy, x, gamma, rows, running, EPSILON, fixed);
  const ownRstd = largest(rstdOf(own.variance));
  // The batch's own h is off by its mean's error and by its scale's, which small variances blow up.
  const ownHighest = Math.sqrt(rows);
  const offOwn = ownRstd * offMean + ownHighest * (offVariance * ownRstd ** 2 / 2 + 4 * U);
  const offSums = (rows + 3) * U * largest(dy) * (1 + ownHighest) + 2 * largest(dy) * offOwn;
  const slope = largest(gamma) * largest(rstd);
  const offDx = slope * (4 * U * largest(dy) * (2 + ownHighest ** 2) +
    (fixed ? 0 : (1 + ownHighest) * offSums));
  assertWithin(
    dx!,
    gradient.dx.map((value, i) => value + before[i]!),
    offDx + 2 * U * largest(before),
    `dx, ${what}`,
  );
  const offSum = rows * largest(dy) * (rows + 6) * U;
  assertWithin(
    dgamma!,
    gradient.dgamma.map((value, c) => value + dgammaBefore[c]!),
    offSum * Math.max(1, highest, biggest * largest(rstd)) + 2 * U * largest(dgammaBefore),
    `dgamma, ${what}`,
  );
  assertWithin(dbeta!, gradient.dbeta, offSum, `dbeta, ${what}`);
}

for (const channels of [4, 20, 100, 768]) {
  Deno.test(`batchnorm of ${channels} channels, 1 to 193 rows: y within 4 u of sizes, statistics and gradients within (rows + 8) u of theirs`, () => {
    for (const rows of [1, 2, 5, 7, 13, 97, 193]) {
      run(rows, channels, false);
      run(rows, channels, true);
    }
  });
}
