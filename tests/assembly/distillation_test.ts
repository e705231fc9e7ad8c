// Distillation's kernels against f64: the teachers' mean, the largest of it, both divergences and their gradients.

import { assert, assertEquals } from "@std/assert";
import { addSoftened, distillation, topK } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, U } from "../kernels/helpers.ts";
import {
  distillation as reference,
  finiteDifference,
  randomIntegers,
  randomValues,
  seededUniform,
  softmax,
} from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

/** Relative error of exp4 where it is not clamped. */
const EXP = 2e-7;
const COUNTS = [1, 2, 3, 15, 16, 17, 100, 1003];
const padded = (V: number) => Math.ceil(V / 16) * 16;

Deno.test("the f64 reference's gradient is its own difference quotient, within 1e-8", () => {
  const logits = Float64Array.from(randomValues(11, 1, 2));
  for (const tokens of [[3, 7, 1], [0], [...Array(11).keys()]]) {
    const p = softmax(randomValues(tokens.length + 1, 5, 1));
    for (const reverse of [false, true]) {
      const o = { temperature: 2, reverse };
      const f = () => reference(logits, tokens, p.slice(0, -1), p.at(-1)!, o).value;
      const { dlogits } = reference(logits, tokens, p.slice(0, -1), p.at(-1)!, o);
      assertWithin(dlogits, logits.map((_, i) => finiteDifference(f, logits, i)), 1e-8, "dlogits");
    }
  }
});

/** Different tokens of V, in no order. */
function someTokens(V: number, count: number, seed: number): number[] {
  const uniform = seededUniform(seed);
  const all = Array.from({ length: V }, (_, i) => [uniform(), i] as const);
  return all.sort(([a], [b]) => a - b).slice(0, count).map(([, token]) => token);
}

interface Row {
  readonly logits: Float32Array;
  readonly tokens: number[];
  readonly probabilities: Float32Array;
  readonly rest: number;
  readonly weight: number;
}

/** A teacher's row: its own softmax over the listed tokens and their rest. */
function randomRow(V: number, listed: number, seed: number, spread = 3): Row {
  const p = Float32Array.from(softmax(randomValues(listed + 1, seed + 1, 3)));
  return {
    logits: randomValues(V, seed, spread),
    tokens: someTokens(V, listed, seed),
    probabilities: p.slice(0, -1),
    rest: p.at(-1)!,
    weight: 0.1 + seededUniform(seed)(),
  };
}

function run(V: number, rows: readonly Row[], o: Parameters<typeof distillation>[7]) {
  const stride = padded(V);
  const x = new Float32Array(rows.length * stride).fill(NaN); // the padding must not count
  rows.forEach(({ logits }, n) => x.set(logits, n * stride));
  const first = [0];
  for (const { tokens } of rows) first.push(first.at(-1)! + tokens.length);
  const [gradient, results] = engines.compute((space) => {
    const logits = space.floats(x, [rows.length, stride]);
    const g = space.output([rows.length, stride]), r = space.output([rows.length]);
    const weights = space.floats(rows.map(({ weight }) => weight));
    const targets = {
      first: space.integers(first),
      tokens: space.integers(rows.flatMap(({ tokens }) => tokens)),
      probabilities: space.floats(rows.flatMap(({ probabilities }) => [...probabilities])),
      rests: space.floats(rows.map(({ rest }) => rest)),
    };
    distillation(space.runtime, g, r, logits, weights, targets, V, o);
    assertEquals(space.read(logits), x, "logits stay");
    return [space.read(g), space.read(r)];
  });
  return { gradient: gradient!, results: results! };
}

/** Holds every row to the reference. */
function check(V: number, rows: readonly Row[], o: Parameters<typeof distillation>[7]): void {
  const { gradient, results } = run(V, rows, o), stride = padded(V);
  rows.forEach(({ logits, tokens, probabilities, rest, weight }, n) => {
    const { value, dlogits } = reference(logits, tokens, probabilities, rest, o);
    // Errors of q relative to itself, and of ln q; range u of the softened logits' differences.
    const range = (Math.max(...logits) - Math.min(...logits)) / o.temperature;
    const off = 2 * EXP + (V / 4 + 2 * range + 12) * U;
    const where = `V ${V}, row ${n} of ${rows.length}, ${tokens.length} listed`;
    // A reverse divergence weighs the logarithms of its ratios, up to that of the least probability.
    const size = 1 + Math.abs(value) + (o.reverse ? range + 24 : 0);
    assertWithin([results[n]!], [value], off * size, where);
    const factor = Math.fround(weight) * Math.fround(o.scale);
    assertWithin(
      gradient.subarray(n * stride, n * stride + V),
      dlogits.map((d) => d * factor),
      4 * off * size * Math.abs(factor) / o.temperature,
      `${where}: gradient`,
    );
    const padding = gradient.subarray(n * stride + V, (n + 1) * stride);
    assert(padding.every((g) => g === 0), `${where}: padding`);
  });
}

for (const reverse of [false, true]) {
  for (const temperature of [1, 2, 0.7]) {
    const name = `${reverse ? "reverse" : "forward"}, temperature ${temperature}`;
    Deno.test(`distillation, ${name}: value within (4e-7 + (V / 4 + 2 range + 12) u) (1 + |value|, reverse + range + 24), gradient four times that`, () => {
      for (const V of COUNTS) {
        for (const count of [1, 2, 7]) {
          const lists = [1, 0, 5, 16, V, 33, V - 1];
          const rows = Array.from(
            { length: count },
            (_, n) => randomRow(V, Math.min(V, lists[(n + V) % lists.length]!), 10 * V + n),
          );
          check(V, rows, { temperature, scale: 0.3, reverse });
        }
      }
    });
  }

  Deno.test(`distillation, ${reverse ? "reverse" : "forward"}: a list that leaves nothing over, certain teachers, logits of +-1e3`, () => {
    const V = 37;
    const certain = { tokens: [5], probabilities: Float32Array.of(1), rest: 0, weight: 1 };
    const rows = [
      { ...certain, logits: randomValues(V, 3, 2) },
      { ...certain, tokens: [], probabilities: new Float32Array(), logits: randomValues(V, 4, 2) },
      { ...randomRow(V, V, 8), rest: 0.25 },
    ];
    check(V, rows, { temperature: 2, scale: 1, reverse });
    // Far apart, probabilities are clamped at exp(-87.3): the results are only to be finite.
    const { gradient, results } = run(V, [randomRow(V, 3, 1, 1e3)], {
      ...{ temperature: 1, scale: 1, reverse },
    });
    assert(results.every(Number.isFinite) && gradient.every(Number.isFinite));
  });
}

Deno.test("distillation: a row whose list is the student's own prediction pulls nowhere", () => {
  const V = 50, logits = randomValues(V, 2, 2), tokens = someTokens(V, 12, 3);
  for (const reverse of [false, true]) {
    const q = softmax(Array.from(logits, (z) => z / 2));
    const probabilities = Float32Array.from(tokens, (token) => q[token]!);
    const rest = 1 - probabilities.reduce((a, b) => a + b, 0);
    const { gradient, results } = run(V, [{ logits, tokens, probabilities, rest, weight: 1 }], {
      ...{ temperature: 2, scale: 1, reverse },
    });
    assertWithin(results, [0], 1e-6, "value");
    assertWithin(gradient.subarray(0, V), new Float64Array(V), 1e-6, "gradient");
  }
});

Deno.test("distillation: a NaN logit gives a loss that is not finite; the other row stays", () => {
  for (let at = 0; at < 23; at++) {
    const rows = [randomRow(23, 5, 1), randomRow(23, 5, 2)];
    rows[0]!.logits[at] = NaN;
    const { results } = run(23, rows, { temperature: 2, scale: 1, reverse: false });
    assert(!Number.isFinite(results[0]!), `${at}: ${results[0]}`);
    assert(Number.isFinite(results[1]!));
  }
});

Deno.test("addSoftened: two teachers' mean, the second with a vocabulary of its own, within 4e-7 + (V / 4 + 10 + range) u", () => {
  for (const V of COUNTS) {
    const rows = 5, other = V + 7, temperature = 2, spread = 4;
    const a = randomValues(rows * padded(V), V, spread);
    const b = randomValues(rows * padded(other), V + 1, spread);
    // Several of the other's tokens are one of ours, and some are none.
    const map = randomIntegers(other, V + 1, 5), to = [3, 0, 4, 1, 2];
    const [mean] = engines.compute((space) => {
      const mean = space.floats(new Float32Array(rows * (V + 1)), [rows, V + 1]);
      const shares = space.floats(Float32Array.from({ length: rows }, (_, n) => 0.25 + n / 8));
      const logitsA = space.floats(a, [rows, padded(V)]);
      const logitsB = space.floats(b, [rows, padded(other)]);
      const common = { to: space.integers(to), shares, temperature };
      addSoftened(space.runtime, mean, logitsA, { ...common, map: null, V });
      const mapped = { ...common, map: space.integers(map), V: other };
      addSoftened(space.runtime, mean, logitsB, mapped);
      return [space.read(mean)];
    });
    const expected = new Float64Array(rows * (V + 1));
    to.forEach((row, n) => {
      const soften = (x: Float32Array, stride: number, count: number) =>
        softmax(Array.from(x.subarray(n * stride, n * stride + count), (z) => z / temperature));
      soften(a, padded(V), V).forEach((p, i) => expected[row * (V + 1) + i]! += (0.25 + n / 8) * p);
      soften(b, padded(other), other).forEach((p, i) =>
        expected[row * (V + 1) + map[i]!]! += (0.25 + n / 8) * p
      );
    });
    assertWithin(mean!, expected, 2 * EXP + (V / 4 + 10 + 8 * spread) * U, `V ${V}`);
  }
});

Deno.test("topK: the k largest above the least, falling, the first of equal ones first; the rest within (V / 4 + 2) u", () => {
  for (const V of COUNTS) {
    for (const k of [1, 3, 16, 64]) {
      const rows = 6, width = V + 1;
      // Few different values: many are equal, and some are below the least.
      const x = Float32Array.from(randomIntegers(rows * width, 40, V + k), (n) => n / 100);
      const least = 0.05;
      const [tokens, probabilities, rests] = engines.compute((space) => {
        const result = {
          tokens: space.integers(new Int32Array(rows * k)),
          probabilities: space.output([rows, k]),
          rests: space.output([rows]),
        };
        const shaped = { ...result, tokens: { ...result.tokens, shape: [rows, k] } };
        topK(space.runtime, shaped, space.floats(x, [rows, width]), least);
        return [
          Float32Array.from(space.runtime.i32(result.tokens)),
          space.read(result.probabilities),
          space.read(result.rests),
        ];
      });
      for (let n = 0; n < rows; n++) {
        const row = x.subarray(n * width, (n + 1) * width);
        const best = Array.from(row.subarray(0, V), (value, token) => ({ value, token }))
          .filter(({ value }) => value > Math.fround(least))
          .sort((p, q) => q.value - p.value || p.token - q.token).slice(0, k);
        const filled = (values: number[], end: number) =>
          Float32Array.from({ length: k }, (_, j) => values[j] ?? end);
        const at = [n * k, (n + 1) * k] as const, where = `V ${V}, k ${k}, row ${n}`;
        assertEquals(tokens!.slice(...at), filled(best.map(({ token }) => token), -1), where);
        assertEquals(probabilities!.slice(...at), filled(best.map(({ value }) => value), 0), where);
        const rest = row.reduce((a, b) => a + b, 0) - best.reduce((sum, b) => sum + b.value, 0);
        assertWithin([rests![n]!], [rest], (V / 4 + 2) * U * (1 + V), where);
      }
    }
  }
});
