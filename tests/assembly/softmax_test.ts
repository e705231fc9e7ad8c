// Softmax and the fused cross-entropy against f64: smoothing, weights, ignored targets, huge and NaN logits.

import { assert, assertEquals } from "@std/assert";
import { agreement, crossEntropy, softmax } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, U } from "../kernels/helpers.ts";
import {
  crossEntropy as reference,
  randomIntegers,
  randomValues,
  softmax as softmaxReference,
} from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

/** Relative error of exp4 where it is not clamped. */
const EXP = 2e-7;

/** Of a probability: exp's own error, its argument's, the sum's in four lanes, the scaling's. */
function relative(count: number, range: number): number {
  return 2 * (EXP + range * U) + (count / 4 + 6) * U;
}

const COUNTS = [1, 2, 3, 4, 15, 16, 17, 33, 100, 1003];

Deno.test("softmax within (2 * 2e-7 + 2 range u + (V / 4 + 6) u) of itself; what lies behind a row's end stays", () => {
  for (const count of COUNTS) {
    for (const rows of [1, 2, 7, 97]) {
      const stride = count + 5, x = randomValues(rows * stride, rows + count, 4);
      const [y] = engines.compute((space) => {
        const tensor = space.floats(x, [rows, stride]);
        softmax(space.runtime, tensor, count);
        return [space.read(tensor)];
      });
      for (let row = 0; row < rows; row++) {
        const at = row * stride, given = x.subarray(at, at + count);
        const expected = softmaxReference(given);
        const range = Math.max(...given) - Math.min(...given);
        const bound = (i: number) => relative(count, range) * expected[i]!;
        assertWithin(y!.subarray(at, at + count), expected, bound, `${rows} x ${count}`);
        const rest = [at + count, at + stride] as const;
        assertEquals(y!.slice(...rest), x.slice(...rest), "behind the row");
      }
    }
  }
});

Deno.test("softmax of 0 and -x: their ratio is exp(-x) within 2e-7 + u of itself, x in [0, 87]", () => {
  const rows = 20_000;
  const x = Float32Array.from({ length: 2 * rows }, (_, i) => i % 2 * -87 * (i >> 1) / rows);
  const [y] = engines.compute((space) => {
    const tensor = space.floats(x, [rows, 2]);
    softmax(space.runtime, tensor, 2);
    return [space.read(tensor)];
  });
  const ratios = Float64Array.from({ length: rows }, (_, i) => y![2 * i + 1]! / y![2 * i]!);
  const expected = ratios.map((_, i) => Math.exp(x[2 * i + 1]!));
  assertWithin(ratios, expected, (i) => (EXP + U) * expected[i]!, "exp");
});

interface Case {
  readonly V: number;
  readonly logits: Float32Array; // [rows, V]
  readonly targets: Int32Array;
  readonly weights: Float32Array;
  readonly smoothing: number;
  readonly scale: number;
}

/** Row-wise results [rows, 3] with and without a gradient, and dlogits [rows, V]. */
function run(c: Case) {
  const rows = c.targets.length, stride = Math.ceil(c.V / 16) * 16;
  const wide = new Float32Array(rows * stride).fill(NaN); // the padding must not count
  for (let row = 0; row < rows; row++) {
    wide.set(c.logits.subarray(row * c.V, (row + 1) * c.V), row * stride);
  }
  const [results, alone, gradient] = engines.compute((space) => {
    const targets = space.integers(c.targets), weights = space.floats(c.weights);
    const run = (gradient: boolean) => {
      const logits = space.floats(wide, [rows, stride]), results = space.output([rows, 3]);
      const o = { smoothing: c.smoothing, scale: c.scale, gradient };
      crossEntropy(space.runtime, results, logits, targets, weights, c.V, o);
      return [space.read(results), space.read(logits)] as const;
    };
    const [results, dlogits] = run(true);
    return [results, run(false)[0], dlogits];
  });
  const dlogits = gradient!.filter((_, i) => i % stride < c.V);
  const padding = gradient!.filter((_, i) => i % stride >= c.V);
  return { results: results!, alone: alone!, dlogits, padding };
}

/** Holds every row to the reference. */
function check(c: Case, what: string) {
  const { results, alone, dlogits, padding } = run(c);
  assert(padding.every((value) => value === 0), `${what}: the gradient's padding is zero`);
  assertEquals(results, alone, `${what}: losses with and without gradient`);
  c.targets.forEach((target, row) => {
    const logits = c.logits.slice(row * c.V, (row + 1) * c.V);
    const weight = c.weights[row]!, scale = Math.fround(c.scale);
    const smoothing = Math.fround(c.smoothing);
    const expected = reference(logits, [target], [weight], smoothing, scale);
    // The reference weights its loss; the kernel leaves that to the sum.
    const unweighted = reference(logits, [target], [1], smoothing);
    // Of the exponents' error range * u only what still has probability counts: sum p |d| <= ln V.
    const off = EXP + (c.V / 4 + 8 + Math.log(c.V)) * U;
    const [loss, plain, hit] = results.subarray(row * 3, row * 3 + 3);
    const where = `${what}, row ${row}, target ${target}`;
    assertWithin([loss!], [unweighted.loss], off + U * Math.abs(unweighted.loss), where);
    assertWithin([plain!], [unweighted.crossEntropy], off + U * unweighted.crossEntropy, where);
    assertEquals(hit, expected.correct, `${where}: correct`);
    assertWithin(
      dlogits.subarray(row * c.V, (row + 1) * c.V),
      expected.dlogits,
      4 * Math.abs(weight * scale) * (off + EXP + 4 * U),
      `${where}: dlogits`,
    );
  });
}

for (const smoothing of [0, 0.1, 0.9]) {
  Deno.test(`cross_entropy, smoothing ${smoothing}: weights, ignored targets, hits; loss within 2e-7 + (V / 4 + 8 + ln V) u + u |loss|, dlogits four times that`, () => {
    for (const V of COUNTS) {
      for (const rows of [1, 2, 7, 33]) {
        const targets = randomIntegers(rows, V + 1, V + rows).map((target) => target - 1);
        const logits = randomValues(rows * V, V, 3);
        // Every third target has the largest logit.
        targets.forEach((target, row) => {
          if (row % 3 === 0 && target >= 0) logits[row * V + target] = 13;
        });
        const weights = randomValues(rows, 3);
        check({ V, logits, targets, weights, smoothing, scale: 0.3 }, `${rows} x ${V}`);
      }
    }
  });
}

Deno.test("cross_entropy of logits of +-1e4: the same bounds, no overflow", () => {
  for (const V of [2, 5, 17, 100]) {
    const logits = randomValues(8 * V, V, 1e4), targets = randomIntegers(8, V, 3);
    logits[targets[0]!] = 5e4;
    logits[V + targets[1]!] = -5e4;
    const weights = new Float32Array(8).fill(1);
    check({ V, logits, targets, weights, smoothing: 0.1, scale: 1 }, `V ${V}`);
  }
});

Deno.test("cross_entropy: dlogits below 1e-18 are 0, in lanes and in the tail", () => {
  const V = 11, logits = new Float32Array(V).fill(-40);
  logits[0] = 0;
  for (const at of [3, 5, 10]) logits[at] = -43;
  const { dlogits } = run({
    ...{
      V,
      logits,
      targets: Int32Array.of(0),
      weights: Float32Array.of(1),
      smoothing: 0,
      scale: 1,
    },
  });
  for (let i = 1; i < V; i++) {
    assert((dlogits[i] === 0) === (logits[i] === -43), `[${i}] is ${dlogits[i]}`);
  }
});

Deno.test("cross_entropy: a NaN or infinite logit gives a loss that is not finite, in every lane and in the tail; other rows stay", () => {
  const V = 23;
  for (const bad of [NaN, -NaN, Infinity]) {
    for (let at = 0; at < V; at++) {
      const logits = randomValues(2 * V, at), targets = Int32Array.of(7, 9);
      logits[at] = bad;
      const weights = Float32Array.of(1, 1);
      const { results } = run({ V, logits, targets, weights, smoothing: 0, scale: 1 });
      assert(!Number.isFinite(results[0]!), `loss with ${bad} at ${at} is ${results[0]}`);
      assert(!Number.isFinite(results[1]!), `plain loss with ${bad} at ${at} is ${results[1]}`);
      assert(Number.isFinite(results[3]!), `the row below ${bad} at ${at} is ${results[3]}`);
    }
  }
});

Deno.test("cross_entropy: dlogits is the loss's own difference quotient over 2^-5, within h^2 and loss error / h", () => {
  const V = 19, h = 2 ** -5, smoothing = 0.1;
  const row = randomValues(V, 1, 2);
  const base = { V, weights: new Float32Array(2 * V).fill(1), smoothing, scale: 1 };
  const targets = new Int32Array(2 * V).fill(4);
  // Rows 2 i and 2 i + 1: logit i a little higher, a little lower.
  const logits = new Float32Array(2 * V * V);
  for (let r = 0; r < 2 * V; r++) {
    logits.set(row, r * V);
    logits[r * V + (r >> 1)]! += r % 2 === 0 ? h : -h;
  }
  const { results } = run({ ...base, logits, targets });
  const quotients = row.map((_, i) => (results[i * 6]! - results[i * 6 + 3]!) / (2 * h));
  const alone = { targets: targets.slice(0, 1), weights: base.weights.slice(0, 1) };
  const { dlogits } = run({ ...base, ...alone, logits: row });
  const off = EXP + (V / 4 + 8 + Math.log(V)) * U + 20 * U;
  assertWithin(dlogits, quotients, h ** 2 + off / h, "dlogits");
});

/** Both divergences' mean, and its gradient by both rows, in f64. */
function agreementReference(a: Float64Array, b: Float64Array) {
  const [p, q] = [softmaxReference(a), softmaxReference(b)];
  const log = (x: Float64Array, y: Float64Array) => x.map((_, i) => Math.log(x[i]! / y[i]!));
  const [d, e] = [log(p, q), log(q, p)];
  const forward = p.reduce((sum, v, i) => sum + v * d[i]!, 0);
  const reverse = q.reduce((sum, v, i) => sum + v * e[i]!, 0);
  return {
    value: (forward + reverse) / 2,
    largest: Math.max(...p, ...q),
    da: p.map((v, i) => (v * (d[i]! - forward) + v - q[i]!) / 2),
    db: q.map((v, i) => (v * (e[i]! - reverse) + v - p[i]!) / 2),
  };
}

Deno.test("agreement: the symmetric divergence of pairs and its gradient, within (36 + V / 4) u of the largest probability; padding is zero", () => {
  for (const V of [2, 15, 16, 17, 100, 1003]) {
    for (const pairs of [1, 2, 7]) {
      const stride = Math.ceil(V / 16) * 16, rows = 2 * pairs, scale = 0.7;
      const x = randomValues(rows * stride, V + pairs, 4);
      const w = randomValues(rows, pairs + 1, 1).map(Math.abs);
      const [gradient, results] = engines.compute((space) => {
        const logits = space.floats(x, [rows, stride]), weights = space.floats(w, [rows]);
        const g = space.floats(new Float32Array(rows * stride).fill(NaN), [rows, stride]);
        const r = space.floats(new Float32Array(pairs), [pairs]);
        agreement(space.runtime, g, r, logits, weights, V, scale);
        return [space.read(g), space.read(r)];
      });
      for (let n = 0; n < pairs; n++) {
        const row = (k: number) => Float64Array.from(x.subarray(k * stride, k * stride + V));
        const { value, largest, da, db } = agreementReference(row(n), row(n + pairs));
        const factor = w[n]! * scale, u = (20 + V / 4 + 16) * U;
        assertWithin(results!.subarray(n, n + 1), [value], () => u * (1 + value), `${V} value`);
        for (const [k, expected] of [[n, da], [n + pairs, db]] as const) {
          const got = gradient!.subarray(k * stride, k * stride + V);
          assertWithin(
            got,
            expected.map((v) => v * factor),
            () => u * factor * largest * (1 + value),
            `${V} x ${pairs} row ${k}`,
          );
          const padding = gradient!.subarray(k * stride + V, (k + 1) * stride);
          assertEquals(padding, new Float32Array(stride - V));
        }
      }
    }
  }
});

Deno.test("agreement: equal rows agree, and pull nowhere", () => {
  const V = 33, stride = 48, row = randomValues(stride, 3, 5);
  const x = new Float32Array(2 * stride);
  x.set(row);
  x.set(row, stride);
  const [gradient, results] = engines.compute((space) => {
    const logits = space.floats(x, [2, stride]), weights = space.floats(Float32Array.of(1, 1), [2]);
    const g = space.floats(new Float32Array(2 * stride), [2, stride]);
    const r = space.floats(new Float32Array(1), [1]);
    agreement(space.runtime, g, r, logits, weights, V, 1);
    return [space.read(g), space.read(r)];
  });
  assertWithin(results!, [0], () => 1e-6, "value");
  assertWithin(gradient!, new Float64Array(2 * stride), () => 1e-6, "gradient");
});

Deno.test("agreement: gradients below 1e-18 are 0, in lanes and in the tail", () => {
  const V = 11, stride = 16, far = [3, 5, 10];
  const pair = new Float32Array(2 * stride).fill(-30);
  for (const row of [0, stride]) {
    pair[row] = row === 0 ? 0 : 0.5;
    for (const at of far) pair[row + at] = -60;
  }
  const [gradient] = engines.compute((space) => {
    const g = space.output([2, stride]), r = space.output([1]);
    const logits = space.floats(pair, [2, stride]), weights = space.floats([1, 1]);
    agreement(space.runtime, g, r, logits, weights, V, 1);
    return [space.read(g)];
  });
  for (const row of [0, stride]) {
    for (let i = 1; i < V; i++) {
      const value = gradient![row + i]!;
      assert((value === 0) === far.includes(i), `[${row + i}] is ${value}`);
    }
  }
});
