// Causal attention over ragged sequences, forward, backward, with dropout and over a cache, against f64.

import { assert } from "@std/assert";
import {
  attentionBackward,
  attentionCached,
  attentionForward,
  dropout,
  type DropoutStream,
  NO_DROPOUT,
} from "../../src/kernels/mod.ts";
import { assertWithin, Engines, largest, norms, U } from "../kernels/helpers.ts";
import {
  attention,
  attentionBackward as backward,
  type AttentionKeep,
  randomValues,
} from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

/** Lengths around one row, a tile of 6, a panel of 16 and a block of 96 queries. */
const LENGTHS = [1, 2, 6, 17, 95, 97, 200];
const HEAD_WIDTHS = [1, 3, 16, 20, 64];

function offsetsOf(lengths: readonly number[]): Int32Array {
  let first = 0;
  return Int32Array.of(0, ...lengths.map((length) => first += length));
}

interface Case {
  readonly lengths: readonly number[];
  readonly heads: number;
  readonly width: number; // of a head
  readonly stream: DropoutStream;
}

/** Runs both kernels. qkv [N, 3C], dout [N, C]. */
function run(c: Case, qkv: Float32Array, dout: Float32Array) {
  const offsets = offsetsOf(c.lengths), rows = offsets.at(-1)!, channels = c.heads * c.width;
  const [out, logSumExp, dqkv] = engines.compute((space) => {
    const { runtime } = space;
    const input = space.floats(qkv, [rows, 3 * channels]);
    const shape = { heads: c.heads, offsets: space.integers(offsets) };
    const out = space.output([rows, channels]), sums = space.output([rows, c.heads]);
    attentionForward(runtime, out, sums, input, shape, c.stream);
    const dqkv = space.output([rows, 3 * channels]);
    const slope = space.floats(dout, [rows, channels]);
    attentionBackward(runtime, dqkv, slope, input, sums, shape, c.stream);
    return [out, sums, dqkv].map((tensor) => space.read(tensor));
  });
  return { out: out!, logSumExp: logSumExp!, dqkv: dqkv! };
}

/** Largest norm of a head's vector in columns [start, start + channels) of x [N, stride]. */
function largestHead(x: Float32Array, stride: number, start: number, c: Case): number {
  const channels = c.heads * c.width;
  const part = x.filter((_, i) => i % stride >= start && i % stride < start + channels);
  return largest(norms(part, c.width, "rows"));
}

/**
 * First-order error bounds, u the unit roundoff: a score is a sum of D products, a probability its
 * exponential less the stored log-sum-exp, and every result a sum of T of them with weights.
 */
function boundsOf(c: Case, qkv: Float32Array, dout: Float32Array, columnSum: number) {
  const channels = c.heads * c.width, D = c.width, T = Math.max(...c.lengths);
  const [q, k, v] = [0, 1, 2].map((part) => largestHead(qkv, 3 * channels, part * channels, c));
  const g = largestHead(dout, channels, 0, c), root = 1 / Math.sqrt(D);
  const kept = 1 / (1 - c.stream.p), score = q! * k! * root;
  const sums = 2 * (D + 2) * U * score + 4 * U * (score + Math.log(T)) + (T / 4 + 8) * U;
  const probability = sums + 4e-7; // relative; exp's own error is 2e-7, twice
  const slope = root * g * v! * kept; // of a probability; errors of dS are P times this:
  const off = slope * (6 * probability + 4 * (D + T + 6) * U), most = 2 * slope;
  return {
    logSumExp: sums + 2e-7,
    out: kept * v! * (probability + (T + 2) * U),
    dq: k! * (off + (T + 2) * U * most),
    dk: columnSum * q! * (off + (T + 2) * U * most),
    dv: columnSum * g * (probability + (T + 2) * U),
  };
}

/** Holds forward and backward to the reference. */
function check(c: Case, keep: AttentionKeep | undefined, scale: number) {
  const channels = c.heads * c.width, offsets = offsetsOf(c.lengths), rows = offsets.at(-1)!;
  const qkv = randomValues(rows * 3 * channels, channels, scale);
  const dout = randomValues(rows * channels, 1 + channels);
  const { out, logSumExp, dqkv } = run(c, qkv, dout);
  const expected = backward(dout, qkv, offsets, channels, c.heads, keep);
  // With dO = 1, dV is the sum of a key's probabilities over all queries.
  const ones = new Float32Array(dout.length).fill(1);
  const columnSum = largest(
    backward(ones, qkv, offsets, channels, c.heads, keep).filter((_, i) =>
      i % (3 * channels) >= 2 * channels
    ),
  );
  const bounds = boundsOf(c, qkv, dout, columnSum);
  const what = `${c.heads} heads of ${c.width}`;
  assertWithin(out, attention(qkv, offsets, channels, c.heads, keep), bounds.out, `out, ${what}`);
  const parts = [bounds.dq, bounds.dk, bounds.dv];
  assertWithin(
    dqkv,
    expected,
    (i) => parts[Math.floor(i % (3 * channels) / channels)]!,
    `dqkv, ${what}`,
  );
  return { qkv, logSumExp, bounds };
}

for (const width of HEAD_WIDTHS) {
  for (const heads of width > 20 ? [2] : [1, 3]) {
    Deno.test(`attention, ${heads} heads of ${width}, sequences of ${LENGTHS}: out, log-sum-exp and gradients within (2 (D + 2) |q| |k| + T) u + 4e-7 of their sizes`, () => {
      const c = { lengths: LENGTHS, heads, width, stream: NO_DROPOUT };
      const { qkv, logSumExp, bounds } = check(c, undefined, 1.5);
      const channels = heads * width, offsets = offsetsOf(LENGTHS);
      const expected = new Float64Array(logSumExp.length);
      LENGTHS.forEach((_, b) => {
        for (let query = offsets[b]!; query < offsets[b + 1]!; query++) {
          for (let head = 0; head < heads; head++) {
            let sum = 0;
            for (let key = offsets[b]!; key <= query; key++) {
              let score = 0;
              for (let d = head * width; d < (head + 1) * width; d++) {
                score += qkv[query * 3 * channels + d]! * qkv[(key * 3 + 1) * channels + d]!;
              }
              sum += Math.exp(score / Math.sqrt(width));
            }
            expected[query * heads + head] = Math.log(sum);
          }
        }
      });
      assertWithin(logSumExp, expected, bounds.logSumExp, "log-sum-exp");
    });
  }
}

Deno.test("attention with scores of some hundreds: the same bounds, no overflow", () => {
  check({ lengths: [5, 40], heads: 2, width: 16, stream: NO_DROPOUT }, undefined, 12);
});

for (const p of [0.1, 0.5]) {
  Deno.test(`attention with dropout ${p}: out and gradients of the decisions that the dropout kernel gives at counter (row * heads + head) * 4096 + key, within the same bounds`, () => {
    const lengths = [1, 2, 6, 17, 97], heads = 2, offsets = offsetsOf(lengths);
    const stream = { p, keyA: 0xabcdef01, keyB: 77 };
    const counters = offsets.at(-1)! * heads * 4096;
    const runtime = engines.runtimes[0]!;
    const scales = runtime.arena.scope(() => {
      const tensor = runtime.arena.allocate([counters]);
      runtime.f32(tensor).fill(1);
      dropout(runtime, tensor, tensor, stream);
      return runtime.f32(tensor).slice();
    });
    const firstOf = (row: number) => offsets.findLast((first) => first <= row)!;
    const keep: AttentionKeep = (query, head, key) =>
      scales[(query * heads + head) * 4096 + key - firstOf(query)]!;
    for (const width of [3, 20]) check({ lengths, heads, width, stream }, keep, 1.5);
  });
}

Deno.test("attention_backward is attention_forward's own difference quotient along the gradient, within a quarter of what halving h changes + 2 errors / h", () => {
  const c = { lengths: [7, 19], heads: 2, width: 5, stream: { p: 0.25, keyA: 5, keyB: 6 } };
  const rows = 26, channels = 10, h = 2 ** -5;
  const qkv = randomValues(rows * 3 * channels, 1), dout = randomValues(rows * channels, 2);
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const { dqkv } = run(c, qkv, dout);
  const steepest = largest(dqkv), direction = dqkv.map((x) => x / steepest);
  const at = (t: number) => dot(run(c, qkv.map((x, i) => x + t * direction[i]!), dout).out, dout);
  // A quotient over h is off by about h^2 f''' / 6; with the one over 2 h only h^4 is left, and the
  // difference of both says how large the share of h^2 was.
  const [wide, narrow] = [(at(2 * h) - at(-2 * h)) / (4 * h), (at(h) - at(-h)) / (2 * h)];
  const quotient = (4 * narrow - wide) / 3, slope = dot(dqkv, direction);
  const sizes = dout.reduce((sum, x) => sum + Math.abs(x), 0);
  const bound = 2 * boundsOf(c, qkv, dout, 0).out * sizes / h + Math.abs(narrow - wide) / 4;
  assertWithin([slope], [quotient], bound, "slope along the gradient");
  assert(slope > 50 * bound, `a slope of ${slope} is far above the bound of ${bound}`);
});

Deno.test("attention_cached: the last rows of attention_forward, one or several new tokens, within both bounds", () => {
  for (const width of HEAD_WIDTHS) {
    const heads = width > 20 ? 2 : 3, channels = heads * width;
    for (const T of [1, 2, 6, 17, 98]) {
      const c = { lengths: [T], heads, width, stream: NO_DROPOUT };
      const qkv = randomValues(T * 3 * channels, T + width, 1.5);
      const part = (index: number) =>
        qkv.filter((_, i) => Math.floor(i % (3 * channels) / channels) === index);
      const expected = attention(qkv, [0, T], channels, heads);
      const bounds = boundsOf(c, qkv, new Float32Array(T * channels), 0);
      const { out } = run(c, qkv, new Float32Array(T * channels));
      for (const count of [1, 2, T].filter((count) => count <= T)) {
        const past = T - count, capacity = T + 3;
        const [cached] = engines.compute((space) => {
          const [keys, values] = [1, 2].map((index) => {
            const cache = space.output([capacity, channels]);
            space.runtime.f32(cache).set(part(index));
            return cache;
          });
          const tail = space.floats(qkv.slice(past * 3 * channels), [count, 3 * channels]);
          const out = space.output([count, channels]);
          // The table turns the cache's rows around: where a token lies does not matter.
          const { runtime } = space;
          const table = Int32Array.from({ length: capacity }, (_, t) => capacity - 1 - t);
          for (const cache of [keys!, values!]) turnRows(runtime.f32(cache), channels);
          const tables = runtime.integers(Int32Array.of(...new Int32Array(capacity), ...table));
          attentionCached(runtime, out, tail, keys!, values!, heads, {
            tables: { ...tables, shape: [2, capacity] },
            owners: runtime.integers(new Int32Array(count).fill(1)),
            counts: runtime.integers(Int32Array.from({ length: count }, (_, i) => past + i + 1)),
          });
          return [space.read(out)];
        });
        const what = `${heads} heads of ${width}, ${past} + ${count} tokens`;
        assertWithin(cached!, expected.slice(past * channels), bounds.out, what);
        assertWithin(cached!, out.slice(past * channels), 2 * bounds.out, `forward, ${what}`);
      }
    }
  }
});

/** Turns the order of a matrix's rows around. */
function turnRows(values: Float32Array, width: number): void {
  const copy = values.slice(), rows = values.length / width;
  for (let row = 0; row < rows; row++) {
    values.set(copy.subarray(row * width, (row + 1) * width), (rows - 1 - row) * width);
  }
}
