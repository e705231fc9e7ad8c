// The benchmark's yardsticks do the work that they are said to do.

import { assertWithin, Engines, U } from "../kernels/helpers.ts";
import { randomValues } from "../reference/kernels.ts";

const engines = await Engines.start([{ threads: 1, kernel: "6x8" }]);
Deno.test.afterAll(() => engines.close());

Deno.test("fma_peak: 48 lanes of a = a / 2 + 1 / 2 reach 1 within 48 * 2 u", () => {
  const { exports } = engines.runtimes[0]!;
  assertWithin([exports.fma_peak!(100, 0.5)], [48], 48 * 2 * U, "sum of the lanes");
  // After n rounds from 1/2 a lane lacks 2^-(n + 1).
  assertWithin([exports.fma_peak!(3, 0.5)], [48 * (1 - 1 / 16)], 0, "three rounds");
});

Deno.test("memory_read: the sum of lines [3, 100) within 100 u |x|", () => {
  const x = randomValues(1600, 1);
  const [result] = engines.compute((space) => {
    const out = space.output([1]);
    space.runtime.exports.memory_read!(3, 100, space.floats(x).pointer, out.pointer);
    return [space.read(out)];
  });
  const read = x.slice(48);
  const size = read.reduce((sum, value) => sum + Math.abs(value), 0);
  assertWithin(result!, [read.reduce((sum, value) => sum + value, 0)], 100 * U * size, "sum");
});
