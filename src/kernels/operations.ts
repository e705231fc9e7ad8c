// Typed wrappers of all kernels but the matrix products: each checks shapes and indices, then runs its
// kernel on all threads.

import { elementCount, type Tensor } from "./arena.ts";
import { checkIndices, checkMultiple, checkShape } from "./check.ts";
import { PANEL, type Weight } from "./linear.ts";
import type { Runtime } from "./runtime.ts";

/** Elements that a kernel of one visit per element takes at a time: 64 KB of each operand. */
const ELEMENTS_PER_CHUNK = 16384;

/** A stream of dropout decisions: probability and the two keys of its counter-based bits. */
export interface DropoutStream {
  readonly p: number;
  readonly keyA: number;
  readonly keyB: number;
}

/** Nothing is dropped. */
export const NO_DROPOUT: DropoutStream = { p: 0, keyA: 0, keyB: 0 };

/** The dimensions of a [N, C] matrix. */
function matrixShape(what: string, x: Tensor): [rows: number, channels: number] {
  const [rows, channels] = x.shape;
  if (x.shape.length !== 2) throw new RangeError(`${what}: must be a matrix, got [${x.shape}]`);
  return [rows!, channels!];
}

/** Groups of sixteen elements; tensors are padded to whole groups. */
function groups(x: Tensor): number {
  return Math.ceil(elementCount(x.shape) / 16);
}

function rowsPerChunk(channels: number): number {
  return Math.max(1, Math.ceil(ELEMENTS_PER_CHUNK / channels));
}

export interface LayerNormSaved {
  readonly mean: Tensor; // [N]
  readonly rstd: Tensor; // [N]
}

/** y [N, C] = layer norm of x [N, C]; fills mean and rstd. */
export function layerNormForward(
  runtime: Runtime,
  y: Tensor,
  saved: LayerNormSaved,
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  epsilon: number,
): void {
  const [rows, channels] = matrixShape("layerNormForward x", x);
  checkShape("layerNormForward y", y, x.shape);
  checkStatistics("layerNormForward", saved, gamma, rows, channels);
  checkShape("layerNormForward beta", beta, [channels]);
  runtime.pool.run(
    "layernorm_forward",
    rows,
    rowsPerChunk(channels),
    y.pointer,
    saved.mean.pointer,
    saved.rstd.pointer,
    x.pointer,
    gamma.pointer,
    beta.pointer,
    channels,
    epsilon,
  );
}

/** dx [N, C] += gradient through the layer norm; dgamma [C] and dbeta [C] += theirs. */
export function layerNormBackward(
  runtime: Runtime,
  dx: Tensor,
  dgamma: Tensor,
  dbeta: Tensor,
  dy: Tensor,
  x: Tensor,
  gamma: Tensor,
  saved: LayerNormSaved,
): void {
  const [rows, channels] = matrixShape("layerNormBackward x", x);
  checkShape("layerNormBackward dx", dx, x.shape);
  checkShape("layerNormBackward dy", dy, x.shape);
  checkStatistics("layerNormBackward", saved, gamma, rows, channels);
  checkShape("layerNormBackward dgamma", dgamma, [channels]);
  checkShape("layerNormBackward dbeta", dbeta, [channels]);
  const { mean, rstd } = saved;
  runtime.pool.run(
    "layernorm_backward",
    rows,
    rowsPerChunk(channels),
    dx.pointer,
    dy.pointer,
    x.pointer,
    gamma.pointer,
    mean.pointer,
    rstd.pointer,
    channels,
  );
  runtime.pool.run(
    "layernorm_backward_parameters",
    channels / 4,
    Math.max(4, Math.ceil(ELEMENTS_PER_CHUNK / rows / 4)),
    dgamma.pointer,
    dbeta.pointer,
    dy.pointer,
    x.pointer,
    mean.pointer,
    rstd.pointer,
    rows,
    channels,
  );
}

function checkStatistics(
  what: string,
  saved: LayerNormSaved,
  gamma: Tensor,
  rows: number,
  channels: number,
): void {
  checkMultiple(`${what} channels`, channels, 4);
  checkShape(`${what} gamma`, gamma, [channels]);
  checkShape(`${what} mean`, saved.mean, [rows]);
  checkShape(`${what} rstd`, saved.rstd, [rows]);
}

/** y = GELU(x), exact or by tanh. */
export function geluForward(runtime: Runtime, y: Tensor, x: Tensor, approximate: boolean): void {
  checkShape("geluForward y", y, x.shape);
  const chunk = ELEMENTS_PER_CHUNK / 16;
  runtime.pool.run("gelu_forward", groups(x), chunk, y.pointer, x.pointer, Number(approximate));
}

/** dx = dy * GELU'(x); dx may be dy. */
export function geluBackward(
  runtime: Runtime,
  dx: Tensor,
  dy: Tensor,
  x: Tensor,
  approximate: boolean,
): void {
  checkShape("geluBackward dx", dx, x.shape);
  checkShape("geluBackward dy", dy, x.shape);
  runtime.pool.run(
    "gelu_backward",
    groups(x),
    ELEMENTS_PER_CHUNK / 16,
    dx.pointer,
    dy.pointer,
    x.pointer,
    Number(approximate),
  );
}

/** y = dropout(x); y may be x. */
export function dropout(runtime: Runtime, y: Tensor, x: Tensor, stream: DropoutStream): void {
  checkShape("dropout y", y, x.shape);
  runtime.pool.run(
    "dropout",
    groups(x),
    ELEMENTS_PER_CHUNK / 16,
    y.pointer,
    x.pointer,
    stream.p,
    stream.keyA,
    stream.keyB,
  );
}

/** y = residual + dropout(x). */
export function residualDropout(
  runtime: Runtime,
  y: Tensor,
  residual: Tensor,
  x: Tensor,
  stream: DropoutStream,
): void {
  checkShape("residualDropout y", y, x.shape);
  checkShape("residualDropout residual", residual, x.shape);
  runtime.pool.run(
    "residual_dropout",
    groups(x),
    ELEMENTS_PER_CHUNK / 16,
    y.pointer,
    residual.pointer,
    x.pointer,
    stream.p,
    stream.keyA,
    stream.keyB,
  );
}

/** out [columns] += column sums of x [N, columns]: a bias's gradient. */
export function addColumnSums(runtime: Runtime, out: Tensor, x: Tensor): void {
  const [rows, columns] = matrixShape("addColumnSums x", x);
  checkShape("addColumnSums out", out, [columns]);
  checkMultiple("addColumnSums columns", columns, 4);
  runtime.pool.run(
    "column_sums",
    columns / 4,
    Math.max(4, Math.ceil(ELEMENTS_PER_CHUNK / rows / 4)),
    out.pointer,
    x.pointer,
    rows,
    columns,
  );
}

/** out [N, C] = token embedding (the tied head's weight [C, V]) + position embedding [P, C]. */
export function embeddingForward(
  runtime: Runtime,
  out: Tensor,
  tokens: Tensor,
  positions: Tensor,
  tokenTable: Weight,
  positionTable: Tensor,
): void {
  const [rows, channels] = matrixShape("embeddingForward out", out);
  checkEmbedding("embeddingForward", runtime, tokens, positions, tokenTable, positionTable, out);
  runtime.pool.run(
    "embedding_forward",
    rows,
    rowsPerChunk(channels),
    out.pointer,
    tokens.pointer,
    positions.pointer,
    tokenTable.pointer,
    positionTable.pointer,
    channels,
  );
}

/** Both tables' gradients += dout [N, C]. */
export function embeddingBackward(
  runtime: Runtime,
  dout: Tensor,
  tokens: Tensor,
  positions: Tensor,
  dTokenTable: Weight,
  dPositionTable: Tensor,
): void {
  const [rows, channels] = matrixShape("embeddingBackward dout", dout);
  checkEmbedding(
    "embeddingBackward",
    runtime,
    tokens,
    positions,
    dTokenTable,
    dPositionTable,
    dout,
  );
  runtime.pool.run(
    "embedding_backward",
    channels,
    // Sixteen floats are a cache line, which two threads had better not share.
    Math.max(16, Math.ceil(channels / runtime.threads / 16) * 16),
    dout.pointer,
    tokens.pointer,
    positions.pointer,
    dTokenTable.pointer,
    dPositionTable.pointer,
    rows,
    channels,
  );
}

function checkEmbedding(
  what: string,
  runtime: Runtime,
  tokens: Tensor,
  positions: Tensor,
  tokenTable: Weight,
  positionTable: Tensor,
  x: Tensor,
): void {
  const [rows, channels] = x.shape as [number, number];
  checkShape(`${what} tokens`, tokens, [rows]);
  checkShape(`${what} positions`, positions, [rows]);
  checkShape(`${what} position table`, positionTable, [positionTable.shape[0]!, channels]);
  if (tokenTable.inputs !== channels) throw new RangeError(`${what}: token table of other width`);
  checkIndices(`${what} tokens`, runtime.i32(tokens), 0, tokenTable.outputs);
  checkIndices(`${what} positions`, runtime.i32(positions), 0, positionTable.shape[0]!);
}

/** to [rows, C]: row i is from's row indices[i]. */
export function gatherRows(runtime: Runtime, to: Tensor, from: Tensor, indices: Tensor): void {
  moveRows(runtime, "gather_rows", to, from, indices, from);
}

/** to's row indices[i] is row i of from [rows, C]; other rows stay. */
export function scatterRows(runtime: Runtime, to: Tensor, from: Tensor, indices: Tensor): void {
  moveRows(runtime, "scatter_rows", to, from, indices, to);
}

function moveRows(
  runtime: Runtime,
  kernel: string,
  to: Tensor,
  from: Tensor,
  indices: Tensor,
  indexed: Tensor,
): void {
  const [total, channels] = matrixShape(kernel, indexed);
  const rows = indices.shape[0]!;
  checkShape(kernel, indexed === from ? to : from, [rows, channels]);
  checkIndices(`${kernel} indices`, runtime.i32(indices), 0, total);
  runtime.pool.run(
    kernel,
    rows,
    rowsPerChunk(channels),
    to.pointer,
    from.pointer,
    indices.pointer,
    channels,
  );
}

/** Softmax over the first `count` elements of every row of x [rows, stride], in place. */
export function softmax(runtime: Runtime, x: Tensor, count: number): void {
  const [rows, stride] = matrixShape("softmax x", x);
  if (!(count >= 1 && count <= stride)) throw new RangeError(`softmax: ${count} of ${stride}`);
  runtime.pool.run("softmax", rows, rowsPerChunk(stride), x.pointer, count, stride);
}

/**
 * Cross-entropy of logits [rows, stride], the first V of each row; stride is V padded to 16.
 * results [rows, 3]: smoothed loss, plain loss, and whether the target is the argmax.
 * With `gradient`, logits become (softmax - smoothed target) * weights[row] * scale.
 */
export function crossEntropy(
  runtime: Runtime,
  results: Tensor,
  logits: Tensor,
  targets: Tensor,
  weights: Tensor,
  V: number,
  o: { readonly smoothing: number; readonly scale: number; readonly gradient: boolean },
): void {
  const [rows, stride] = matrixShape("crossEntropy logits", logits);
  checkShape("crossEntropy results", results, [rows, 3]);
  checkShape("crossEntropy targets", targets, [rows]);
  checkShape("crossEntropy weights", weights, [rows]);
  if (Math.ceil(V / PANEL) * PANEL !== stride) throw new RangeError(`crossEntropy: V ${V}`);
  checkIndices("crossEntropy targets", runtime.i32(targets), -1, V);
  runtime.pool.run(
    "cross_entropy",
    rows,
    rowsPerChunk(stride),
    logits.pointer,
    targets.pointer,
    weights.pointer,
    results.pointer,
    V,
    stride,
    o.smoothing,
    o.scale,
    Number(o.gradient),
  );
}

export interface AttentionShape {
  readonly heads: number;
  /** First token of each sequence, and N at the end: [B + 1]. */
  readonly offsets: Tensor;
}

/** out [N, C] = causal attention over qkv [N, 3C]; logSumExp [N, H] is kept for backward. */
export function attentionForward(
  runtime: Runtime,
  out: Tensor,
  logSumExp: Tensor,
  qkv: Tensor,
  { heads, offsets }: AttentionShape,
  stream: DropoutStream,
): void {
  const [rows, channels] = matrixShape("attentionForward out", out);
  checkAttention("attentionForward", runtime, qkv, logSumExp, rows, channels, heads, offsets);
  runtime.pool.run(
    "attention_forward",
    (offsets.shape[0]! - 1) * heads,
    1,
    qkv.pointer,
    offsets.pointer,
    out.pointer,
    logSumExp.pointer,
    channels,
    heads,
    stream.p,
    stream.keyA,
    stream.keyB,
  );
}

/** dqkv [N, 3C] from dout [N, C]. */
export function attentionBackward(
  runtime: Runtime,
  dqkv: Tensor,
  dout: Tensor,
  qkv: Tensor,
  logSumExp: Tensor,
  { heads, offsets }: AttentionShape,
  stream: DropoutStream,
): void {
  const [rows, channels] = matrixShape("attentionBackward dout", dout);
  checkAttention("attentionBackward", runtime, qkv, logSumExp, rows, channels, heads, offsets);
  checkShape("attentionBackward dqkv", dqkv, qkv.shape);
  runtime.pool.run(
    "attention_backward",
    (offsets.shape[0]! - 1) * heads,
    1,
    qkv.pointer,
    offsets.pointer,
    dout.pointer,
    logSumExp.pointer,
    dqkv.pointer,
    channels,
    heads,
    stream.p,
    stream.keyA,
    stream.keyB,
  );
}

/** Longest sequence that dropout's counters and a thread's scratch are made for. */
const LONGEST = 4096;
const WIDEST_HEAD = 256;

function checkAttention(
  what: string,
  runtime: Runtime,
  qkv: Tensor,
  logSumExp: Tensor,
  rows: number,
  channels: number,
  heads: number,
  offsets: Tensor,
): void {
  checkShape(`${what} qkv`, qkv, [rows, 3 * channels]);
  checkShape(`${what} logSumExp`, logSumExp, [rows, heads]);
  checkMultiple(`${what} channels`, channels, heads);
  if (channels / heads > WIDEST_HEAD) {
    throw new RangeError(
      `${what}: a head has ${channels / heads} channels, at most ${WIDEST_HEAD}`,
    );
  }
  const starts = runtime.i32(offsets);
  if (starts[0] !== 0 || starts[starts.length - 1] !== rows) {
    throw new RangeError(`${what} offsets: must run from 0 to ${rows}`);
  }
  for (let b = 1; b < starts.length; b++) {
    const length = starts[b]! - starts[b - 1]!;
    if (length >= 1 && length <= LONGEST) continue;
    throw new RangeError(
      `${what}: sequence ${b - 1} has ${length} tokens, must be 1 to ${LONGEST}`,
    );
  }
}

/** Attention of new tokens (the last rows of keys and values [capacity, C]) over `past` + themselves. */
export function attentionCached(
  runtime: Runtime,
  out: Tensor,
  qkv: Tensor,
  keys: Tensor,
  values: Tensor,
  heads: number,
  past: number,
): void {
  const [rows, channels] = matrixShape("attentionCached out", out);
  const [capacity] = matrixShape("attentionCached keys", keys);
  checkShape("attentionCached qkv", qkv, [rows, 3 * channels]);
  checkShape("attentionCached keys", keys, [capacity, channels]);
  checkShape("attentionCached values", values, [capacity, channels]);
  if (past + rows > Math.min(capacity, LONGEST)) {
    throw new RangeError(`attentionCached: ${past} + ${rows} tokens, room for ${capacity}`);
  }
  runtime.pool.run(
    "attention_cached",
    rows * heads,
    Math.max(1, Math.ceil(rows * heads / (runtime.threads * 2))),
    qkv.pointer,
    keys.pointer,
    values.pointer,
    out.pointer,
    channels,
    heads,
    past,
  );
}

export interface AdamWStep {
  readonly gradientScale: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly learningRate: number;
  readonly weightDecay: number;
  readonly epsilon: number;
  /** Counts from 1. */
  readonly step: number;
}

/** One AdamW step over `length` floats (a multiple of 16) of four arrays; gradients become zero. */
export function adamw(
  runtime: Runtime,
  parameters: number,
  gradients: number,
  moments: number,
  squares: number,
  length: number,
  o: AdamWStep,
): void {
  checkMultiple("adamw length", length, 16);
  runtime.pool.run(
    "adamw",
    length / 16,
    ELEMENTS_PER_CHUNK / 16,
    parameters,
    gradients,
    moments,
    squares,
    o.gradientScale,
    o.beta1,
    o.beta2,
    1 - o.learningRate * o.weightDecay,
    o.learningRate / (1 - o.beta1 ** o.step),
    1 / Math.sqrt(1 - o.beta2 ** o.step),
    o.epsilon,
  );
}

const SQUARES_BLOCK = 65536; // as in assembly/adamw.ts

/** Sum of squares of `length` floats (a multiple of 16), the same for every number of threads. */
export function sumOfSquares(runtime: Runtime, pointer: number, length: number): number {
  checkMultiple("sumOfSquares length", length, 16);
  const blocks = Math.ceil(length / SQUARES_BLOCK);
  return runtime.arena.scope(() => {
    const results = runtime.arena.allocate([blocks * 2]); // f64
    runtime.pool.run("sum_of_squares", blocks, 1, results.pointer, pointer, length);
    const sums = new Float64Array(runtime.memory.buffer, results.pointer, blocks);
    return sums.reduce((total, sum) => total + sum, 0);
  });
}

/** Fills `length` floats (a multiple of 16) with deviation * normal(0, 1) of the stream of two keys. */
export function fillNormal(
  runtime: Runtime,
  pointer: number,
  length: number,
  deviation: number,
  keyA: number,
  keyB: number,
): void {
  checkMultiple("fillNormal length", length, 16);
  const chunk = ELEMENTS_PER_CHUNK / 16;
  runtime.pool.run("normal", length / 16, chunk, pointer, deviation, keyA, keyB);
}
