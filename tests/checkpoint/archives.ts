// Builds archives as torch.save and others write them, and broken ones.

import { crc32 } from "../../src/checkpoint/zip.ts";

const encoder = new TextEncoder();

/** An entry, and what its headers shall claim instead of the truth. */
export interface BuiltEntry {
  name: string;
  data: Uint8Array<ArrayBuffer>;
  method?: number;
  packed?: Uint8Array<ArrayBuffer>;
  claims?: { size?: number; packed?: number; checksum?: number; local?: number; flags?: number };
}

function record(length: number, fields: [at: number, bytes: 2 | 4, value: number][]) {
  const view = new DataView(new ArrayBuffer(length));
  for (const [at, bytes, value] of fields) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
  }
  return new Uint8Array(view.buffer);
}

export function concatenated(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export function zip(entries: BuiltEntry[], count = entries.length): Uint8Array<ArrayBuffer> {
  const locals: Uint8Array[] = [], centrals: Uint8Array[] = [];
  let at = 0;
  for (const { name, data, method = 0, packed = data, claims = {} } of entries) {
    const bytes = encoder.encode(name);
    const size = claims.size ?? data.length, packedSize = claims.packed ?? packed.length;
    const checksum = claims.checksum ?? crc32(data), local = claims.local ?? at;
    const header = record(30, [[0, 4, 0x04034b50], [26, 2, bytes.length]]);
    locals.push(header, bytes, packed);
    at += header.length + bytes.length + packed.length;
    centrals.push(
      record(46, [
        [0, 4, 0x02014b50],
        [8, 2, claims.flags ?? 0],
        [10, 2, method],
        [16, 4, checksum],
        [20, 4, packedSize],
        [24, 4, size],
        [28, 2, bytes.length],
        [42, 4, local],
      ]),
      bytes,
    );
  }
  const list = concatenated(centrals);
  const end = record(22, [[0, 4, 0x06054b50], [10, 2, count], [12, 4, list.length], [16, 4, at]]);
  return concatenated([...locals, list, end]);
}

/** Text as bytes; characters above 255 are not meant. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export async function deflate(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const packed = new Blob([data]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

/** A torch.save archive of a pickle and storages. */
export function torchArchive(
  pickle: string,
  storages: Record<string, Uint8Array<ArrayBuffer>> = {},
): Uint8Array<ArrayBuffer> {
  const data = Object.entries(storages).map(([key, bytes]) => ({
    name: `archive/data/${key}`,
    data: bytes,
  }));
  return zip([{ name: "archive/data.pkl", data: bytesOf(pickle) }, ...data]);
}

const number = (value: number) => `I${value}\n`;
const tuple = (values: readonly number[]) => `(${values.map(number).join("")}t`;

/** The pickle of {"w": tensor}, in protocol 0 where that is readable. */
export function tensorPickle(
  o: {
    length: number;
    offset?: number;
    shape: number[];
    strides: number[];
    type?: string;
    key?: string;
  },
): string {
  const { length, offset = 0, shape, strides, type = "FloatStorage", key = "0" } = o;
  const storage = `(S'storage'\nctorch\n${type}\nS'${key}'\nS'cpu'\n${number(length)}tQ`;
  const call = `ctorch._utils\n_rebuild_tensor_v2\n(${storage}${number(offset)}${tuple(shape)}` +
    `${tuple(strides)}I00\nccollections\nOrderedDict\n(tRtR`;
  return `\x80\x02}S'w'\n${call}s.`;
}
