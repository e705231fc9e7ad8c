// AdamW with moments in bf16 and in int8 by blocks: one step against the f64 formula from what is stored, the
// rounding's mean and independence of threads, and formats that give back what they hold.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  adamw,
  MOMENT_BLOCK,
  momentBytes,
  type MomentFormat,
  type Moments,
  narrowMoments,
  widenMoments,
} from "../../src/kernels/mod.ts";
import { assertWithin, Engines, sameBytes, U, type Workspace } from "../kernels/helpers.ts";
import { adamW, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

/** More than two chunks of 16,384 and a multiple of neither's half. */
const LENGTH = 67 * MOMENT_BLOCK + 16_384;
const FORMATS = ["bf16", "int8"] as const;
const OPTIONS = {
  ...{ learningRate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1 },
  ...{ gradientScale: 0.5, step: 3 },
};

/** Sizes from 1 down to 1e-10, so that a block holds all of them. */
function spread(length: number, seed: number): Float32Array {
  return randomValues(length, seed).map((value, i) => value * 10 ** -(i % 11));
}

/** Zero moments between guards, and the tensors that hold them. */
function allocate(space: Workspace, format: MomentFormat, length: number): Moments {
  const numbers = space.floats(new Float32Array(momentBytes(format, length) / 4));
  const scales = space.floats(new Float32Array(Math.ceil(length / MOMENT_BLOCK)));
  return { format, pointer: numbers.pointer, scales: scales.pointer };
}

/** A moment's numbers, widened. */
function read(space: Workspace, moments: Moments, length: number, isMean: boolean): Float32Array {
  const wide = space.output([length]);
  widenMoments(space.runtime, wide.pointer, moments, length, isMean);
  return space.read(wide);
}

/** The bytes of a moment, as floats that nobody calculates with. */
function bytes({ runtime }: Workspace, { format, pointer }: Moments, length: number): Float32Array {
  const shape = [momentBytes(format, length) / 4];
  return runtime.f32({ pointer, shape, type: "f32" }).slice();
}

/** Distance between the two stored neighbours of a number. */
function gap(format: MomentFormat, value: number, scale: number, isMean: boolean): number {
  if (format === "bf16") {
    return Math.max(2 ** (Math.floor(Math.log2(Math.abs(value))) - 7), 2 ** -133);
  }
  const largest = isMean ? 127 : 255;
  const code = Math.min(
    largest - 1,
    Math.floor((Math.abs(value) / scale) ** 0.25 * largest * (1 + 1e-6)),
  );
  return scale * ((code + 1) ** 4 - Math.max(0, code) ** 4) / largest ** 4;
}

/** The largest magnitude of each number's block. */
function scalesOf(values: Float64Array): Float64Array {
  return values.map((_, i) => {
    const start = i - i % MOMENT_BLOCK;
    return values.subarray(start, start + MOMENT_BLOCK).reduce(
      (m, x) => Math.max(m, Math.abs(x)),
      0,
    );
  });
}

for (const format of FORMATS) {
  Deno.test(`adamw ${format}: parameters within 8 u |p| + lr 20 u of f64 from the stored moments, moments within one stored neighbour; gradients zeroed`, () => {
    const start = randomValues(LENGTH, 1), gradient = spread(LENGTH, 2);
    const mean = spread(LENGTH, 3), square = spread(LENGTH, 4).map((x) => x * x);
    const [p, g, m0, v0, m, v] = engines.compute((space) => {
      const { runtime } = space;
      const p = space.floats(start), g = space.floats(gradient);
      const [m, v] = [mean, square].map((values, i) => {
        const moments = allocate(space, format, LENGTH);
        const from = space.floats(values);
        narrowMoments(runtime, moments, from.pointer, LENGTH, i === 0);
        return moments;
      }) as [Moments, Moments];
      const before = [read(space, m, LENGTH, true), read(space, v, LENGTH, false)];
      const stream = { keyA: 0xfedcba98, keyB: 3, first: 4096 };
      adamw(runtime, p.pointer, g.pointer, m, v, LENGTH, OPTIONS, stream);
      const after = [read(space, m, LENGTH, true), read(space, v, LENGTH, false)];
      return [space.read(p), space.read(g), ...before, ...after];
    });
    assert(g!.every((value) => value === 0), "gradients");
    const truth = adamW(start, gradient, m0!, v0!, OPTIONS);
    const correction = 1 - OPTIONS.beta1 ** OPTIONS.step;
    assertWithin(p!, truth.p, (i) => {
      const root = Math.sqrt(truth.v[i]! / (1 - OPTIONS.beta2 ** OPTIONS.step)) + OPTIONS.epsilon;
      // The mean's error is relative to its two terms, which may cancel.
      const terms = Math.abs(m0![i]!) + Math.abs(gradient[i]! * OPTIONS.gradientScale);
      return 8 * U * Math.abs(start[i]!) +
        OPTIONS.learningRate * 20 * U * terms / correction / root;
    }, "parameters");
    for (const [stored, exact, isMean] of [[m!, truth.m, true], [v!, truth.v, false]] as const) {
      const scales = scalesOf(exact);
      const what = isMean ? "means" : "squares";
      assertWithin(stored, exact, (i) => {
        const rounding = 4 * U *
          (Math.abs(exact[i]!) + scales[i]! * (format === "int8" ? 1e-3 : 0));
        return gap(format, exact[i]!, scales[i]!, isMean) + rounding + 1e-38;
      }, what);
      if (!isMean) exact.forEach((x, i) => assert(x === 0 || stored[i]! > 0, `square ${i} is 0`));
    }
  });

  Deno.test(`adamw ${format}: rounding is right on average, within 5 sigma of 2^15 draws, and its counters are those of (keys, first + i)`, () => {
    // One number in many places: every draw of a block's rounding has the same exact result.
    const length = 2 ** 15, x = 0.0123;
    const run = (keyA: number, first: number, count = length) =>
      engines.compute((space) => {
        const { runtime } = space;
        const gradient = new Float32Array(count).fill(x / (1 - OPTIONS.beta1) / 0.5);
        for (let i = 0; i < count; i += MOMENT_BLOCK) gradient[i]! *= 7; // the block's largest
        const p = space.floats(new Float32Array(count)), g = space.floats(gradient);
        const [m, v] = [allocate(space, format, count), allocate(space, format, count)];
        adamw(runtime, p.pointer, g.pointer, m, v, count, OPTIONS, { keyA, keyB: 9, first });
        return [
          ...[read(space, m, count, true), read(space, v, count, false)],
          ...[bytes(space, m, count), bytes(space, v, count)],
        ];
      });
    const [m, v, mBytes, vBytes] = run(5, 0);
    const g = x / (1 - OPTIONS.beta1);
    for (const [values, exact] of [[m!, x], [v!, (1 - OPTIONS.beta2) * g * g]] as const) {
      const drawn = values.filter((_, i) => i % MOMENT_BLOCK !== 0);
      const kinds = [...new Set(drawn)].sort((a, b) => a - b);
      assertEquals(kinds.length, 2, `${kinds}`);
      const mean = drawn.reduce((sum, value) => sum + value, 0) / drawn.length;
      const [low, high] = kinds as [number, number];
      const share = (exact - low) / (high - low);
      const sigma = (high - low) * Math.sqrt(share * (1 - share) / drawn.length);
      assertWithin([mean], [exact], 5 * sigma + 1e-6 * exact, `mean of ${kinds}`);
      // A neighbour's draw says nothing of one's own.
      const up = Float64Array.from(drawn, (value) => value === high ? 1 - share : -share);
      for (const lag of [1, 4, 8, 16]) {
        let sum = 0;
        for (let i = lag; i < up.length; i++) sum += up[i]! * up[i - lag]!;
        const bound = 5 * share * (1 - share) / Math.sqrt(up.length);
        assertWithin([sum / up.length], [0], bound, `correlation at distance ${lag}`);
      }
    }
    const part = run(5, MOMENT_BLOCK * 2, length - MOMENT_BLOCK * 2);
    const skipped = momentBytes(format, MOMENT_BLOCK * 2) / 4;
    assert(sameBytes(part[2]!, mBytes!.subarray(skipped)), "means from a later first");
    assert(sameBytes(part[3]!, vBytes!.subarray(skipped)), "squares from a later first");
    assert(!sameBytes(run(6, 0)[2]!, mBytes!) && !sameBytes(run(6, 0)[3]!, vBytes!), "other keys");
  });

  Deno.test(`adamw ${format}: a mean that only decays dies out, and a square too, though a step is far less than a unit`, () => {
    const steps = 400, length = 2 ** 13, betas = { beta1: 0.99, beta2: 0.999 };
    const [m, v] = engines.compute((space) => {
      const { runtime } = space;
      const values = new Float32Array(length).fill(1e-3);
      for (let i = 0; i < length; i += MOMENT_BLOCK) values[i] = 1;
      const p = space.floats(new Float32Array(length)), g = space.floats(new Float32Array(length));
      const [m, v] = [true, false].map((isMean) => {
        const moments = allocate(space, format, length);
        narrowMoments(runtime, moments, space.floats(values).pointer, length, isMean);
        return moments;
      }) as [Moments, Moments];
      for (let step = 1; step <= steps; step++) {
        const stream = { keyA: step, keyB: 1, first: 0 };
        adamw(runtime, p.pointer, g.pointer, m, v, length, { ...OPTIONS, ...betas, step }, stream);
      }
      return [read(space, m, length, true), read(space, v, length, false)];
    }, 1);
    for (const [values, beta] of [[m!, betas.beta1], [v!, betas.beta2]] as const) {
      const small = values.filter((_, i) => i % MOMENT_BLOCK !== 0);
      const mean = small.reduce((sum, value) => sum + value, 0) / small.length;
      // The first value is the stored neighbour of 1e-3, within 5 %; the mean of 8,160 walks wanders by some percent.
      assertWithin([mean / 1e-3 / beta ** steps], [1], 0.15, `beta ${beta}`);
    }
  });

  Deno.test(`${format} moments: what the format holds comes back to the byte, zeros as zeros`, () => {
    const [once, twice] = engines.compute((space) => {
      const results = [true, false].flatMap((isMean) => {
        const values = spread(LENGTH, 5).map((x, i) => i < 300 ? 0 : isMean ? x : x * x);
        const first = allocate(space, format, LENGTH), second = allocate(space, format, LENGTH);
        narrowMoments(space.runtime, first, space.floats(values).pointer, LENGTH, isMean);
        const wide = read(space, first, LENGTH, isMean);
        assert(wide.subarray(0, 300).every((x) => x === 0), "zeros");
        const from = space.floats(wide).pointer;
        narrowMoments(space.runtime, second, from, LENGTH, isMean);
        return [[bytes(space, first, LENGTH)], [bytes(space, second, LENGTH)]];
      });
      return [results[0]![0]!, results[1]![0]!, results[2]![0]!, results[3]![0]!];
    });
    assert(sameBytes(once!, twice!));
  });
}

Deno.test("adamw int8 refuses lengths that are no whole blocks, and two formats at once", () => {
  const runtime = engines.runtimes[0]!;
  const int8 = { format: "int8", pointer: 64, scales: 64 } as const;
  assertThrows(
    () => adamw(runtime, 64, 64, int8, int8, 272, OPTIONS),
    RangeError,
    "multiple of 256",
  );
  const bf16 = { ...int8, format: "bf16" } as const;
  assertThrows(() => adamw(runtime, 64, 64, int8, bf16, 256, OPTIONS), TypeError, "int8 and bf16");
});
