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

Deno.test("intent spread: distances are measured in each direction's own width", () => {
  // Wide along (1, 1), narrow along (1, -1).
  const rests = [[4, 4], [-4, -4], [1, -1], [-1, 1], [4, 4], [-4, -4], [1, -1], [-1, 1]];
  const spread = IntentSpread.of(questions([[10, 0], [0, 20]], rests), 2, 2)!;
  assertClose([...spread.means], [10, 0, 0, 20], 1e-6, "means");
  const distance = (a: number, b: number, intent = 0) =>
    spread.distance(Float32Array.of(a, b), intent);
  // 16 questions around two means, each as far from its own as the others: their squares add up to 14.
  const usual = Math.sqrt(14 / 16);
  for (const [x, y] of rests) {
    assertClose([distance(10 + x!, y!)], [usual], 0.01, `${x}, ${y}`);
    assertClose([distance(x!, 20 + y!, 1)], [usual], 0.01, `${x}, ${y} of the other`);
  }
  assertClose([distance(10, 0)], [0], 1e-6, "the mean itself");
  assertClose([distance(10 + 8, 8)], [2 * usual], 0.02, "twice as far");
  assertClose([distance(10 + 4, -4)], [4 * usual], 0.02, "as far as a question, but across");
});

Deno.test("intent spread: mixing the logits by a matrix changes no distance", () => {
  const N = 6, random = randomNumbers(3), draw = () => 2 * random() - 1;
  const rows = (count: number) =>
    Array.from({ length: count }, () => Array.from({ length: N }, draw));
  const rests = rows(40), means = rows(N).map((row) => row.map((value) => 9 * value));
  const matrix = rows(N).map((row, i) => row.map((value, j) => value + Number(i === j) * 2));
  const mixed = (row: number[]) =>
    matrix.map((weights) => weights.reduce((sum, weight, i) => sum + weight * row[i]!, 0));
  const plain = IntentSpread.of(questions(means, rests), N, N)!;
  const other = IntentSpread.of(questions(means.map(mixed), rests.map(mixed)), N, N)!;
  for (const row of rows(9)) {
    const own = plain.distance(Float32Array.from(row), 2);
    assert(own > 2, "far");
    assertClose([other.distance(Float32Array.from(mixed(row)), 2)], [own], 0.02, "mixed");
  }
});

Deno.test("intent spread: an intent without questions says nothing; few questions and very many intents neither", () => {
  const rests = [[3, 0, 1], [-3, 0, 1], [0, 2, -1], [0, -2, -1], [0, 0, 2], [0, 0, -2]];
  const means = [[5, 0, 0], [0, 5, 0]];
  const three = questions(means, [...rests, ...rests]);
  const spread = IntentSpread.of(three, 3, 3)!;
  assertEquals(spread.distance(Float32Array.of(90, 90, 90), 2), 1);
  assert(spread.distance(Float32Array.of(90, 90, 90), 1) > 10);
  // 12 questions of 2 intents leave 10; 3 logits need 12, those of rank 2 only 8.
  const few = questions(means, rests);
  assertEquals(IntentSpread.of(few, 3, 3), null);
  assert(IntentSpread.of(few, 3, 2) !== null);
  // Whose logits never differ.
  assertEquals(IntentSpread.of(questions(means, Array(20).fill([0, 0, 0])), 3, 3), null);
  const none = { logits: new Float32Array(0), intents: new Int32Array(0) };
  assertEquals(IntentSpread.of(none, 2000, 16), null);
});
