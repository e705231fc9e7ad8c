// How the intents' logits spread: distances against their definition, and what is too little to tell.

import { assert, assertEquals } from "@std/assert";
import { IntentSpread } from "../../src/model/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import { assertClose } from "../reference/compare.ts";

/** Questions whose logits are a mean of their intent's and `rests`, taken in turn. */
function questions(means: number[][], rests: number[][]) {
  const rows = means.flatMap((mean, intent) =>
    rests.map((rest) => ({ intent, logits: mean.map((value, i) => value + rest[i]!) }))
  );
  return {
    logits: Float32Array.from(rows.flatMap(({ logits }) => logits)),
    intents: Int32Array.from(rows, ({ intent }) => intent),
  };
}

/** Far away in every direction, 20 from the middle: so far is 1 of these. */
const AROUND = [20, 0, -20, 0, 0, 20, 0, -20, 20, 0, -20, 0, 0, 20, 0, -20];

Deno.test("intent spread: distances are measured in each direction's own width, less those from the background", () => {
  // Wide along (1, 1), narrow along (1, -1).
  const rests = [[4, 4], [-4, -4], [1, -1], [-1, 1], [4, 4], [-4, -4], [1, -1], [-1, 1]];
  const background = Float32Array.from(AROUND);
  const spread = IntentSpread.of(questions([[10, 0], [0, 20]], rests), background, 2, 2)!;
  assertClose([...spread.means], [10, 0, 0, 20], 1e-6, "means");
  assertClose([...spread.backgroundMean], [0, 0], 1e-6, "the background's mean");
  const check = (a: number, b: number, intent: number, own: number, what: string) => {
    const found = spread.unlikeness(Float32Array.of(a, b), intent);
    assertClose([found], [own - (a * a + b * b) / 400], 0.08, what);
  };
  // 16 questions around two means, each as far from its own as the others: their squares add up to 14.
  const usual = 14 / 16;
  for (const [x, y] of rests) {
    check(10 + x!, y!, 0, usual, `${x}, ${y}`);
    check(x!, 20 + y!, 1, usual, `${x}, ${y} of the other`);
  }
  check(10, 0, 0, 0, "the mean itself");
  check(10 + 8, 8, 0, 4 * usual, "twice as far");
  check(10 + 4, -4, 0, 16 * usual, "as far as a question, but across");
});

Deno.test("intent spread: mixing the logits by a matrix changes nothing", () => {
  const N = 6, random = randomNumbers(3), draw = () => 2 * random() - 1;
  const rows = (count: number) =>
    Array.from({ length: count }, () => Array.from({ length: N }, draw));
  const rests = rows(40), means = rows(N).map((row) => row.map((value) => 9 * value));
  const background = rows(30).map((row) => row.map((value) => 20 * value));
  const matrix = rows(N).map((row, i) => row.map((value, j) => value + Number(i === j) * 2));
  const mixed = (row: number[]) =>
    matrix.map((weights) => weights.reduce((sum, weight, i) => sum + weight * row[i]!, 0));
  const spreadOf = (change: (row: number[]) => number[]) =>
    IntentSpread.of(
      questions(means.map(change), rests.map(change)),
      Float32Array.from(background.flatMap(change)),
      N,
      N,
    )!;
  const plain = spreadOf((row) => row), other = spreadOf(mixed);
  for (const row of rows(9)) {
    const own = plain.unlikeness(Float32Array.from(row), 2);
    assert(own > 2, "far");
    const same = other.unlikeness(Float32Array.from(mixed(row)), 2);
    assert(Math.abs(same / own - 1) < 0.03, `${own} became ${same}`);
  }
});

Deno.test("intent spread: an intent without questions says nothing, nor do few questions or those that never differ", () => {
  const rests = [[3, 0, 1], [-3, 0, 1], [0, 2, -1], [0, -2, -1], [0, 0, 2], [0, 0, -2]];
  const means = [[5, 0, 0], [0, 5, 0]];
  const three = questions(means, [...rests, ...rests]), few = questions(means, rests);
  const far = Float32Array.of(90, 90, 90);
  const wide = three.logits.map((value) => 50 * value);
  const spread = IntentSpread.of(three, wide, 3, 3)!;
  assertEquals(spread.unlikeness(far, 2), 0);
  assert(spread.unlikeness(far, 1) > 10);
  // 12 questions of 2 intents leave 10; 3 logits need 12, those of rank 2 only 8.
  assertEquals(IntentSpread.of(few, three.logits, 3, 3), null);
  assert(IntentSpread.of(few, three.logits, 3, 2) !== null);
  assertEquals(IntentSpread.of(three, few.logits.slice(0, 33), 3, 3), null);
  const same = questions(means, Array(20).fill([0, 0, 0]));
  assertEquals(IntentSpread.of(same, three.logits, 3, 3), null);
  assertEquals(IntentSpread.of(three, new Float32Array(90), 3, 3), null);
});
