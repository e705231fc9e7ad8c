// Dropout without masks: its rate, its purity, and that backward decides as forward did.

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { dropout, type DropoutStream, residualDropout } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, sameBytes, U } from "../kernels/helpers.ts";
import { randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

function drop(x: Float32Array, stream: DropoutStream): Float32Array {
  return engines.compute((space) => {
    const y = space.output([x.length]);
    dropout(space.runtime, y, space.floats(x), stream);
    return [space.read(y)];
  })[0]!;
}

const COUNT = 2 ** 19;
const ones = new Float32Array(COUNT).fill(1);

/** Fails unless the share of zeros among every `step`-th element is p within four sigma. */
function assertRate(y: Float32Array, p: number, first: number, step: number, what: string) {
  let zeros = 0, count = 0;
  for (let i = first; i < y.length; i += step) {
    count++;
    if (y[i] === 0) zeros++;
  }
  assertWithin([zeros / count], [p], 4 * Math.sqrt(p * (1 - p) / count), what);
}

for (const p of [0.1, 0.5, 0.9]) {
  Deno.test(`dropout ${p}: the rate within 4 sigma, over all, in every lane, in rows of 4096; what is kept is x / (1 - p) within 2 u`, () => {
    const y = drop(ones, { p, keyA: 0x12345678, keyB: 0x9abcdef0 });
    assertRate(y, p, 0, 1, "over all");
    for (let lane = 0; lane < 4; lane++) assertRate(y, p, lane, 4, `lane ${lane}`);
    for (const column of [0, 1, 17, 4095]) assertRate(y, p, column, 4096, `column ${column}`);
    const kept = y.filter((value) => value !== 0);
    assertWithin(
      kept,
      new Float64Array(kept.length).fill(1 / (1 - p)),
      3 * U / (1 - p) ** 2,
      "kept",
    );
    // Neighbours agree as often as independent decisions do.
    const agree = y.subarray(1).filter((value, i) => (value === 0) === (y[i] === 0)).length;
    const expected = p * p + (1 - p) * (1 - p);
    const sigma = Math.sqrt(expected * (1 - expected) / COUNT);
    assertWithin([agree / (COUNT - 1)], [expected], 8 * sigma, "neighbours");
  });
}

Deno.test("dropout is a pure function of keys and index: any length, any data, in place; other keys decide otherwise", () => {
  const stream = { p: 0.3, keyA: 7, keyB: 0xffffffff };
  const x = randomValues(40_001, 1), dy = randomValues(40_001, 2);
  const y = drop(x, stream), dx = drop(dy, stream);
  const decisions = drop(ones, stream);
  const scale = decisions.find((value) => value !== 0)!;
  assert(y.every((value, i) => value === (decisions[i] === 0 ? 0 : Math.fround(x[i]! * scale))));
  assert(dx.every((value, i) => value === (decisions[i] === 0 ? 0 : Math.fround(dy[i]! * scale))));
  for (const length of [1, 4, 15, 17, 33, 100]) {
    assertEquals(drop(x.slice(0, length), stream), y.slice(0, length));
  }
  const [inPlace] = engines.compute((space) => {
    const tensor = space.floats(x);
    dropout(space.runtime, tensor, tensor, stream);
    return [space.read(tensor)];
  });
  assert(sameBytes(inPlace!, y), "in place");
  for (const other of [{ ...stream, keyA: 8 }, { ...stream, keyB: 0xfffffffe }]) {
    const others = drop(ones, other);
    const agree = others.filter((value, i) => value === decisions[i]).length;
    const expected = 0.3 ** 2 + 0.7 ** 2;
    const sigma = Math.sqrt(expected * (1 - expected) / COUNT);
    assertWithin([agree / COUNT], [expected], 4 * sigma, "agreement with another stream");
  }
});

Deno.test("residual_dropout is residual + dropout(x) within 2 u; with p = 0 both kernels are exact", () => {
  const none = { p: 0, keyA: 1, keyB: 2 }, stream = { p: 0.2, keyA: 3, keyB: 4 };
  for (const length of [1, 4, 15, 17, 33, 100, 40_001]) {
    const x = randomValues(length, 1), residual = randomValues(length, 2, 3);
    const [added, exact, copied] = engines.compute((space) => {
      const [y, z, copy] = [0, 1, 2].map(() => space.output([length]));
      const input = space.floats(x), base = space.floats(residual);
      residualDropout(space.runtime, y!, base, input, stream);
      residualDropout(space.runtime, z!, base, input, none);
      dropout(space.runtime, copy!, input, none);
      return [space.read(y!), space.read(z!), space.read(copy!)];
    });
    const dropped = drop(x, stream);
    const expected = Float64Array.from(dropped, (value, i) => value + residual[i]!);
    const bound = (i: number) => 2 * U * (Math.abs(dropped[i]!) + Math.abs(residual[i]!));
    assertWithin(added!, expected, bound, "residual + dropout");
    assertEquals(exact!, x.map((value, i) => Math.fround(value + residual[i]!)), "p = 0");
    assertEquals(copied!, x, "dropout with p = 0");
    if (length > 100) assertNotEquals(added!, exact!);
  }
});
