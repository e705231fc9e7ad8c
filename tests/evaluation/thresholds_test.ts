// What thresholds make of answers, on planted ones.

import { assertEquals } from "@std/assert";
import { bestThreshold, figuresAt, type Tried } from "../../src/evaluation/mod.ts";

const known = (sure: number, right: boolean, declined = false): Tried => ({
  ...{ known: true, right, declined, sure },
});
const unknown = (sure: number, declined: boolean): Tried => ({
  ...{ known: false, right: declined, declined, sure },
});

const TRIED: Tried[] = [
  known(0.9, true),
  known(0.8, true),
  known(0.6, true),
  known(0.3, false),
  known(0.9, false, true),
  unknown(0.95, true),
  unknown(0.5, false),
  unknown(0.4, false),
  unknown(0.7, false),
];

Deno.test("thresholds: right, wrong and honest shares; what declines by itself is neither right nor wrong", () => {
  assertEquals(figuresAt(TRIED, 0), { threshold: 0, right: 0.6, wrong: 0.2, honest: 0.25 });
  assertEquals(figuresAt(TRIED, 0.3), { threshold: 0.3, right: 0.6, wrong: 0.2, honest: 0.25 });
  assertEquals(figuresAt(TRIED, 0.45), { threshold: 0.45, right: 0.6, wrong: 0, honest: 0.5 });
  assertEquals(figuresAt(TRIED, 0.85), { threshold: 0.85, right: 0.2, wrong: 0, honest: 1 });
});

Deno.test("thresholds: the best one has most right and honest answers, in the middle of those that do", () => {
  // Above 0.7 no unknown one is answered, up to 0.8 two of the five known ones are; 0.705 to 0.8 is all alike.
  assertEquals(bestThreshold(TRIED), { threshold: 0.75, right: 0.4, wrong: 0, honest: 1 });
  // Where nothing is told apart, answering is as good as anything.
  assertEquals(bestThreshold([known(1, true), unknown(1, true)]).right, 1);
});
