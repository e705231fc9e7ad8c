// Causal attention: typed wrappers that check shapes and sequence boundaries.

import type { Tensor } from "./arena.ts";
import { checkIndices, checkMultiple, checkProbability, checkShape, matrixShape } from "./check.ts";
import type { DropoutStream } from "./elementwise.ts";
import type { Runtime } from "./runtime.ts";

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
  checkProbability("attentionForward p", stream.p);
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
  checkProbability("attentionBackward p", stream.p);
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

/** Where the cached tokens of each query row lie. */
export interface CacheTables {
  /** Cache rows of each sequence's tokens, i32 [sequences, longest]. */
  readonly tables: Tensor;
  /** Sequence of each query row, i32 [rows]. */
  readonly owners: Tensor;
  /** Tokens that each query row sees, its own included, i32 [rows]. */
  readonly counts: Tensor;
}

/** Attention of the new tokens of qkv [rows, 3C] over keys and values [capacity, C] of a cache. */
export function attentionCached(
  runtime: Runtime,
  out: Tensor,
  qkv: Tensor,
  keys: Tensor,
  values: Tensor,
  heads: number,
  { tables, owners, counts }: CacheTables,
): void {
  const [rows, channels] = matrixShape("attentionCached out", out);
  const [capacity] = matrixShape("attentionCached keys", keys);
  const [sequences, longest] = matrixShape("attentionCached tables", tables);
  checkShape("attentionCached qkv", qkv, [rows, 3 * channels]);
  checkShape("attentionCached keys", keys, [capacity, channels]);
  checkShape("attentionCached values", values, [capacity, channels]);
  checkShape("attentionCached owners", owners, [rows]);
  checkShape("attentionCached counts", counts, [rows]);
  checkMultiple("attentionCached channels", channels, heads);
  const [owner, count] = [runtime.i32(owners), runtime.i32(counts)];
  checkIndices("attentionCached owners", owner, 0, sequences);
  checkIndices("attentionCached counts", count, 1, Math.min(longest, LONGEST) + 1);
  // Each table is checked once, as far as its longest query looks.
  const seen = new Map<number, number>();
  owner.forEach((s, n) => seen.set(s, Math.max(seen.get(s) ?? 0, count[n]!)));
  const table = runtime.i32(tables);
  for (const [s, length] of seen) {
    const from = s * longest;
    checkIndices("attentionCached tables", table.subarray(from, from + length), 0, capacity);
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
    tables.pointer,
    longest * 4,
    owners.pointer,
    counts.pointer,
  );
}
