// AdamW, the gradient's norm and the initial values.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { adamw, fillNormal, sumOfSquares, type Tensor } from "../../src/kernels/mod.ts";
import {
  assertFaded,
  assertWithin,
  Engines,
  FADING,
  largest,
  moments,
  sameBytes,
  U,
} from "../kernels/helpers.ts";
import {
  adamW,
  clipScale,
  erfc,
  randomValues,
  sumOfSquares as squares,
} from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const STEPS = 10;
/** More than a chunk of 16,384 and no multiple of it. */
const LENGTH = 17_008;

/** Gradients of every size from 1 to 1e-10, none near zero for its size. */
function gradientsOf(step: number): Float32Array {
  return randomValues(LENGTH, step).map((value, i) =>
    (value + (value < 0 ? -0.3 : 0.3)) * 10 ** -(i % 11)
  );
}

interface Settings {
  readonly beta1: number;
  readonly beta2: number;
  readonly weightDecay: number;
  readonly clip: number;
}

for (
  const settings of [
    { beta1: 0.9, beta2: 0.999, weightDecay: 0.1, clip: Infinity },
    { beta1: 0.9, beta2: 0.95, weightDecay: 0, clip: 0.5 },
    { beta1: 0, beta2: 0.9999, weightDecay: 1, clip: 1 },
  ] as readonly Settings[]
) {
  const { beta1, beta2, weightDecay, clip } = settings;
  Deno.test(`adamw, betas ${beta1} ${beta2}, decay ${weightDecay}, clip ${clip}: ten steps, moments within 4 step u of the gradients' size, parameters within 3 u |p| + lr (moments' errors + 10 step u); gradients zeroed`, () => {
    const start = randomValues(LENGTH, 99), learningRate = 0.01, epsilon = 1e-8;
    const steps = Array.from({ length: STEPS }, (_, i) => gradientsOf(i + 1));
    const scales = steps.map((g) => Math.fround(clipScale(Math.sqrt(squares(g)), clip)));
    const [p, m, v, g] = engines.compute((space) => {
      const { runtime } = space;
      const p = space.floats(start), g = space.output([LENGTH]);
      const [m, v] = [0, 1].map(() => space.floats(new Float32Array(LENGTH)));
      steps.forEach((gradient, i) => {
        runtime.f32(g).set(gradient);
        adamw(runtime, p.pointer, g.pointer, moments(m!), moments(v!), LENGTH, {
          ...{ gradientScale: scales[i]!, beta1, beta2, learningRate, weightDecay, epsilon },
          step: i + 1,
        });
      });
      return [p, m!, v!, g].map((tensor) => space.read(tensor));
    });

    const zeros = new Float64Array(LENGTH);
    let state = { p: Float64Array.from(start), m: zeros, v: zeros };
    const sizes = Float64Array.from(zeros), offP = Float64Array.from(zeros);
    steps.forEach((gradient, index) => {
      const step = index + 1, gradientScale = scales[index]!;
      const o = { learningRate, beta1, beta2, epsilon, weightDecay, step, gradientScale };
      const before = state.p;
      state = adamW(state.p, gradient, state.m, state.v, o);
      for (let i = 0; i < LENGTH; i++) {
        sizes[i] = Math.max(sizes[i]!, Math.abs(gradient[i]! * gradientScale));
        const root = Math.sqrt(state.v[i]! / (1 - beta2 ** step)) + epsilon;
        const offMean = 4 * step * U * sizes[i]! / (1 - beta1 ** step);
        const update = state.m[i]! / (1 - beta1 ** step) / root;
        offP[i]! += 3 * U * Math.abs(before[i]!) +
          learningRate * (offMean / root + 10 * step * U * Math.abs(update));
      }
    });
    assertWithin(m!, state.m, (i) => 4 * STEPS * U * sizes[i]!, "first moment");
    assertWithin(v!, state.v, (i) => 4 * STEPS * U * state.v[i]!, "second moment");
    assertWithin(p!, state.p, (i) => offP[i]!, "parameters");
    assert(g!.every((value) => value === 0), "gradients are zero afterwards");
  });
}

Deno.test("adamw without a gradient decays only, and a NaN gradient shows in its own element only", () => {
  const gradient = new Float32Array(32);
  gradient[5] = NaN;
  const start = randomValues(32, 1);
  const [p] = engines.compute((space) => {
    const tensors = [start, gradient, gradient.map(() => 0), gradient.map(() => 0)]
      .map((values) => space.floats(values));
    const [p, g, m, v] = tensors as [Tensor, Tensor, Tensor, Tensor];
    adamw(space.runtime, p.pointer, g.pointer, moments(m), moments(v), 32, {
      ...{ gradientScale: 1, beta1: 0.9, beta2: 0.999, learningRate: 0.1, weightDecay: 0.5 },
      ...{ epsilon: 1e-8, step: 1 },
    });
    return [space.read(p)];
  });
  p!.forEach((value, i) => {
    if (i === 5) assert(Number.isNaN(value));
    else assertWithin([value], [start[i]! * 0.95], 2 * U * Math.abs(start[i]!), `[${i}]`);
  });
});

Deno.test("adamw forgets moments below 1e-30, with either sign", () => {
  const [m, v] = engines.compute((space) => {
    const tensors = [FADING.map(() => 1), FADING.map(() => 0), FADING, FADING.map(Math.abs)]
      .map((values) => space.floats(values));
    const [p, g, m, v] = tensors as [Tensor, Tensor, Tensor, Tensor];
    adamw(space.runtime, p.pointer, g.pointer, moments(m), moments(v), 16, {
      ...{ gradientScale: 1, beta1: 0.9, beta2: 0.9, learningRate: 0.1, weightDecay: 0 },
      ...{ epsilon: 1e-8, step: 1 },
    });
    return [space.read(m), space.read(v)];
  });
  assertFaded(m!);
  assertFaded(v!);
});

Deno.test("sum_of_squares: 16 to 200,000 elements, within, on the border of and over a block of 65,536, within 70 u of itself", () => {
  for (const length of [16, 32, 1008, 1040, 65_520, 65_536, 65_552, 131_072, 200_000]) {
    const x = randomValues(length, length, 0.02).map((value, i) => i === length - 1 ? 7 : value);
    const sums = engines.runtimes.map((runtime) =>
      runtime.arena.scope(() => sumOfSquares(runtime, runtime.floats(x).pointer, length))
    );
    const expected = squares(x);
    assertWithin([sums[0]!], [expected], 70 * U * expected, `${length}`);
    assertEquals(sums, sums.map(() => sums[0]!), "the same for every number of threads");
  }
});

Deno.test("sum_of_squares of NaN is NaN, wherever it stands", () => {
  const runtime = engines.runtimes[1]!;
  for (const at of [0, 17, 1023, 65_535, 65_551]) {
    const x = new Float32Array(65_552);
    x[at] = NaN;
    const sum = runtime.arena.scope(() =>
      sumOfSquares(runtime, runtime.floats(x).pointer, x.length)
    );
    assert(Number.isNaN(sum), `NaN at ${at} gives ${sum}`);
  }
});

const COUNT = 2 ** 18;

function normal(length: number, deviation: number, keyA: number, keyB: number): Float32Array {
  return engines.compute((space) => {
    const x = space.output([length]);
    fillNormal(space.runtime, x.pointer, length, deviation, keyA, keyB);
    return [space.read(x)];
  })[0]!;
}

Deno.test("normal: mean, spread, tails, neighbours within 4 sigma; Kolmogorov-Smirnov below its 1e-6 level", () => {
  const x = normal(COUNT, 1, 0xdeadbeef, 42);
  const mean = x.reduce((sum, value) => sum + value, 0) / COUNT;
  assertWithin([mean], [0], 4 / Math.sqrt(COUNT), "mean");
  assertWithin([Math.sqrt(squares(x) / COUNT)], [1], 4 / Math.sqrt(2 * COUNT), "spread");
  for (const limit of [1, 2, 3, 4]) {
    const share = erfc(limit / Math.SQRT2) / 2;
    const sigma = Math.sqrt(share * (1 - share) / COUNT);
    const above = x.filter((value) => value > limit).length / COUNT;
    const below = x.filter((value) => value < -limit).length / COUNT;
    assertWithin([above, below], [share, share], 4 * sigma, `beyond ${limit}`);
  }
  assert(largest(x) < 5.4, "24 bits reach 5.3 sigma");
  for (const lag of [1, 4, 16, 768]) {
    let sum = 0;
    for (let i = lag; i < COUNT; i++) sum += x[i]! * x[i - lag]!;
    assertWithin([sum / COUNT], [0], 4 / Math.sqrt(COUNT), `correlation at distance ${lag}`);
  }
  const distance = x.toSorted().reduce((most, value, i) => {
    const below = erfc(-value / Math.SQRT2) / 2;
    return Math.max(most, Math.abs(below - i / COUNT), Math.abs(below - (i + 1) / COUNT));
  }, 0);
  assertWithin([distance], [0], Math.sqrt(Math.log(2 / 1e-6) / 2 / COUNT), "largest distance");
});

Deno.test("normal: deviation scales within 2 u; any length starts alike; other keys give other numbers", () => {
  const x = normal(40_000, 1, 1, 2), scaled = normal(40_000, 0.02, 1, 2);
  const expected = Float64Array.from(x, (value) => 0.02 * value);
  assertWithin(scaled, expected, (i) => 4 * U * Math.abs(expected[i]!), "0.02");
  assert(sameBytes(normal(48, 1, 1, 2), x.slice(0, 48)));
  assertNotEquals(normal(48, 1, 1, 3), x.slice(0, 48));
  assertNotEquals(normal(48, 1, 2, 2), x.slice(0, 48));
});
