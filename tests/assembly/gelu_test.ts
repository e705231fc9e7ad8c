// GELU, exact and by tanh, and their slopes, swept over [-10, 10].

import { assert } from "@std/assert";
import { geluBackward, geluForward } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, U } from "../kernels/helpers.ts";
import {
  gelu,
  geluDerivative,
  geluTanh,
  geluTanhDerivative,
  randomValues,
} from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

/** GELU of x and dy * GELU'(x), once more with dx in dy's place. */
function run(x: Float32Array, dy: Float32Array, approximate: boolean): Float32Array[] {
  return engines.compute((space) => {
    const { runtime } = space;
    const input = space.floats(x), slope = space.floats(dy);
    const y = space.output([x.length]), dx = space.output([x.length]);
    geluForward(runtime, y, input, approximate);
    geluBackward(runtime, dx, slope, input, approximate);
    geluBackward(runtime, slope, slope, input, approximate);
    return [y, dx, slope].map((tensor) => space.read(tensor));
  });
}

// 40,001 points: more than a chunk, and no multiple of 16.
const sweep = Float32Array.from({ length: 40_001 }, (_, i) => i / 2000 - 10);
const forms = [
  {
    name: "exact",
    approximate: false,
    value: gelu,
    slope: geluDerivative,
    off: 4e-7,
    offSlope: 5e-7,
  },
  {
    name: "tanh",
    approximate: true,
    value: geluTanh,
    slope: geluTanhDerivative,
    off: 5e-7,
    offSlope: 2e-6,
  },
];

for (const { name, approximate, value, slope, off, offSlope } of forms) {
  Deno.test(`gelu ${name} over [-10, 10]: within ${off} + u |x|; slope within ${offSlope}`, () => {
    const [y, dx] = run(sweep, new Float32Array(sweep.length).fill(1), approximate);
    assertWithin(y!, Float64Array.from(sweep, value), (i) => off + U * Math.abs(sweep[i]!), "y");
    assertWithin(dx!, Float64Array.from(sweep, slope), offSlope, "slope");
  });

  Deno.test(`gelu ${name}: its slope is its own difference quotient over 2^-6, within h^2 and 2 * ${off} / 2 h`, () => {
    const h = 2 ** -6, x = randomValues(1001, 1, 2);
    const [above] = run(x.map((value) => value + h), x, approximate);
    const [below] = run(x.map((value) => value - h), x, approximate);
    const [, slopes] = run(x, new Float32Array(x.length).fill(1), approximate);
    const quotients = x.map((_, i) => (above![i]! - below![i]!) / (2 * h));
    // Third derivatives of both stay below 3: h^2 / 6 times it is under h^2.
    assertWithin(slopes!, quotients, h ** 2 + (off + 8 * U) / h + offSlope, "slope");
  });

  Deno.test(`gelu ${name} backward multiplies by dy, also in place, within ${offSlope} |dy| + u`, () => {
    for (const length of [1, 4, 15, 17, 33, 100]) {
      const x = randomValues(length, length, 2), dy = randomValues(length, 1 + length, 5);
      const [, dx, inPlace] = run(x, dy, approximate);
      const expected = Float64Array.from(x, (value, i) => dy[i]! * slope(value));
      assertWithin(dx!, expected, (i) => Math.abs(dy[i]!) * (offSlope + 2 * U), "dx");
      assertWithin(inPlace!, dx!, 0, "in place");
    }
  });

  Deno.test(`gelu ${name} far out: 0 and x within 1e-30 + u |x|; NaN stays`, () => {
    const x = Float32Array.of(-1e4, -50, 50, 1e4, 1e15, 0, NaN, -NaN);
    const [y, dx] = run(x, new Float32Array(x.length).fill(1), approximate);
    const expected = [0, 0, 50, 1e4, 1e15, 0];
    assertWithin(y!.slice(0, 6), expected, (i) => 1e-30 + U * expected[i]!, "y");
    assertWithin(dx!.slice(0, 6), [0, 0, 1, 1, 1, 0.5], 1e-6, "slope");
    assert([...y!.slice(6), ...dx!.slice(6)].every(Number.isNaN), "NaN stays NaN");
  });
}
