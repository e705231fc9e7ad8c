// Drawing a token without sorting: by the exact probabilities, whatever was made impossible.

import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { tokenAt } from "../../src/generation/mod.ts";

Deno.test("tokenAt: each token takes its own share of the numbers from 0 to 1", () => {
  const logits = Float32Array.from([0.3, -1.2, 2, -Infinity, 1.1]);
  for (const temperature of [0.5, 1, 2]) {
    const weights = Array.from(logits, (logit) => Math.exp(logit / temperature));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const counts = new Array<number>(logits.length).fill(0), draws = 20_000;
    for (let i = 0; i < draws; i++) counts[tokenAt(logits, temperature, (i + 0.5) / draws)]!++;
    // Evenly spaced numbers miss each of a share's two ends by less than one draw.
    weights.forEach((weight, token) => {
      assertAlmostEquals(counts[token]! / draws, weight / total, 2 / draws, `token ${token}`);
    });
  }
});

Deno.test("tokenAt: ends at the ends, finds a lone token, and refuses what is no number", () => {
  const alone = Float32Array.from([-Infinity, 5, -Infinity]);
  assertEquals([tokenAt(alone, 1, 0), tokenAt(alone, 1, 1 - 2 ** -53)], [1, 1]);
  assertEquals(tokenAt(Float32Array.from([0, -100]), 1, 1 - 2 ** -53), 0);
  assertThrows(() => tokenAt(new Float32Array(3).fill(NaN), 1, 0.5), Error, "are not numbers");
});
