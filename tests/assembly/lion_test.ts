// Lion against f64.

import { assert } from "@std/assert";
import { lion } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, largest, U } from "../kernels/helpers.ts";
import { lion as reference, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const STEPS = 10;
/** More than a chunk of 16,384 and no multiple of it. */
const LENGTH = 17_008;

for (
  const [beta1, beta2, weightDecay, gradientScale] of [[0.9, 0.99, 0.1, 1], [
    0.95,
    0.98,
    0,
    0.25,
  ]] as const
) {
  Deno.test(`lion, betas ${beta1} ${beta2}, decay ${weightDecay}, scale ${gradientScale}: ten steps, moments within 4 step u of the gradients' size, parameters within 3 step u, where no sign hangs on rounding; gradients zeroed`, () => {
    const start = randomValues(LENGTH, 99), learningRate = 0.01;
    const steps = Array.from({ length: STEPS }, (_, i) => randomValues(LENGTH, i + 1));
    const o = { learningRate, beta1, beta2, weightDecay, gradientScale };
    const [p, m, g] = engines.compute((space) => {
      const { runtime } = space;
      const p = space.floats(start), g = space.output([LENGTH]);
      const m = space.floats(new Float32Array(LENGTH));
      for (const gradient of steps) {
        runtime.f32(g).set(gradient);
        lion(runtime, p.pointer, g.pointer, m.pointer, LENGTH, o);
      }
      return [p, m, g].map((tensor) => space.read(tensor));
    });

    let state = { p: Float64Array.from(start), m: new Float64Array(LENGTH) };
    const size = Math.max(...steps.map(largest)) * gradientScale, off = 4 * STEPS * U * size;
    const isSure = new Uint8Array(LENGTH).fill(1);
    for (const gradient of steps) {
      const { direction, ...next } = reference(state.p, gradient, state.m, o);
      direction.forEach((value, i) => Math.abs(value) > off ? 0 : isSure[i] = 0);
      state = next;
    }
    assert(isSure.filter(Boolean).length > 0.99 * LENGTH);
    assertWithin(m!, state.m, off, "moment");
    const bound = 3 * STEPS * U * (largest(start) + STEPS * learningRate);
    assertWithin(p!, state.p, (i) => isSure[i] ? bound : 2 * STEPS * learningRate, "parameters");
    assert(g!.every((value) => value === 0), "gradients are zero afterwards");
  });
}

Deno.test("lion without a gradient decays only; a NaN gradient shows in its own moment only", () => {
  const gradient = new Float32Array(32), start = randomValues(32, 1);
  gradient[5] = NaN;
  const [p, m] = engines.compute((space) => {
    const arrays = [start, gradient, gradient.map(() => 0)].map((values) => space.floats(values));
    const [p, g, m] = arrays.map(({ pointer }) => pointer) as [number, number, number];
    const o = { learningRate: 0.1, weightDecay: 0.5, gradientScale: 1, beta1: 0.9, beta2: 0.99 };
    lion(space.runtime, p, g, m, 32, o);
    return [space.read(arrays[0]!), space.read(arrays[2]!)];
  });
  const decayed = Float64Array.from(start, (value) => value * 0.95);
  assertWithin(p!, decayed, (i) => 2 * U * Math.abs(start[i]!), "parameters");
  m!.forEach((value, i) => assert(Number.isNaN(value) === (i === 5)));
});

Deno.test("a moment that only decays becomes 0, with either sign, and no number below 1e-30 on the way", () => {
  const start = Float32Array.from({ length: 32 }, (_, i) => (i % 2 ? -1 : 1) * 10 ** (i / 2 - 35));
  const steps = engines.compute((space) => {
    const [p, g, m] = [start, start, start].map((values, i) =>
      space.floats(i === 2 ? values : values.map(() => 0))
    );
    const o = { learningRate: 0.1, weightDecay: 0, gradientScale: 1, beta1: 0.9, beta2: 0.5 };
    return Array.from({ length: 70 }, () => {
      lion(space.runtime, p!.pointer, g!.pointer, m!.pointer, 32, o);
      return space.read(m!);
    });
  });
  for (const m of steps) assert(m.every((value) => value === 0 || Math.abs(value) >= 1e-30));
  assert(steps[0]!.some((value) => value !== 0));
  assert(steps.at(-1)!.every((value) => value === 0));
});
