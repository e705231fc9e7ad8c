// Embeddings and the moving of rows: typed wrappers that check every index before a kernel follows it.

import type { Tensor } from "./arena.ts";
import { checkIndices, checkShape, matrixShape } from "./check.ts";
import { rowsPerChunk } from "./chunks.ts";
import type { Weight } from "./linear.ts";
import type { Runtime } from "./runtime.ts";

const EMBEDDING = { f32: "embedding_forward", bf16: "embedding_bf16", int8: "embedding_int8" };

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
    tokenTable.rounded ? "embedding_rounded" : EMBEDDING[tokenTable.precision ?? "f32"],
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
