// The references of normalisations and optimisers: against finite differences, PyTorch and known results.
import { assertEquals } from "@std/assert";
import * as reference from "./kernels.ts";
import { layer } from "./training_fixtures.ts";

const { assertClose, finiteDifference } = reference;

const ROWS = 5, CHANNELS = 6, EPSILON = 0.01;
/** Finite differences of f64 formulas of size about 1 are good to some 1e-9. */
const BOUND = 1e-8;

const random = (length: number, seed: number) =>
  Float64Array.from(reference.randomValues(length, seed));
const dot = (a: Float64Array, b: Float64Array) =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);

function assertGradient(gradient: Float64Array, x: Float64Array, f: () => number, what: string) {
  assertClose(gradient, x.map((_, i) => finiteDifference(f, x, i)), BOUND, what);
}

const x = random(ROWS * CHANNELS, 1), dy = random(x.length, 2);
const gamma = random(CHANNELS, 3), beta = random(CHANNELS, 4);

Deno.test("rmsNorm: gradients are finite differences", () => {
  const loss = () => dot(reference.rmsNorm(x, gamma, ROWS, EPSILON).y, dy);
  const { dx, dgamma } = reference.rmsNormBackward(dy, x, gamma, ROWS, EPSILON);
  assertGradient(dx, x, loss, "dx");
  assertGradient(dgamma, gamma, loss, "dgamma");
});

Deno.test("batchRenorm: gradients are finite differences at constant r and d; affine ones when fixed", () => {
  const running = {
    mean: random(CHANNELS, 5),
    variance: random(CHANNELS, 6).map((v) => 1 + v * v),
  };
  const constant = reference.corrections(x, ROWS, running, EPSILON);
  const loss = () => dot(reference.batchRenorm(x, gamma, beta, ROWS, constant, EPSILON), dy);
  const found = reference.batchRenormBackward(dy, x, gamma, ROWS, running, EPSILON);
  assertGradient(found.dx, x, loss, "dx");
  assertGradient(found.dgamma, gamma, loss, "dgamma");
  assertGradient(found.dbeta, beta, loss, "dbeta");
  const affine = () =>
    x.reduce((sum, value, i) => {
      const c = i % CHANNELS;
      const normal = (value - running.mean[c]!) / Math.sqrt(running.variance[c]! + EPSILON);
      return sum + dy[i]! * (normal * gamma[c]! + beta[c]!);
    }, 0);
  assertClose([loss()], [affine()], 1e-12, "the value is that of the running statistics");
  const fixed = reference.batchRenormBackward(dy, x, gamma, ROWS, running, EPSILON, true);
  assertGradient(fixed.dx, x, affine, "fixed dx");
  assertGradient(fixed.dgamma, gamma, affine, "fixed dgamma");
});

Deno.test("the references are nn.RMSNorm and nn.BatchNorm1d, in training and evaluation, to f32's rounding", () => {
  const rows = layer("x").length / layer("weight").length;
  const [x, dy, weight, bias] = ["x", "dy", "weight", "bias"].map(layer) as Float32Array[];
  const rms = reference.rmsNorm(x!, weight!, rows),
    d = reference.rmsNormBackward(dy!, x!, weight!, rows);
  assertClose(rms.y, layer("rmsnorm.y"), 1e-6, "rmsnorm y");
  assertClose(d.dx, layer("rmsnorm.dx"), 1e-6, "rmsnorm dx");
  assertClose(d.dgamma, layer("rmsnorm.dweight"), 1e-5, "rmsnorm dweight");
  const own = reference.channelStatistics(x!, rows);
  const running = { mean: layer("running_mean"), variance: layer("running_var") };
  for (
    const [name, statistics, fixed] of [["training", own, false], [
      "evaluation",
      running,
      true,
    ]] as const
  ) {
    const found = reference.batchRenormBackward(dy!, x!, weight!, rows, statistics, 1e-5, fixed);
    const constant = reference.corrections(x!, rows, statistics);
    const y = reference.batchRenorm(x!, weight!, bias!, rows, constant);
    assertClose(y, layer(`${name}.y`), 1e-6, `${name} y`);
    assertClose(found.dx, layer(`${name}.dx`), 1e-6, `${name} dx`);
    assertClose(found.dgamma, layer(`${name}.dweight`), 1e-5, `${name} dweight`);
    assertClose(found.dbeta, layer(`${name}.dbias`), 1e-5, `${name} dbias`);
  }
});

Deno.test("newtonSchulz: singular vectors stay, singular values come to between 0.68 and 1.14", () => {
  // A diagonal matrix keeps its zeros, and its signs.
  const y = reference.newtonSchulz([5, 0, 0, 0, -1, 0, 0, 0, 0.2], 3, 3);
  assertEquals([...y].map((value) => value === 0), [0, 1, 1, 1, 0, 1, 1, 1, 0].map(Boolean));
  for (const value of [y[0]!, -y[4]!, y[8]!]) assertClose([value], [0.91], 0.23, `${value}`);
});

Deno.test("lion: a step by hand; the sign of nothing is nothing", () => {
  const o = { learningRate: 0.5, beta1: 0.9, beta2: 0.75, weightDecay: 0.1 };
  const { p, m } = reference.lion([1, 2, 3], [-4, 1, 0], [0.2, 0.2, 0], o);
  assertClose(p, [1 - 0.5 * (-1 + 0.1), 2 - 0.5 * (1 + 0.2), 3 - 0.5 * 0.3], 1e-15, "p");
  assertClose(m, [0.75 * 0.2 - 1, 0.75 * 0.2 + 0.25, 0], 1e-15, "m");
});
