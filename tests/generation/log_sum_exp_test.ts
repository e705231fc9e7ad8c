// The normaliser of logits against its formula in doubles.

import { assert, assertEquals } from "@std/assert";
import { logSoftmax, logSumExp } from "../../src/generation/mod.ts";
import { randomNumbers } from "../../src/random.ts";

function reference(logits: Float32Array): number {
  const highest = logits.reduce((a, b) => Math.max(a, b));
  return highest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0));
}

Deno.test("logSumExp: its formula within 1e-11, near and far logits, impossible ones too", () => {
  const random = randomNumbers(3);
  for (const spread of [1e-6, 0.02, 1, 10, 100, 1000]) {
    for (const count of [1, 2, 63, 5000]) {
      const logits = Float32Array.from({ length: count }, () => (random() - 0.5) * spread);
      if (count > 2) logits[1] = -Infinity;
      const difference = Math.abs(logSumExp(logits) - reference(logits));
      assert(difference <= 1e-11 * Math.max(1, spread), `${difference} at ${spread} and ${count}`);
    }
  }
});

Deno.test("logSoftmax: probabilities sum to one", () => {
  const logits = Float32Array.of(3, -2, 0.5, 90, 89);
  logSoftmax(logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  assert(Math.abs(sum - 1) < 1e-6);
  assertEquals(logits.indexOf(Math.max(...logits)), 3);
});
