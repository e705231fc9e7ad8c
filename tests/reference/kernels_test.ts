// The references themselves: against finite differences, PyTorch's numbers and results known by hand.
import { assertEquals, assertThrows } from "@std/assert";
import * as reference from "./kernels.ts";

const { assertClose, assertCloseInNorm, finiteDifference } = reference;

/** Finite differences of f64 formulas of size about 1 are good to some 1e-9. */
const bound = 1e-8;

function random(length: number, seed: number): Float64Array {
  return Float64Array.from(reference.randomValues(length, seed));
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

/** Checks a gradient with respect to all of `x` against finite differences of `f`, which reads x. */
function assertGradient(gradient: Float64Array, x: Float64Array, f: () => number, what: string) {
  assertClose(gradient, x.map((_, i) => finiteDifference(f, x, i)), bound, what);
}

Deno.test("comparisons fail on NaN, on a wrong length and just beyond the bound", () => {
  assertClose([1, 2], [1, 2.5], 0.5, "at the bound");
  assertThrows(() => assertClose([1, 2], [1, 2.51], 0.5, "beyond"), Error, "[1] is 2 instead");
  assertThrows(() => assertClose([1, NaN, 9], [1, 2, 3], 1e9, "NaN"), Error, "[1] is NaN");
  assertThrows(() => assertClose([9, NaN], [1, 2], 1, "NaN is worst"), Error, "[1] is NaN");
  assertThrows(() => assertClose([1], [1, 2], 1, "length"), Error, "1 values instead of 2");
  assertThrows(() => assertClose([1], [NaN], 1, "NaN expected"));
  assertCloseInNorm([3, 4.5], [3, 4], 0.1, "at the bound");
  assertThrows(() => assertCloseInNorm([3, 4.51], [3, 4], 0.1, "beyond"), Error, "worst [1]");
  assertThrows(() => assertCloseInNorm([NaN, 4], [3, 4], 1e9, "NaN"), Error, "worst [0]");
  assertThrows(() => assertCloseInNorm([3], [3, 4], 1, "length"));
  assertThrows(() => assertCloseInNorm([1e-9], [0], 1, "zero expected"));
  assertCloseInNorm([0], [0], 1e-9, "zero twice");
});

Deno.test("seeded data repeat, differ by seed, and have mean 0.1 and spread 1", () => {
  const values = reference.randomValues(20_000, 7, 3);
  assertEquals(values, reference.randomValues(20_000, 7, 3));
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const spread = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
  assertClose([mean / 3, spread / 3], [0.1, 1], 0.03, "mean and spread");
  assertThrows(() => assertClose(values, reference.randomValues(20_000, 8, 3), 1, "other seed"));
  const integers = reference.randomIntegers(1000, 5, 1);
  assertEquals([...new Set(integers)].toSorted(), [0, 1, 2, 3, 4]);
});

Deno.test("matmul: a product done by hand, in all transposes, added to what was there", () => {
  const product = [58, 64, 139, 154]; // [[1 2 3], [4 5 6]] [[7 8], [9 10], [11 12]]
  const [a, aT] = [[1, 2, 3, 4, 5, 6], [1, 4, 2, 5, 3, 6]];
  const [b, bT] = [[7, 8, 9, 10, 11, 12], [7, 9, 11, 8, 10, 12]];
  const accumulate = [1, 20, 300, 4000];
  assertEquals([...reference.matmul(a, b, 2, 2, 3)], product);
  assertEquals([...reference.matmul(aT, b, 2, 2, 3, { transposeA: true })], product);
  assertEquals([...reference.matmul(a, bT, 2, 2, 3, { transposeB: true })], product);
  const both = { transposeA: true, transposeB: true, accumulate };
  assertEquals([...reference.matmul(aT, bT, 2, 2, 3, both)], [59, 84, 439, 4154]);
  assertEquals([...reference.matmul([1, 2, 3], [4, 5, 6], 3, 1, 1)].length, 3);
});

Deno.test("linear: its gradients by matmul and biasGradient against finite differences", () => {
  const [rows, inputs, outputs] = [3, 5, 4];
  const [x, weight, bias] = [random(rows * inputs, 1), random(inputs * outputs, 2), random(4, 3)];
  const dy = random(rows * outputs, 4);
  const f = () => dot(dy, reference.linear(x, weight, bias, rows, inputs, outputs));
  const dx = reference.matmul(dy, weight, rows, inputs, outputs, { transposeB: true });
  const dweight = reference.matmul(x, dy, inputs, outputs, rows, { transposeA: true });
  assertGradient(dx, x, f, "dx");
  assertGradient(dweight, weight, f, "dweight");
  assertGradient(reference.biasGradient(dy, rows, outputs), bias, f, "dbias");
});

Deno.test("layerNorm: mean 0 and variance 1 before the gain; gradients", () => {
  const [rows, channels] = [4, 7];
  const x = random(rows * channels, 1).map((value) => 3 * value + 5);
  const ones = new Float64Array(channels).fill(1);
  const { y } = reference.layerNorm(x, ones, new Float64Array(channels), rows, 0);
  for (let r = 0; r < rows; r++) {
    const row = y.subarray(r * channels, (r + 1) * channels);
    const moments = [dot(row, ones) / channels, dot(row, row) / channels];
    assertClose(moments, [0, 1], 1e-12, `moments of row ${r}`);
  }
  const [gamma, beta, dy] = [random(channels, 2), random(channels, 3), random(x.length, 4)];
  const epsilon = 0.01; // large, so that leaving it out shows
  const f = () => dot(dy, reference.layerNorm(x, gamma, beta, rows, epsilon).y);
  const { dx, dgamma, dbeta } = reference.layerNormBackward(dy, x, gamma, rows, epsilon);
  assertGradient(dx, x, f, "dx");
  assertGradient(dgamma, gamma, f, "dgamma");
  assertGradient(dbeta, beta, f, "dbeta");
});

Deno.test("erf and erfc agree with the C library to 1e-14 relative", () => {
  // deno-fmt-ignore
  const table: [number, number, number][] = [
    [1e-9, 1.1283791670955127e-09, 0.9999999988716208],
    [0.3, 0.3286267594591274, 0.6713732405408726],
    [0.9, 0.7969082124228322, 0.20309178757716786],
    [1.99, 0.995111413199617, 0.004888586800383003],
    [2.01, 0.9955248493552482, 0.004475150644751763],
    [3.3, 0.9999969422902035, 3.0577097964381654e-06],
    [5.9, 0.9999999999999999, 7.190409783550478e-17],
    [-0.7, -0.6778011938374184, 1.6778011938374184],
    [-2.5, -0.999593047982555, 1.999593047982555],
    [10, 1, 2.088487583762545e-45],
    [20, 1, 5.3958656116079005e-176],
  ];
  for (const [x, erf, erfc] of table) {
    assertCloseInNorm([reference.erf(x)], [erf], 1e-14, `erf(${x})`);
    // Near 2, 1 - erf(x) has lost two digits.
    assertCloseInNorm([reference.erfc(x)], [erfc], 1e-13, `erfc(${x})`);
  }
  assertEquals([reference.erf(0), reference.erfc(0)], [0, 1]);
});

Deno.test("gelu and its tanh approximation agree with PyTorch to 1e-15; derivatives", () => {
  const x = [-4, -1.5, -0.3, 0.2, 0.75, 3];
  // deno-fmt-ignore
  const exact = [-0.00012668496733247991, -0.10021080190328704, -0.1146265733433142,
    0.11585194188782061, 0.5800294857173489, 2.99595030590511];
  // deno-fmt-ignore
  const tanh = [-7.024594819227126e-05, -0.10042842301976707, -0.11462907645724074,
    0.11585142978210627, 0.5799605551656203, 2.996362607918227];
  assertClose(x.map(reference.gelu), exact, 1e-15, "gelu");
  assertClose(x.map(reference.geluTanh), tanh, 1e-15, "geluTanh");
  const points = random(50, 1).map((value) => 2 * value);
  for (const point of points) {
    const at = Float64Array.of(point);
    const slope = finiteDifference(() => reference.gelu(at[0]!), at, 0);
    const slopeTanh = finiteDifference(() => reference.geluTanh(at[0]!), at, 0);
    assertClose([reference.geluDerivative(point)], [slope], bound, `gelu'(${point})`);
    assertClose([reference.geluTanhDerivative(point)], [slopeTanh], bound, `geluTanh'(${point})`);
  }
});

Deno.test("softmax: sums to 1, does not overflow, e : 1 by hand", () => {
  const [big, small] = reference.softmax([1001, 1000]);
  assertClose([big! + small!, big! / small!], [1, Math.E], 1e-14, "softmax");
});

Deno.test("attention: causal, within its sequence, one row by hand; gradients with dropout", () => {
  const [width, heads] = [6, 2];
  const offsets = [0, 1, 3, 8];
  const qkv = random(8 * 3 * width, 1);
  const out = reference.attention(qkv, offsets, width, heads);

  // A sequence's first row sees itself alone: its own value.
  assertClose(out.subarray(0, 6), qkv.subarray(12, 18), 1e-15, "row 0");
  assertClose(out.subarray(6, 12), qkv.subarray(18 + 12, 18 + 18), 1e-15, "row 1");
  // Row 2, head 1, channels 3 to 5, from rows 1 and 2.
  const score = (key: number) => dot(qkv.slice(39, 42), qkv.slice(key * 18 + 9, key * 18 + 12));
  const first = 1 / (1 + Math.exp((score(2) - score(1)) / Math.sqrt(3)));
  const mixed = [0, 1, 2].map((d) => first * qkv[33 + d]! + (1 - first) * qkv[51 + d]!);
  assertClose(out.subarray(15, 18), mixed, 1e-14, "row 2, head 1");
  // What comes later, or stands in another sequence, changes nothing.
  const changed = qkv.map((value, i) => i >= 6 * 18 || i < 3 * 18 ? value + 1 : value);
  const again = reference.attention(changed, offsets, width, heads);
  assertEquals(again.slice(3 * 6, 6 * 6), out.slice(3 * 6, 6 * 6));

  const dout = random(8 * width, 2);
  const dropped = (query: number, head: number, key: number) =>
    (3 * query + 5 * head + 7 * key) % 4 === 0 ? 0 : 4 / 3;
  for (const keep of [undefined, dropped]) {
    const f = () => dot(dout, reference.attention(qkv, offsets, width, heads, keep));
    const dqkv = reference.attentionBackward(dout, qkv, offsets, width, heads, keep);
    assertGradient(dqkv, qkv, f, keep ? "dqkv with dropout" : "dqkv");
  }
});

Deno.test("crossEntropy: PyTorch's loss with smoothing, weights, an ignored row; gradient", () => {
  const logits = Float64Array.of(0.5, -1, 2, 0.3, 1, 1.5, -2, 0, 3, -3, 0.1, 0.2);
  const [targets, weights] = [[3, -1, 0], [0.7, 2, 1.5]];
  const sums = reference.crossEntropy(logits, targets, weights, 0.1);
  assertClose([sums.loss], [2.048773747747589], 1e-14, "loss");
  assertClose([sums.weight], [2.2], 1e-14, "weight");
  assertEquals([sums.targets, sums.correct], [2, 1]);
  assertEquals([...sums.dlogits.subarray(4, 8)], [0, 0, 0, 0]);
  const plain = reference.crossEntropy(logits, targets, weights, 0);
  assertEquals(plain.loss, sums.crossEntropy);
  for (const given of [weights, null]) {
    const f = () => 0.3 * reference.crossEntropy(logits, targets, given, 0.1).loss;
    const { dlogits } = reference.crossEntropy(logits, targets, given, 0.1, 0.3);
    assertGradient(dlogits, logits, f, "dlogits");
  }
});

Deno.test("embedding: by hand; gradients, with tokens that come twice", () => {
  assertEquals([...reference.embedding([1], [0], [1, 2, 3, 4], [10, 20], 2)], [13, 24]);
  const [tokens, positions, width] = [[3, 0, 3, 1], [0, 1, 0, 2], 3];
  const [wte, wpe, dx] = [random(5 * width, 1), random(4 * width, 2), random(4 * width, 3)];
  const f = () => dot(dx, reference.embedding(tokens, positions, wte, wpe, width));
  assertGradient(reference.embeddingBackward(dx, tokens, 5, width), wte, f, "dwte");
  assertGradient(reference.embeddingBackward(dx, positions, 4, width), wpe, f, "dwpe");
});

Deno.test("adamW and clipScale: two of PyTorch's steps with decay and clipping, to 1e-15", () => {
  let state = {
    p: Float64Array.of(0.3, -1.2, 2.5),
    m: new Float64Array(3),
    v: new Float64Array(3),
  };
  for (const [i, g] of [[0.5, -0.02, 3e-8], [-0.3, 0.04, 1]].entries()) {
    const gradientScale = reference.clipScale(Math.sqrt(reference.sumOfSquares(g)), 0.45);
    const betas = { learningRate: 0.01, beta1: 0.9, beta2: 0.95 };
    const o = { ...betas, epsilon: 1e-8, weightDecay: 0.1, step: i + 1, gradientScale };
    state = reference.adamW(state.p, g, state.m, state.v, o);
  }
  assertClose(state.p, [0.2849792961053503, -1.1879225447777761, 2.4803644789855372], 1e-15, "p");
  const m = [0.02754639542796779, 0.00010411935233107825, 0.043070544194117405];
  assertClose(state.m, m, 1e-15, "m");
  const v = [0.010438128407545244, 3.0205926467274442e-05, 0.009275357840111333];
  assertClose(state.v, v, 1e-15, "v");
  assertEquals(reference.clipScale(0.3, 0.45), 1);
  assertEquals(reference.clipScale(0, 0), 0);
});
