// Reads zip archives with stored or deflated entries. Everything that an archive claims is checked against the
// file before anything is allocated, so that a hostile one costs no more memory than its own size allows.
// Source: PKWARE's APPNOTE.TXT, version 6.3.10

import { UserError } from "../errors.ts";
import { openFile, readAt } from "./files.ts";

/** A file within an archive. */
export interface ZipEntry {
  readonly name: string;
  readonly method: 0 | 8;
  readonly checksum: number;
  /** Bytes in the archive, and unpacked. */
  readonly packed: number;
  readonly size: number;
  /** First byte of its data in the archive. */
  readonly start: number;
}

const STORED = 0, DEFLATED = 8;
const END = 0x06054b50, END64 = 0x06064b50, LOCATOR64 = 0x07064b50;
const CENTRAL = 0x02014b50, LOCAL = 0x04034b50;
const END_BYTES = 22, END64_BYTES = 56, LOCATOR64_BYTES = 20, CENTRAL_BYTES = 46, LOCAL_BYTES = 30;
/** An end record may have a comment behind it. */
const LONGEST_COMMENT = 65535;
const LARGEST_DIRECTORY = 64 * 2 ** 20;
/** Deflate cannot pack better than this. */
const BEST_RATIO = 1032;
/** Deflated entries are unpacked in memory; all that a model can hold is less. */
const LARGEST_UNPACKED = 2 ** 32;
/** In a 32-bit field: the value is in the zip64 extra. */
const SEE_EXTRA = 0xffffffff;

/** An open archive, its directory checked. */
export class ZipFile implements Disposable {
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly #file: Deno.FsFile;

  /** @throws UserError when the file is missing, no archive or damaged, saying how */
  constructor(readonly path: string) {
    this.#file = openFile(path);
    try {
      this.entries = new Directory(this.#file, path).read();
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /**
   * A stored entry's bytes.
   * @throws UserError when they do not have its checksum
   */
  readStored(entry: ZipEntry): Uint8Array<ArrayBuffer> {
    if (entry.method !== STORED) throw new TypeError(`${entry.name} is deflated`);
    return this.#checked(entry, this.#packed(entry));
  }

  /**
   * An entry's bytes, stored or deflated.
   * @throws UserError when they do not have its size or checksum
   */
  async read(entry: ZipEntry): Promise<Uint8Array<ArrayBuffer>> {
    if (entry.method === STORED) return this.readStored(entry);
    const packed = new Blob([this.#packed(entry)]).stream();
    const bytes = new Uint8Array(entry.size);
    let done = 0;
    try {
      for await (const part of packed.pipeThrough(new DecompressionStream("deflate-raw"))) {
        if (done + part.length > bytes.length) break;
        bytes.set(part, done);
        done += part.length;
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      done = -1;
    }
    if (done !== bytes.length) throw this.#damaged(`${entry.name} cannot be unpacked`);
    return this.#checked(entry, bytes);
  }

  close(): void {
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #packed(entry: ZipEntry): Uint8Array<ArrayBuffer> {
    const bytes = readAt(this.#file, entry.start, entry.packed);
    if (bytes === null) throw this.#damaged(`it ends in the middle of ${entry.name}`);
    return bytes;
  }

  #checked(entry: ZipEntry, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    if (crc32(bytes) === entry.checksum) return bytes;
    throw this.#damaged(`${entry.name} does not have its checksum`);
  }

  #damaged(what: string): UserError {
    return new UserError(`${this.path}: is damaged: ${what}`);
  }
}

/** Reads the list of entries that stands at an archive's end. */
class Directory {
  readonly #size: number;

  constructor(readonly file: Deno.FsFile, readonly path: string) {
    this.#size = file.statSync().size;
  }

  read(): Map<string, ZipEntry> {
    const { start, length, count } = this.#place();
    if (length > LARGEST_DIRECTORY || start + length > this.#size) {
      throw this.#damaged(`its list of entries claims ${length} bytes, the file has ${this.#size}`);
    }
    if (count > length / CENTRAL_BYTES) {
      throw this.#damaged(`it claims ${count} entries in a list of ${length} bytes`);
    }
    const view = this.#view(start, length);
    const entries = new Map<string, ZipEntry>();
    let at = 0, unpacked = 0;
    for (let i = 0; i < count; i++) {
      const { entry, bytes } = this.#entry(view, at, start);
      if (entries.has(entry.name)) throw this.#damaged(`it holds ${entry.name} twice`);
      if (entry.method === DEFLATED) unpacked += entry.size;
      entries.set(entry.name, entry);
      at += bytes;
    }
    if (unpacked > LARGEST_UNPACKED) {
      throw this.#damaged(`it claims to unpack to ${unpacked} bytes, at most ${LARGEST_UNPACKED}`);
    }
    this.#checkOverlap([...entries.values()]);
    return entries;
  }

  /** Where the list lies. */
  #place(): { start: number; length: number; count: number } {
    const tail = Math.min(this.#size, END_BYTES + LONGEST_COMMENT);
    const view = this.#view(this.#size - tail, tail);
    let end = tail - END_BYTES;
    while (end >= 0 && view.getUint32(end, true) !== END) end--;
    if (end < 0) {
      throw new UserError(
        `${this.path}: is no zip archive, or is cut off; torch.save writes one since PyTorch 1.6`,
      );
    }
    const locator = end - LOCATOR64_BYTES;
    if (locator >= 0 && view.getUint32(locator, true) === LOCATOR64) {
      const record = this.#view(number64(view, locator + 8), END64_BYTES);
      if (record.getUint32(0, true) !== END64) throw this.#damaged("its end record is not there");
      return {
        count: number64(record, 32),
        length: number64(record, 40),
        start: number64(record, 48),
      };
    }
    return {
      count: view.getUint16(end + 10, true),
      length: view.getUint32(end + 12, true),
      start: view.getUint32(end + 16, true),
    };
  }

  #entry(
    view: DataView<ArrayBuffer>,
    at: number,
    dataEnd: number,
  ): { entry: ZipEntry; bytes: number } {
    const left = view.byteLength - at;
    if (left < CENTRAL_BYTES || view.getUint32(at, true) !== CENTRAL) {
      throw this.#damaged("its list of entries is broken");
    }
    const nameLength = view.getUint16(at + 28, true), extraLength = view.getUint16(at + 30, true);
    const bytes = CENTRAL_BYTES + nameLength + extraLength + view.getUint16(at + 32, true);
    if (bytes > left) throw this.#damaged("its list of entries is broken");
    const name = new TextDecoder().decode(
      new Uint8Array(view.buffer, view.byteOffset + at + CENTRAL_BYTES, nameLength),
    );
    const wide = this.#wideFields(view, at + CENTRAL_BYTES + nameLength, extraLength);
    const field = (offset: number) => {
      const value = view.getUint32(at + offset, true);
      return value === SEE_EXTRA ? wide.shift() ?? value : value;
    };
    // The extra's fields stand in this order, those alone that did not fit.
    const size = field(24), packed = field(20), local = field(42);
    const method = view.getUint16(at + 10, true);
    if (view.getUint16(at + 8, true) & 1) throw this.#damaged(`${name} is encrypted`);
    if (method !== STORED && method !== DEFLATED) {
      throw this.#damaged(`${name} is packed by method ${method}, not stored or deflated`);
    }
    if (method === STORED ? size !== packed : size > packed * BEST_RATIO) {
      throw this.#damaged(`${name} claims ${size} bytes out of ${packed}`);
    }
    const start = this.#dataStart(name, local, dataEnd);
    if (!(start + packed <= dataEnd)) {
      throw this.#damaged(`${name} claims ${packed} bytes, the file has ${dataEnd - start}`);
    }
    const checksum = view.getUint32(at + 16, true);
    return { entry: { name, method, checksum, packed, size, start }, bytes };
  }

  /** The 64-bit numbers of a zip64 extra. */
  #wideFields(view: DataView<ArrayBuffer>, at: number, length: number): number[] {
    const end = at + length;
    while (at + 4 <= end) {
      const id = view.getUint16(at, true), bytes = view.getUint16(at + 2, true);
      at += 4;
      if (id === 1 && at + bytes <= end) {
        return Array.from({ length: bytes >> 3 }, (_, i) => number64(view, at + 8 * i));
      }
      at += bytes;
    }
    return [];
  }

  /** Behind the entry's own header, whose name and extra may be longer than the list says. */
  #dataStart(name: string, local: number, dataEnd: number): number {
    if (!(local + LOCAL_BYTES <= dataEnd)) throw this.#damaged(`${name} lies outside the file`);
    const header = this.#view(local, LOCAL_BYTES);
    if (header.getUint32(0, true) !== LOCAL) {
      throw this.#damaged(`${name} is not where it should be`);
    }
    return local + LOCAL_BYTES + header.getUint16(26, true) + header.getUint16(28, true);
  }

  /** Entries that share bytes are how small archives unpack to huge ones. */
  #checkOverlap(entries: readonly ZipEntry[]): void {
    const ordered = entries.filter(({ packed }) => packed > 0).sort((a, b) => a.start - b.start);
    ordered.forEach(({ name, start }, i) => {
      const before = ordered[i - 1];
      if (before === undefined || before.start + before.packed <= start) return;
      throw this.#damaged(`${name} overlaps ${before.name}`);
    });
  }

  #view(start: number, length: number): DataView<ArrayBuffer> {
    const bytes = start + length <= this.#size ? readAt(this.file, start, length) : null;
    if (bytes === null) throw this.#damaged("it is cut off");
    return new DataView(bytes.buffer);
  }

  #damaged(what: string): UserError {
    return new UserError(`${this.path}: is damaged: ${what}`);
  }
}

function number64(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

/** crc32 of one byte behind 0 to 3 zero bytes. */
const CRC = Array.from({ length: 4 }, () => new Uint32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0xedb88320 : crc >>> 1;
  CRC[0]![byte] = crc;
}
for (let byte = 0; byte < 256; byte++) {
  for (let zeros = 1; zeros < 4; zeros++) {
    const before = CRC[zeros - 1]![byte]!;
    CRC[zeros]![byte] = before >>> 8 ^ CRC[0]![before & 255]!;
  }
}

/** Zip's checksum, four bytes at a time. */
export function crc32(bytes: Uint8Array): number {
  const [t0, t1, t2, t3] = CRC as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
  let crc = 0xffffffff, i = 0;
  for (; i + 4 <= bytes.length; i += 4) {
    crc ^= bytes[i]! | bytes[i + 1]! << 8 | bytes[i + 2]! << 16 | bytes[i + 3]! << 24;
    crc = t3[crc & 255]! ^ t2[crc >>> 8 & 255]! ^ t1[crc >>> 16 & 255]! ^ t0[crc >>> 24]!;
  }
  for (; i < bytes.length; i++) crc = crc >>> 8 ^ t0[(crc ^ bytes[i]!) & 255]!;
  return ~crc >>> 0;
}
