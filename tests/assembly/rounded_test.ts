// Mixed precision's kernels: f32 weights read as bf16 give the bytes of weights that were rounded before, and plain
// arrays become bf16 and come back.

import { assert, assertThrows } from "@std/assert";
import {
  embeddingForward,
  linearBackwardInput,
  linearForward,
  narrow,
  packWeight,
  type Tensor,
  type Weight,
  weightLength,
  widen,
} from "../../src/kernels/mod.ts";
import { Engines, sameBytes, type Workspace } from "../kernels/helpers.ts";
import { randomIntegers, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

/** Rows, inputs and outputs: no multiples of tiles, fewer and more than a block of 384 deep. */
const SIZES = [[1, 4, 1], [5, 12, 15], [7, 36, 17], [13, 100, 33], [50, 388, 100], [
  3,
  772,
  401,
]] as const;

/** The nearest bf16, ties to even. */
function nearest(values: Float32Array): Float32Array {
  const bits = new Uint32Array(values.slice().buffer);
  return new Float32Array(
    bits.map((b) => ((b + 0x7fff + (b >>> 16 & 1)) & 0xffff0000) >>> 0).buffer,
  );
}

function weightOf(
  space: Workspace,
  w: Float32Array,
  [inputs, outputs]: readonly [number, number],
  rounded: boolean,
): Weight {
  const { pointer } = space.output([weightLength(inputs, outputs)]);
  const weight: Weight = { pointer, inputs, outputs, rounded };
  packWeight(space.runtime, weight, space.floats(w, [inputs, outputs]), false);
  return weight;
}

Deno.test("rounded weights: forward, backward and embedding have the bytes of weights rounded before, and the weights stay", () => {
  for (const [rows, inputs, outputs] of SIZES) {
    const w = randomValues(inputs * outputs, 1), x = randomValues(rows * inputs, 2);
    const dy = randomValues(rows * outputs, 3), bias = randomValues(outputs, 4);
    const results = [[w, true], [nearest(w), false], [w, false]] as const;
    const [rounded, before, exact] = results.map(([values, rounds]) =>
      engines.compute((space) => {
        const { runtime } = space;
        const weight = weightOf(space, values, [inputs, outputs], rounds);
        const size = weightLength(inputs, outputs);
        const memory: Tensor = { pointer: weight.pointer, shape: [size], type: "f32" };
        const y = space.output([rows, outputs]), dx = space.output([rows, inputs]);
        linearForward(runtime, y, space.floats(x, [rows, inputs]), weight, space.floats(bias));
        linearBackwardInput(runtime, dx, space.floats(dy, [rows, outputs]), weight);
        const out = space.output([rows, inputs]);
        const tokens = space.integers(randomIntegers(rows, outputs, 5));
        const positions = space.floats(randomValues(rows * inputs, 6), [rows, inputs]);
        const order = space.integers(Array.from({ length: rows }, (_, i) => i));
        embeddingForward(runtime, out, tokens, order, weight, positions);
        return [space.read(y), space.read(dx), space.read(out), space.read(memory)];
      })
    );
    ["forward", "backward", "embedding"].forEach((what, i) => {
      const size = `${rows} x ${inputs} x ${outputs}`;
      assert(sameBytes(rounded![i]!, before![i]!), `${what} ${size}`);
      assert(!sameBytes(rounded![i]!, exact![i]!), `${what} ${size}: not rounded at all`);
    });
    assert(sameBytes(rounded![3]!, exact![3]!), "the weights have changed");
  }
});

Deno.test("rounded weights: NaN and infinity stay what they are", () => {
  const w = Float32Array.of(NaN, Infinity, -Infinity, 1), x = Float32Array.of(1);
  new Uint32Array(w.buffer)[0] = 0x7fffffff; // rounding its bits up would make it -0
  const [y] = engines.compute((space) => {
    const weight = weightOf(space, w, [1, 4], true), y = space.output([1, 4]);
    linearForward(space.runtime, y, space.floats(x, [1, 1]), weight, null);
    return [space.read(y)];
  });
  assert(Number.isNaN(y![0]) && y![1] === Infinity && y![2] === -Infinity && y![3] === 1);
});

Deno.test("narrow and widen: 1 to 40,000 numbers of one to three dimensions, the nearest bf16 each, and nothing behind them", () => {
  for (const shape of [[1], [15], [16, 1], [17], [3, 5, 7], [200, 201]]) {
    const x = randomValues(shape.reduce((a, b) => a * b), 9);
    const [back] = engines.compute((space) => {
      const { runtime } = space;
      const half = runtime.arena.allocate(shape, "bf16"), guard = space.floats([]);
      const to = space.output(shape);
      narrow(runtime, half, space.floats(x, shape));
      widen(runtime, to, half);
      assert(guard.pointer - half.pointer >= 2 * x.length, "bf16 has room");
      return [space.read(to)];
    });
    assert(sameBytes(back!, nearest(x)), `[${shape}]`);
  }
  const { arena } = engines.runtimes[0]!;
  arena.scope(() => {
    const [wide, half] = [arena.allocate([4]), arena.allocate([4], "bf16")];
    assertThrows(() => narrow(engines.runtimes[0]!, wide, half), TypeError, "from bf16 to f32");
    assertThrows(() => widen(engines.runtimes[0]!, half, wide), TypeError, "from f32 to bf16");
    const other = arena.allocate([5], "bf16");
    assertThrows(() => narrow(engines.runtimes[0]!, other, wide), RangeError, "must have shape");
  });
});
