// What stands between data and kernels: every shape and index that does not fit is refused before a
// kernel runs, so that nothing is written.

import { assert, assertThrows } from "@std/assert";
import * as kernels from "../../src/kernels/mod.ts";
import type { Tensor, Weight } from "../../src/kernels/mod.ts";
import { moments } from "./helpers.ts";

const runtime = await kernels.Runtime.start({ threads: 1, kernel: "6x8" });
Deno.test.afterAll(() => runtime.close());

/** Everything handed out holds NaN, and has to hold it still after a refusal. */
const first = runtime.arena.mark();
function tensor(...shape: number[]): Tensor {
  const tensor = runtime.arena.allocate(shape);
  runtime.f32(tensor).fill(NaN);
  return tensor;
}

function weight(inputs: number, outputs: number): Weight {
  return { pointer: tensor(kernels.weightLength(inputs, outputs)).pointer, inputs, outputs };
}

/** A refusal: its error's start, and the call. */
type Refusal = readonly [message: string, call: () => unknown];

function test(name: string, refusals: () => Refusal[]) {
  Deno.test(`${name} refuses what does not fit, before a kernel runs`, () => {
    const list = refusals();
    const bytes = runtime.arena.mark() - first;
    const all: Tensor = { pointer: first, shape: [bytes / 4], type: "f32" };
    const before = runtime.f32(all).slice();
    const bits = (x: Float32Array) => new Int32Array(x.slice().buffer);
    for (const [message, call] of list) {
      const error = assertThrows(call, RangeError);
      assert(error.message.startsWith(message), `"${error.message}" instead of "${message}"`);
      const now = bits(runtime.f32(all)), then = bits(before);
      assert(now.every((value, i) => value === then[i]), `${message}: something was written`);
    }
    runtime.arena.release(first);
  });
}

const ok = kernels.NO_DROPOUT;
const dropping = (p: number) => ({ p, keyA: 1, keyB: 2 });

test("linear", () => {
  const [w, x, y] = [weight(5, 20), tensor(3, 5), tensor(3, 20)];
  const bias = tensor(20);
  return [
    [
      "linearForward x: must have shape [3,5], got [3,6]",
      () => kernels.linearForward(runtime, y, tensor(3, 6), w, bias),
    ],
    [
      "linearForward y: must have shape [3,20], got [4,20]",
      () => kernels.linearForward(runtime, tensor(4, 20), x, w, bias),
    ],
    [
      "linearForward y: must have shape [3,20], got [3,31]",
      () => kernels.linearForward(runtime, tensor(3, 31), x, w, bias),
    ],
    [
      "linearForward bias: must have shape [20], got [19]",
      () => kernels.linearForward(runtime, y, x, w, tensor(19)),
    ],
    ["weightFrom: column 8 of 20", () => kernels.weightFrom(w, 8)],
    ["weightFrom: column 32 of 20", () => kernels.weightFrom(w, 32)],
    ["weightFrom: column NaN of 20", () => kernels.weightFrom(w, NaN)],
    [
      "linearBackwardInput dx: must have shape [3,5], got [3,4]",
      () => kernels.linearBackwardInput(runtime, tensor(3, 4), y, w),
    ],
    [
      "linearBackwardInput dy: must have shape [3,20], got [3,16]",
      () => kernels.linearBackwardInput(runtime, x, tensor(3, 16), w),
    ],
    [
      "linearBackwardWeight x: must have shape [3,5], got [3,7]",
      () => kernels.linearBackwardWeight(runtime, w, tensor(3, 7), y),
    ],
    [
      "linearBackwardWeight dy: must have shape [3,20], got [2,20]",
      () => kernels.linearBackwardWeight(runtime, w, x, tensor(2, 20)),
    ],
    [
      "packWeight matrix: must have shape [5,20], got [20,5]",
      () => kernels.packWeight(runtime, w, tensor(20, 5), false),
    ],
    [
      "packWeight matrix: must have shape [20,5], got [5,20]",
      () => kernels.packWeight(runtime, w, tensor(5, 20), true),
    ],
    [
      "unpackWeight matrix: must have shape [5,20], got [5,21]",
      () => kernels.unpackWeight(runtime, w, tensor(5, 21), false),
    ],
  ];
});

test("embedding", () => {
  const [table, out, positions] = [weight(8, 50), tensor(3, 8), tensor(10, 8)];
  const [tokens, places] = [[0, 49, 7], [0, 9, 3]];
  const forward = (t: number[], p: number[], w = table, rows = positions) => () =>
    kernels.embeddingForward(runtime, out, runtime.integers(t), runtime.integers(p), w, rows);
  const backward = (t: number[], p: number[]) => () => {
    const indices = [runtime.integers(t), runtime.integers(p)] as const;
    kernels.embeddingBackward(runtime, out, ...indices, table, positions);
  };
  return [
    ["embeddingForward tokens[1]: must be from 0 to 49, got 50", forward([0, 50, 7], places)],
    ["embeddingForward tokens[2]: must be from 0 to 49, got -1", forward([0, 4, -1], places)],
    ["embeddingForward positions[0]: must be from 0 to 9, got 10", forward(tokens, [10, 1, 2])],
    ["embeddingForward positions[0]: must be from 0 to 9, got -5", forward(tokens, [-5, 1, 2])],
    ["embeddingForward tokens: must have shape [3], got [2]", forward([0, 1], places)],
    ["embeddingForward positions: must have shape [3], got [4]", forward(tokens, [0, 1, 2, 3])],
    ["embeddingForward: token table of other width", forward(tokens, places, weight(9, 50))],
    [
      "embeddingForward position table: must have shape [10,8], got [10,9]",
      forward(tokens, places, table, tensor(10, 9)),
    ],
    [
      "embeddingBackward tokens[0]: must be from 0 to 49, got 2147483647",
      backward([2 ** 31 - 1, 0, 0], places),
    ],
    ["embeddingBackward positions[2]: must be from 0 to 9, got 10", backward(tokens, [0, 1, 10])],
  ];
});

test("gatherRows, scatterRows", () => {
  const [table, rows] = [tensor(7, 5), tensor(2, 5)];
  const at = (...indices: number[]) => runtime.integers(indices);
  return [
    [
      "gather_rows indices[1]: must be from 0 to 6, got 7",
      () => kernels.gatherRows(runtime, rows, table, at(0, 7)),
    ],
    [
      "gather_rows: must have shape [2,5], got [2,4]",
      () => kernels.gatherRows(runtime, tensor(2, 4), table, at(0, 6)),
    ],
    [
      "scatter_rows indices[0]: must be from 0 to 6, got -1",
      () => kernels.scatterRows(runtime, table, rows, at(-1, 0)),
    ],
    [
      "scatter_rows: must have shape [3,5], got [2,5]",
      () => kernels.scatterRows(runtime, table, rows, at(1, 2, 3)),
    ],
  ];
});

test("attention", () => {
  const [N, heads, C] = [6, 2, 8];
  const [out, sums, qkv] = [tensor(N, C), tensor(N, heads), tensor(N, 3 * C)];
  const shape = (...offsets: number[]) => ({ heads, offsets: runtime.integers(offsets) });
  const forward = (offsets: number[], stream = ok) => () =>
    kernels.attentionForward(runtime, out, sums, qkv, shape(...offsets), stream);
  const many = tensor(4097, 1);
  const cached =
    (heads: number, c: { owner?: number; count?: number; row?: number; width?: number }) => () => {
      const { owner = 0, count = 9, row = 0, width = C } = c;
      const caches = [tensor(9, C), tensor(9, width)] as const;
      const same = (value: number, ...shape: number[]) => {
        const values = runtime.integers(new Int32Array(shape.reduce((a, b) => a * b)).fill(value));
        return { ...values, shape };
      };
      kernels.attentionCached(runtime, out, qkv, ...caches, heads, {
        tables: same(row, 2, 9),
        owners: same(owner, N),
        counts: same(count, N),
      });
    };
  return [
    ["attentionForward offsets: must run from 0 to 6", forward([0, 5])],
    ["attentionForward offsets: must run from 0 to 6", forward([1, 6])],
    ["attentionForward: sequence 1 has 0 tokens", forward([0, 3, 3, 6])],
    ["attentionForward: sequence 1 has -1 tokens", forward([0, 4, 3, 6])],
    ["attentionForward: sequence 0 has 4097 tokens, must be 1 to 4096", () => {
      const one = { heads: 1, offsets: runtime.integers([0, 4097]) };
      kernels.attentionForward(runtime, many, many, tensor(4097, 3), one, ok);
    }],
    ["attentionForward: a head has 257 channels, at most 256", () => {
      const one = { heads: 1, offsets: runtime.integers([0, 1]) };
      kernels.attentionForward(runtime, tensor(1, 257), tensor(1, 1), tensor(1, 771), one, ok);
    }],
    ["attentionForward channels: must be a multiple of 3, got 8", () => {
      const three = { heads: 3, offsets: runtime.integers([0, 6]) };
      kernels.attentionForward(runtime, out, tensor(N, 3), qkv, three, ok);
    }],
    ["attentionForward p: must be from 0 to below 1, got 1", forward([0, 6], dropping(1))],
    [
      "attentionForward qkv: must have shape [6,24], got [6,8]",
      () => kernels.attentionForward(runtime, out, sums, out, shape(0, 6), ok),
    ],
    [
      "attentionForward logSumExp: must have shape [6,2], got [6,1]",
      () => kernels.attentionForward(runtime, out, tensor(N, 1), qkv, shape(0, 6), ok),
    ],
    [
      "attentionBackward dqkv: must have shape [6,24], got [5,24]",
      () => kernels.attentionBackward(runtime, tensor(5, 24), out, qkv, sums, shape(0, 6), ok),
    ],
    [
      "attentionBackward offsets: must run from 0 to 6",
      () => kernels.attentionBackward(runtime, qkv, out, qkv, sums, shape(0, 7), ok),
    ],
    [
      "attentionBackward p: must be from 0 to below 1, got NaN",
      () => kernels.attentionBackward(runtime, qkv, out, qkv, sums, shape(0, 6), dropping(NaN)),
    ],
    ["attentionCached counts[0]: must be from 1 to 9, got 10", cached(2, { count: 10 })],
    ["attentionCached counts[0]: must be from 1 to 9, got 0", cached(2, { count: 0 })],
    ["attentionCached owners[0]: must be from 0 to 1, got 2", cached(2, { owner: 2 })],
    ["attentionCached tables[0]: must be from 0 to 8, got 9", cached(2, { row: 9 })],
    ["attentionCached tables[0]: must be from 0 to 8, got -1", cached(2, { row: -1 })],
    ["attentionCached channels: must be a multiple of 3, got 8", cached(3, {})],
    ["attentionCached values: must have shape [9,8], got [9,7]", cached(2, { width: 7 })],
  ];
});

test("layerNorm", () => {
  const [x, y, gamma] = [tensor(3, 8), tensor(3, 8), tensor(8)];
  const saved = { mean: tensor(3), rstd: tensor(3) };
  const forward = (y: Tensor, beta = gamma, s = saved) => () =>
    kernels.layerNormForward(runtime, y, s, x, gamma, beta, 1e-5);
  const backward = (dx: Tensor, dgamma: Tensor, dy = x) => () =>
    kernels.layerNormBackward(runtime, dx, dgamma, gamma, dy, x, gamma, saved);
  return [
    ["layerNormForward y: must have shape [3,8], got [2,8]", forward(tensor(2, 8))],
    ["layerNormForward beta: must have shape [8], got [4]", forward(y, tensor(4))],
    [
      "layerNormForward rstd: must have shape [3], got [2]",
      forward(y, gamma, { ...saved, rstd: tensor(2) }),
    ],
    ["layerNormForward channels: must be a multiple of 4, got 6", () => {
      const [six, ones] = [tensor(3, 6), tensor(6)];
      kernels.layerNormForward(runtime, six, saved, six, ones, ones, 1e-5);
    }],
    ["layerNormBackward dx: must have shape [3,8], got [3,4]", backward(tensor(3, 4), gamma)],
    ["layerNormBackward dgamma: must have shape [8], got [9]", backward(y, tensor(9))],
    ["layerNormBackward dy: must have shape [3,8], got [3,9]", backward(y, gamma, tensor(3, 9))],
  ];
});

test("softmax and crossEntropy", () => {
  const [logits, results, weights] = [tensor(2, 32), tensor(2, 3), tensor(2)];
  const o = { smoothing: 0, scale: 1, gradient: true };
  const run = (targets: number[], V = 20, r = results, w = weights) => () =>
    kernels.crossEntropy(runtime, r, logits, runtime.integers(targets), w, V, o);
  return [
    ["softmax: 33 of 32", () => kernels.softmax(runtime, logits, 33)],
    ["softmax: 0 of 32", () => kernels.softmax(runtime, logits, 0)],
    ["softmax x: must be a matrix, got [2]", () => kernels.softmax(runtime, weights, 1)],
    ["crossEntropy targets[1]: must be from -1 to 19, got 20", run([19, 20])],
    ["crossEntropy targets[0]: must be from -1 to 19, got -2", run([-2, 0])],
    ["crossEntropy: V 16", run([0, 0], 16)],
    ["crossEntropy targets: must have shape [2], got [3]", run([0, 0, 0])],
    ["crossEntropy results: must have shape [2,3], got [2,2]", run([0, 0], 20, tensor(2, 2))],
    ["crossEntropy weights: must have shape [2], got [1]", run([0, 0], 20, results, tensor(1))],
  ];
});

test("elementwise kernels and AdamW", () => {
  const [x, y] = [tensor(3, 8), tensor(3, 7)];
  const step = { gradientScale: 1, beta1: 0.9, beta2: 0.9, learningRate: 1, weightDecay: 0 };
  const { pointer } = x;
  return [
    [
      "geluForward y: must have shape [3,8], got [3,7]",
      () => kernels.geluForward(runtime, y, x, false),
    ],
    [
      "geluBackward dx: must have shape [3,8], got [3,7]",
      () => kernels.geluBackward(runtime, y, x, x, false),
    ],
    [
      "geluBackward dy: must have shape [3,8], got [3,7]",
      () => kernels.geluBackward(runtime, x, y, x, false),
    ],
    ["dropout y: must have shape [3,8], got [3,7]", () => kernels.dropout(runtime, y, x, ok)],
    [
      "dropout p: must be from 0 to below 1, got 1",
      () => kernels.dropout(runtime, x, x, dropping(1)),
    ],
    [
      "residualDropout residual: must have shape [3,8], got [3,7]",
      () => kernels.residualDropout(runtime, x, y, x, ok),
    ],
    [
      "residualDropout p: must be from 0 to below 1, got -0.1",
      () => kernels.residualDropout(runtime, x, x, x, dropping(-0.1)),
    ],
    [
      "addColumnSums out: must have shape [8], got [7]",
      () => kernels.addColumnSums(runtime, tensor(7), x),
    ],
    [
      "addColumnSums columns: must be a multiple of 4, got 7",
      () => kernels.addColumnSums(runtime, tensor(7), y),
    ],
    [
      "adamw length: must be a multiple of 16, got 24",
      () =>
        kernels.adamw(runtime, pointer, pointer, moments(x), moments(x), 24, {
          ...{ ...step, epsilon: 1, step: 1 },
        }),
    ],
    [
      "sumOfSquares length: must be a multiple of 16, got 8",
      () => kernels.sumOfSquares(runtime, pointer, 8),
    ],
    [
      "fillNormal length: must be a multiple of 16, got 17",
      () => kernels.fillNormal(runtime, pointer, 17, 1, 1, 1),
    ],
  ];
});
