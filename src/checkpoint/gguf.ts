// Reads and writes GGUF, version 3, the format of llama.cpp: metadata, a list of tensors, then their numbers.
// Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

import { UserError } from "../errors.ts";
import { type BlockFormat, blockFormats, type BlockType } from "./blocks.ts";
import { openFile, readAt, writeAll } from "./files.ts";
import { checkFinite, findEntry, sizeOf, type TensorFile, type TensorSource } from "./tensors.ts";

/** A value of the metadata as it is written; numbers say their type. */
export type GgufValue =
  | { readonly type: "u32" | "i32" | "f32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "i32s"; readonly value: readonly number[] };

/** A tensor to be written. */
export interface GgufSource extends TensorSource {
  readonly type: BlockType;
}

const MAGIC = 0x46554747, VERSION = 3;
export const ALIGNMENT = 32;
/** Metadata with a vocabulary take a few megabytes. */
const LARGEST_HEADER = 64 * 2 ** 20;
const MOST_DIMENSIONS = 4;
const TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

const align = (bytes: number, alignment: number) => Math.ceil(bytes / alignment) * alignment;

interface Entry {
  readonly name: string;
  readonly shape: readonly number[];
  /** null for types that are not read. */
  readonly format: BlockFormat | null;
  readonly typeId: number;
  /** Bytes from the start of the file. */
  readonly start: number;
}

/** An open file, its header checked. */
export class GgufFile implements TensorFile {
  /** Numbers, booleans, strings, and arrays of them. */
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly entries: ReadonlyMap<string, Entry>;
  readonly #file: Deno.FsFile;

  /** @throws UserError when the file is missing or damaged, saying how */
  constructor(readonly path: string) {
    this.#file = openFile(path);
    try {
      const { size } = this.#file.statSync();
      const bytes = readAt(this.#file, 0, Math.min(size, LARGEST_HEADER));
      const header = new Header(bytes ?? new Uint8Array(0), path, size);
      this.metadata = header.metadata;
      this.entries = header.entries;
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  read(name: string, shape: readonly number[]): Float32Array {
    const { format, typeId, start } = findEntry(this, name, shape);
    if (format === null) {
      throw new UserError(
        `${this.path}: ${name} has GGUF's type ${typeId}; f32, f16 and q8_0 are read`,
      );
    }
    const bytes = readAt(this.#file, start, sizeOf(shape) / format.length * format.bytes);
    if (bytes === null) throw new UserError(`${this.path}: ends in the middle of ${name}`);
    return checkFinite(this.path, name, format.read(bytes));
  }

  close(): void {
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A header's contents, every length checked against what is there. */
class Header {
  readonly metadata = new Map<string, unknown>();
  readonly entries = new Map<string, Entry>();
  readonly #view: DataView<ArrayBuffer>;
  readonly #text = new TextDecoder();
  #at = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>, readonly path: string, readonly fileSize: number) {
    this.#view = new DataView(bytes.buffer);
    if (bytes.length < 24 || this.#u32() !== MAGIC) throw new UserError(`${path}: is no GGUF file`);
    const version = this.#u32();
    if (version !== 2 && version !== VERSION) {
      throw new UserError(`${path}: has GGUF's version ${version}; 2 and 3 are read`);
    }
    const tensors = this.#count("tensors", 24), values = this.#count("values", 13);
    for (let i = 0; i < values; i++) {
      const key = this.#string();
      if (this.metadata.has(key)) throw this.#damaged(`it holds ${JSON.stringify(key)} twice`);
      this.metadata.set(key, this.#value(this.#u32(), key));
    }
    const alignment = this.metadata.get("general.alignment") ?? ALIGNMENT;
    if (typeof alignment !== "number" || alignment < 1 || !Number.isInteger(Math.log2(alignment))) {
      throw this.#damaged(`its alignment ${alignment} is no power of two`);
    }
    const described = Array.from({ length: tensors }, () => this.#tensor(alignment));
    const dataStart = align(this.#at, alignment);
    for (const entry of described) this.#add({ ...entry, start: dataStart + entry.start });
    this.#checkOverlap();
  }

  /** The bytes that a tensor takes in the file. */
  #bytesOf({ shape, format }: Entry): number {
    return format === null ? 0 : sizeOf(shape) / format.length * format.bytes;
  }

  #add(entry: Entry): void {
    const { name, shape, format, start } = entry;
    if (this.entries.has(name)) throw this.#damaged(`it holds ${name} twice`);
    if (format !== null && shape.at(-1)! % format.length !== 0) {
      throw this.#damaged(`${name} has rows of ${shape.at(-1)}, no multiple of ${format.length}`);
    }
    const end = start + this.#bytesOf(entry);
    if (!(end <= this.fileSize)) {
      throw this.#damaged(`${name} ends at byte ${end}, the file has ${this.fileSize}`);
    }
    this.entries.set(name, entry);
  }

  #checkOverlap(): void {
    const ordered = [...this.entries.values()].sort((a, b) => a.start - b.start);
    ordered.forEach((entry, i) => {
      const before = ordered[i - 1];
      if (before === undefined || before.start + this.#bytesOf(before) <= entry.start) return;
      throw this.#damaged(`${entry.name} overlaps ${before.name}`);
    });
  }

  /** A tensor's description; its start counts from that of the data. */
  #tensor(alignment: number): Entry {
    const name = this.#string(), dimensions = this.#u32();
    if (dimensions < 1 || dimensions > MOST_DIMENSIONS) {
      throw this.#damaged(`${name} has ${dimensions} dimensions`);
    }
    // GGUF names the fastest dimension first.
    const shape = Array.from({ length: dimensions }, () => this.#u64()).reverse();
    const typeId = this.#u32(), start = this.#u64();
    if (!Number.isSafeInteger(sizeOf(shape))) throw this.#damaged(`${name} has shape [${shape}]`);
    if (start % alignment !== 0) throw this.#damaged(`${name} begins at ${start}, not aligned`);
    const format = Object.values(blockFormats).find(({ id }) => id === typeId) ?? null;
    return { name, shape, format, typeId, start };
  }

  #value(type: number, key: string): unknown {
    if (type === TYPES.array) {
      const item = this.#u32();
      if (item === TYPES.array) throw this.#damaged(`${JSON.stringify(key)} is a list of lists`);
      const length = this.#count(`values in ${JSON.stringify(key)}`, item === TYPES.string ? 8 : 1);
      return Array.from({ length }, () => this.#value(item, key));
    }
    if (type === TYPES.string) return this.#string();
    const read = NUMBERS[type];
    if (read === undefined) throw this.#damaged(`${JSON.stringify(key)} has type ${type}`);
    const at = this.#at;
    this.#take(read.bytes);
    return read.read(this.#view, at);
  }

  #take(length: number): void {
    const left = this.#view.byteLength - this.#at;
    if (!(length <= left)) {
      throw this.#damaged(`its header claims ${length} bytes where ${left} are left`);
    }
    this.#at += length;
  }

  #u32(): number {
    this.#take(4);
    return this.#view.getUint32(this.#at - 4, true);
  }

  #u64(): number {
    this.#take(8);
    return Number(this.#view.getBigUint64(this.#at - 8, true));
  }

  /** How many there are of something that takes at least so many bytes. */
  #count(what: string, bytes: number): number {
    const count = this.#u64(), left = this.#view.byteLength - this.#at;
    if (count <= left / bytes) return count;
    throw this.#damaged(`its header claims ${count} ${what} where ${left} bytes are left`);
  }

  #string(): string {
    const length = this.#u64(), start = this.#at;
    this.#take(length);
    return this.#text.decode(new Uint8Array(this.#view.buffer, start, length));
  }

  #damaged(what: string): UserError {
    return new UserError(`${this.path}: is damaged: ${what}`);
  }
}

/** How numbers are read, by GGUF's type. */
const NUMBERS: Readonly<
  Record<number, { bytes: number; read(view: DataView, at: number): number | boolean }>
> = {
  0: { bytes: 1, read: (view, at) => view.getUint8(at) },
  1: { bytes: 1, read: (view, at) => view.getInt8(at) },
  2: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  3: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  4: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  5: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  6: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  7: { bytes: 1, read: (view, at) => view.getUint8(at) !== 0 },
  10: { bytes: 8, read: (view, at) => Number(view.getBigUint64(at, true)) },
  11: { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  12: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
};

/** Writes a file and flushes it; tensors are asked for one at a time. */
export function writeGguf(
  path: string,
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufSource[],
): void {
  const header = new Writer();
  header.u32(MAGIC);
  header.u32(VERSION);
  header.u64(tensors.length);
  header.u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) header.entry(key, value);
  let offset = 0;
  for (const { name, shape, type } of tensors) {
    const { id, length, bytes } = blockFormats[type];
    header.string(name);
    header.u32(shape.length);
    for (const size of shape.toReversed()) header.u64(size);
    header.u32(id);
    header.u64(offset);
    offset = align(offset + sizeOf(shape) / length * bytes, ALIGNMENT);
  }
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  const write = (bytes: Uint8Array) => {
    writeAll(file, bytes);
    writeAll(file, new Uint8Array(align(bytes.length, ALIGNMENT) - bytes.length));
  };
  write(header.bytes());
  for (const { type, values } of tensors) write(blockFormats[type].write(values()));
  file.syncSync();
}

/** Bytes of a header, in an array that grows. */
class Writer {
  #bytes = new Uint8Array(65536);
  #length = 0;
  readonly #text = new TextEncoder();

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  u32(value: number): void {
    this.#reserve(4).setUint32(0, value, true);
  }

  u64(value: number): void {
    this.#reserve(8).setBigUint64(0, BigInt(value), true);
  }

  string(text: string): void {
    const bytes = this.#text.encode(text);
    this.u64(bytes.length);
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length - bytes.length);
  }

  entry(key: string, { type, value }: GgufValue): void {
    this.string(key);
    if (type === "strings" || type === "i32s") {
      this.u32(TYPES.array);
      this.u32(type === "strings" ? TYPES.string : TYPES.i32);
      this.u64(value.length);
      for (const item of value) {
        if (typeof item === "string") this.string(item);
        else this.#reserve(4).setInt32(0, item, true);
      }
      return;
    }
    this.u32(TYPES[type]);
    if (type === "string") this.string(value);
    else if (type === "bool") this.#reserve(1).setUint8(0, Number(value));
    else if (type === "f32") this.#reserve(4).setFloat32(0, value, true);
    else this.#reserve(4).setInt32(0, value, true);
  }

  /** The next bytes. */
  #reserve(length: number): DataView {
    const end = this.#length + length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    const view = new DataView(this.#bytes.buffer, this.#length, length);
    this.#length = end;
    return view;
  }
}
