// The learning-rate range test: its rates, and the rate that it takes from a planted curve.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { rateAt, type RatePoint, steepest } from "../../src/training/mod.ts";

const RANGE = { lowest: 1e-6, highest: 1e-1, steps: 101 };

function curve(loss: (logarithm: number) => number): RatePoint[] {
  return Array.from({ length: RANGE.steps }, (_, step) => {
    const rate = rateAt(RANGE, step), smooth = loss(Math.log10(rate));
    return { rate, loss: smooth, smooth };
  });
}

Deno.test("rates rise by the same factor with each step, from the lowest to the highest", () => {
  assertAlmostEquals(rateAt(RANGE, 0), 1e-6, 1e-15);
  assertAlmostEquals(rateAt(RANGE, 100), 0.1, 1e-9);
  for (const step of [0, 37, 99]) {
    assertAlmostEquals(rateAt(RANGE, step + 1) / rateAt(RANGE, step), 10 ** 0.05, 1e-9);
  }
});

Deno.test("the rate where a planted loss falls fastest is found; a loss that never falls has none", () => {
  const found = steepest(curve((x) => 10 - 5 / (1 + Math.exp(-4 * (x + 3))) + Math.exp(x * 3)));
  assert(found! > 7e-4 && found! < 1.4e-3, `${found}`);
  assertEquals(steepest(curve((x) => x)), null);
  assertEquals(steepest([]), null);
});
