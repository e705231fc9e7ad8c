// The number formats of GGUF tensors that are read and written: f32, f16, and q8_0, which holds 32 numbers as
// a scale of 16 bits and 32 whole numbers of 8. Source: ggml-quants.c of ggml

import { widenFloat16 } from "./halves.ts";

/** Numbers in a q8_0 block, and its bytes: the scale, then the numbers. */
const BLOCK = 32, BLOCK_BYTES = 34;

export type BlockType = "f32" | "f16" | "q8_0";

/** A number format as GGUF names it. */
export interface BlockFormat {
  /** GGUF's number of the type. */
  readonly id: number;
  /** Numbers that are stored together; rows are a multiple of it. */
  readonly length: number;
  readonly bytes: number;
  read(bytes: Uint8Array<ArrayBuffer>): Float32Array;
  write(values: Float32Array): Uint8Array;
}

export const blockFormats: Readonly<Record<BlockType, BlockFormat>> = {
  f32: {
    id: 0,
    length: 1,
    bytes: 4,
    read: ({ buffer }) => new Float32Array(buffer),
    write: ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  },
  f16: {
    id: 1,
    length: 1,
    bytes: 2,
    read: ({ buffer }) => widenFloat16(new Uint16Array(buffer)),
    write: (values) => new Uint8Array(new Float16Array(values).buffer),
  },
  q8_0: { id: 8, length: BLOCK, bytes: BLOCK_BYTES, read: readQ8, write: writeQ8 },
};

function readQ8(bytes: Uint8Array<ArrayBuffer>): Float32Array {
  const blocks = bytes.length / BLOCK_BYTES;
  const view = new DataView(bytes.buffer);
  const values = new Float32Array(blocks * BLOCK);
  for (let block = 0; block < blocks; block++) {
    const at = block * BLOCK_BYTES, scale = view.getFloat16(at, true);
    for (let i = 0; i < BLOCK; i++) values[block * BLOCK + i] = scale * view.getInt8(at + 2 + i);
  }
  return values;
}

/** As ggml's reference: the largest number becomes 127, halves round away from zero. */
function writeQ8(values: Float32Array): Uint8Array {
  const blocks = values.length / BLOCK;
  const bytes = new Uint8Array(blocks * BLOCK_BYTES), view = new DataView(bytes.buffer);
  for (let block = 0; block < blocks; block++) {
    const from = block * BLOCK, at = block * BLOCK_BYTES;
    let largest = 0;
    for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[from + i]!));
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    view.setFloat16(at, scale, true);
    for (let i = 0; i < BLOCK; i++) {
      const scaled = Math.fround(values[from + i]! * inverse);
      view.setInt8(at + 2 + i, Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5));
    }
  }
  return bytes;
}
