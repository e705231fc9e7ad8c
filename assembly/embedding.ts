// Token and position embeddings, and the moving of rows. The token table is the tied head's weight
// W [C, V] in panels [ceil(V / 16), C, 16]; positions are row-major [n_positions, C].

import { panelBytesBf16, panelBytesInt8, roundBf16, valueBf16, valueInt8 } from "./quantize";

// @ts-ignore: decorator
@inline
function tokenColumn(table: usize, token: i32, channels: i32): usize {
  return table + <usize> (token >> 4) * <usize> (channels << 6) + <usize> ((token & 15) << 2);
}

/** Rows [start, end): out [N, C] = token embedding + position embedding. */
export function embedding_forward(
  start: i32,
  end: i32,
  out: usize,
  tokens: usize,
  positions: usize,
  tokenTable: usize,
  positionTable: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    let token = tokenColumn(tokenTable, load<i32>(tokens + <usize> (n << 2)), channels);
    const position = positionTable + <usize> load<i32>(positions + <usize> (n << 2)) * bytes;
    const row = out + <usize> n * bytes;
    for (let at: usize = 0; at < bytes; at += 4) {
      store<f32>(row + at, load<f32>(token) + load<f32>(position + at));
      token += 64;
    }
  }
}

/** As embedding_forward, each element of the token table rounded to bf16. */
export function embedding_rounded(
  start: i32,
  end: i32,
  out: usize,
  tokens: usize,
  positions: usize,
  tokenTable: usize,
  positionTable: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    let token = tokenColumn(tokenTable, load<i32>(tokens + <usize> (n << 2)), channels);
    const position = positionTable + <usize> load<i32>(positions + <usize> (n << 2)) * bytes;
    const row = out + <usize> n * bytes;
    for (let at: usize = 0; at < bytes; at += 4) {
      const value = f32x4.extract_lane(roundBf16(v128.load32_splat(token)), 0);
      store<f32>(row + at, value + load<f32>(position + at));
      token += 64;
    }
  }
}

/** As embedding_forward, for a token table in bf16. */
export function embedding_bf16(
  start: i32,
  end: i32,
  out: usize,
  tokens: usize,
  positions: usize,
  tokenTable: usize,
  positionTable: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    const token = load<i32>(tokens + <usize> (n << 2));
    const panel = tokenTable + <usize> (token >> 4) * panelBytesBf16(channels);
    const position = positionTable + <usize> load<i32>(positions + <usize> (n << 2)) * bytes;
    const row = out + <usize> n * bytes;
    for (let c = 0; c < channels; c++) {
      const at = <usize> (c << 2);
      store<f32>(row + at, valueBf16(panel, c, token & 15) + load<f32>(position + at));
    }
  }
}

/** As embedding_forward, for a token table in int8. */
export function embedding_int8(
  start: i32,
  end: i32,
  out: usize,
  tokens: usize,
  positions: usize,
  tokenTable: usize,
  positionTable: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = start; n < end; n++) {
    const token = load<i32>(tokens + <usize> (n << 2));
    const panel = tokenTable + <usize> (token >> 4) * panelBytesInt8(channels);
    const position = positionTable + <usize> load<i32>(positions + <usize> (n << 2)) * bytes;
    const row = out + <usize> n * bytes;
    for (let c = 0; c < channels; c++) {
      const at = <usize> (c << 2);
      store<f32>(row + at, valueInt8(panel, c, token & 15) + load<f32>(position + at));
    }
  }
}

/** Channels [start, end): adds dout [N, C] to both tables' gradients, rows in order. */
export function embedding_backward(
  start: i32,
  end: i32,
  dout: usize,
  tokens: usize,
  positions: usize,
  dTokenTable: usize,
  dPositionTable: usize,
  rows: i32,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let n = 0; n < rows; n++) {
    const column = tokenColumn(dTokenTable, load<i32>(tokens + <usize> (n << 2)), channels);
    const position = dPositionTable + <usize> load<i32>(positions + <usize> (n << 2)) * bytes;
    const row = dout + <usize> n * bytes;
    for (let c = start; c < end; c++) {
      const at = <usize> (c << 2), token = column + <usize> (c << 6);
      const d = load<f32>(row + at);
      store<f32>(token, load<f32>(token) + d);
      store<f32>(position + at, load<f32>(position + at) + d);
    }
  }
}

/** to [rows, C] row i = from row indices[i], rows [start, end). */
export function gather_rows(
  start: i32,
  end: i32,
  to: usize,
  from: usize,
  indices: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let i = start; i < end; i++) {
    const source = from + <usize> load<i32>(indices + <usize> (i << 2)) * bytes;
    memory.copy(to + <usize> i * bytes, source, bytes);
  }
}

/** to row indices[i] = from row i, rows [start, end). */
export function scatter_rows(
  start: i32,
  end: i32,
  to: usize,
  from: usize,
  indices: usize,
  channels: i32,
): void {
  const bytes = <usize> (channels << 2);
  for (let i = start; i < end; i++) {
    const target = to + <usize> load<i32>(indices + <usize> (i << 2)) * bytes;
    memory.copy(target, from + <usize> i * bytes, bytes);
  }
}
