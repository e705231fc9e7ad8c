// The safetensors format: an 8-byte length, a JSON header, then the tensors' bytes one behind the other.
// Tensors are read and written one at a time, so that a file may be larger than memory.
// Source: https://github.com/huggingface/safetensors

import { crc32 } from "node:zlib";
import { UserError } from "../errors.ts";
import { openFile, readAll, readAt, writeAll } from "./files.ts";
import { narrowBfloat16, widenBfloat16, widenFloat16 } from "./halves.ts";
import { checkFinite, findEntry, sizeOf, type TensorFile, type TensorSource } from "./tensors.ts";

/** Bytes of the number formats that are read; all become f32. */
const FLOATS = { F64: 8, F32: 4, F16: 2, BF16: 2 } as const;
/** Those of tensors that may be there, such as masks, but that no model reads. */
const OTHERS = { I64: 8, U64: 8, I32: 4, U32: 4, I16: 2, U16: 2, I8: 1, U8: 1, BOOL: 1 } as const;
const BYTES = { ...FLOATS, ...OTHERS } as const;
type Type = keyof typeof BYTES;

/** A tensor's place in a file. */
export interface TensorEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: Type;
  /** Bytes from the end of the header. */
  readonly start: number;
  readonly end: number;
  /** CRC-32 of its bytes, where the file says it. */
  readonly checksum?: string;
}

/** A tensor to be written that may have a number format of its own. */
export interface FloatSource extends TensorSource {
  readonly type?: "F32" | "BF16";
}

/** A tensor of whole numbers to be written, which stay such: I32, or bytes. */
export interface IntegerSource {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type?: "I32" | "U8";
  integers(): Int32Array | Uint8Array;
}

/** The specification's own limit. */
const LONGEST_HEADER = 100_000_000;

/** Our entry of the header's metadata: the tensors' CRC-32, 8 hexadecimal digits each, in the order of their bytes. */
const CHECKSUMS = "crc32";
const DIGITS = 8;

const checksumOf = (bytes: Uint8Array) => crc32(bytes).toString(16).padStart(DIGITS, "0");

/** Writes tensors as f32 or rounded to bf16, with checksums and what `metadata` says, and flushes the file. */
export function writeSafetensors(
  path: string,
  tensors: readonly (FloatSource | IntegerSource)[],
  type: "F32" | "BF16" = "F32",
  metadata: Readonly<Record<string, string>> = {},
): void {
  // The checksums take their place when the bytes are written.
  const unknown = "-".repeat(DIGITS * tensors.length);
  const header: Record<string, unknown> = {
    __metadata__: { format: "pt", ...metadata, [CHECKSUMS]: unknown },
  };
  let offset = 0;
  for (const tensor of tensors) {
    const { name, shape } = tensor;
    const own = tensor.type ?? ("integers" in tensor ? "I32" : type);
    const end = offset + sizeOf(shape) * BYTES[own];
    header[name] = { dtype: own, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = JSON.stringify(header);
  // Padded with spaces, so that the data begin at a multiple of 8.
  const text = new TextEncoder().encode(json + " ".repeat((8 - json.length % 8) % 8));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  writeAll(file, length);
  writeAll(file, text);
  let checksums = "";
  for (const tensor of tensors) {
    const values = numbersOf(tensor, type);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    checksums += checksumOf(bytes);
    writeAll(file, bytes);
  }
  file.seekSync(length.length + json.indexOf(unknown), Deno.SeekMode.Start);
  writeAll(file, new TextEncoder().encode(checksums));
  file.syncSync();
}

/** What is written of a tensor. */
function numbersOf(tensor: FloatSource | IntegerSource, type: "F32" | "BF16") {
  if ("integers" in tensor) return tensor.integers();
  return (tensor.type ?? type) === "F32" ? tensor.values() : narrowBfloat16(tensor.values());
}

/** An open file of tensors, its header checked. */
export class SafetensorsFile implements TensorFile {
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** What the header says beside its tensors; nothing of it is checked. */
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly #file: Deno.FsFile;
  readonly #dataStart: number;

  /** @throws UserError when the file is missing or damaged, saying how */
  constructor(readonly path: string) {
    this.#file = openFile(path);
    try {
      const { entries, metadata, dataStart } = readHeader(this.#file, path);
      this.entries = entries;
      this.metadata = metadata;
      this.#dataStart = dataStart;
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /**
   * A tensor's values, widened to f32.
   * @throws UserError when it is missing, has another shape, or holds a value that is not finite
   */
  read(name: string, shape: readonly number[]): Float32Array {
    const { type, start, end, checksum } = findEntry(this, name, shape);
    if (!Object.hasOwn(FLOATS, type)) {
      throw new UserError(`${this.path}: ${name} holds ${type}, no floating-point numbers`);
    }
    const bytes = this.#bytes(name, start, end, checksum);
    return checkFinite(this.path, name, widen(bytes, type));
  }

  /**
   * A tensor of whole numbers.
   * @throws UserError when it is missing, damaged, has another shape, or holds other numbers
   */
  readIntegers(name: string, shape: readonly number[]): Int32Array {
    const { type, start, end, checksum } = findEntry(this, name, shape);
    if (type !== "I32") throw new UserError(`${this.path}: ${name} holds ${type}, not I32`);
    return new Int32Array(this.#bytes(name, start, end, checksum).buffer);
  }

  /**
   * A tensor of bytes.
   * @throws UserError when it is missing, damaged, has another shape, or holds other numbers
   */
  readBytes(name: string, shape: readonly number[]): Uint8Array {
    const { type, start, end, checksum } = findEntry(this, name, shape);
    if (type !== "U8") throw new UserError(`${this.path}: ${name} holds ${type}, not U8`);
    return this.#bytes(name, start, end, checksum);
  }

  #bytes(name: string, start: number, end: number, checksum: string | undefined) {
    const bytes = readAt(this.#file, this.#dataStart + start, end - start);
    if (bytes === null) throw new UserError(`${this.path}: ends in the middle of ${name}`);
    if (checksum !== undefined && checksum !== checksumOf(bytes)) {
      throw new UserError(`${this.path}: is damaged: the bytes of ${name} have changed`);
    }
    return bytes;
  }

  close(): void {
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function widen({ buffer }: Uint8Array<ArrayBuffer>, type: Type): Float32Array {
  if (type === "F32") return new Float32Array(buffer);
  if (type === "F64") return Float32Array.from(new Float64Array(buffer));
  return (type === "F16" ? widenFloat16 : widenBfloat16)(new Uint16Array(buffer));
}

function readHeader(file: Deno.FsFile, path: string) {
  const damaged = (what: string) => new UserError(`${path}: is damaged: ${what}`);
  const { size } = Deno.statSync(path); // embedded files of a compiled program have no statSync of their own
  const prefix = new Uint8Array(8);
  if (!readAll(file, prefix)) throw damaged(`${size} bytes are too few for a header`);
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  if (length > LONGEST_HEADER || 8 + length > size) {
    throw damaged(`its header claims ${length} bytes, the file has ${size}`);
  }
  const bytes = new Uint8Array(length);
  if (!readAll(file, bytes)) throw damaged("its header is cut off");
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw damaged("its header is not valid JSON");
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw damaged("its header is no JSON object");
  }
  const entries = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => entryOf(name, value, damaged))
    .sort((a, b) => a.start - b.start);
  let expected = 0;
  for (const { name, start, end } of entries) {
    if (start !== expected) throw damaged(`${name} begins at ${start} instead of ${expected}`);
    expected = end;
  }
  if (expected !== size - 8 - length) {
    throw damaged(`its tensors take ${expected} bytes, the file has ${size - 8 - length} for them`);
  }
  const { __metadata__ } = header as { __metadata__?: Record<string, unknown> | null };
  const metadata = __metadata__ ?? {};
  const checksums = checksumsOf(metadata, entries.length);
  const checked = entries.map((entry, i) => ({
    ...entry,
    checksum: checksums?.slice(i * DIGITS, (i + 1) * DIGITS),
  }));
  return {
    entries: new Map(checked.map((entry) => [entry.name, entry])),
    metadata,
    dataStart: 8 + length,
  };
}

/** The header's checksums; undefined in files of others. */
function checksumsOf(metadata: Record<string, unknown>, count: number): string | undefined {
  const value = metadata[CHECKSUMS];
  return typeof value === "string" && value.length === count * DIGITS ? value : undefined;
}

function entryOf(name: string, value: unknown, damaged: (what: string) => UserError): TensorEntry {
  const { dtype, shape, data_offsets } = (value ?? {}) as Record<string, unknown>;
  if (!isType(dtype)) {
    throw damaged(`${name} has the type ${JSON.stringify(dtype)}, not F32, F16 or BF16`);
  }
  if (!isSizes(shape)) throw damaged(`${name} has no valid shape`);
  if (!isSizes(data_offsets) || data_offsets.length !== 2) {
    throw damaged(`${name} has no valid data_offsets`);
  }
  const [start, end] = data_offsets as [number, number];
  const bytes = sizeOf(shape) * BYTES[dtype];
  if (end - start !== bytes) {
    throw damaged(`${name} of shape [${shape}] takes ${bytes} bytes, not ${end - start}`);
  }
  return { name, shape, type: dtype, start, end };
}

function isType(value: unknown): value is Type {
  return typeof value === "string" && Object.hasOwn(BYTES, value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}
