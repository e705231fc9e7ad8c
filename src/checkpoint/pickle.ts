// Reads Python's pickles without running anything: a small stack machine that makes plain values, and calls
// only the functions of an allow-list. Source: CPython's Lib/pickletools.py, protocols 0 to 5.

import { UserError } from "../errors.ts";

/** A function or class that a pickle names. */
export class Global {
  constructor(readonly name: string) {}
}

export interface PickleOptions {
  /** The file, for errors. */
  readonly path: string;
  /** Names that may be called, such as "collections.OrderedDict"; null only names something. */
  readonly globals: Readonly<Record<string, ((...args: unknown[]) => unknown) | null>>;
  /** What stands for something outside the pickle. */
  persistent(id: unknown): unknown;
}

/**
 * The value of a pickle: None is null, tuples, lists and sets are arrays, dictionaries are Maps.
 * @throws UserError for a name that is not allowed, and for a damaged pickle
 */
export function readPickle(bytes: Uint8Array<ArrayBuffer>, options: PickleOptions): unknown {
  return new Machine(bytes, options).run();
}

/** Marks where a run of items begins on the stack. */
const MARK = Symbol("mark");

class Machine {
  readonly #view: DataView<ArrayBuffer>;
  readonly #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();
  #at = 0;

  constructor(readonly bytes: Uint8Array<ArrayBuffer>, readonly options: PickleOptions) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): unknown {
    for (;;) {
      const at = this.#at, code = String.fromCharCode(this.#byte());
      if (code === ".") return this.#pop();
      const operation = OPERATIONS[code];
      if (operation === undefined) {
        const byte = code.charCodeAt(0).toString(16).padStart(2, "0");
        throw this.#damaged(`byte ${at} is 0x${byte}, which is no instruction of a plain pickle`);
      }
      operation(this);
    }
  }

  // Reading what follows an instruction.

  #take(length: number): Uint8Array<ArrayBuffer> {
    if (!(length >= 0 && length <= this.bytes.length - this.#at)) {
      throw this.#damaged(
        `it claims ${length} bytes where ${this.bytes.length - this.#at} are left`,
      );
    }
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }

  #byte(): number {
    return this.#take(1)[0]!;
  }

  /** A number of 1, 2, 4 or 8 bytes. */
  number(length: 1 | 2 | 4 | 8): number {
    const at = this.#at;
    this.#take(length);
    if (length === 8) return Number(this.#view.getBigUint64(at, true));
    if (length === 4) return this.#view.getUint32(at, true);
    return length === 2 ? this.#view.getUint16(at, true) : this.bytes[at]!;
  }

  /** A float, big-endian as pickles have it. */
  float(): number {
    const at = this.#at;
    this.#take(8);
    return this.#view.getFloat64(at);
  }

  /** A whole number in two's complement, approximate above 2^53. */
  long(length: number): number {
    const bytes = this.#take(length);
    let value = 0;
    for (let i = length - 1; i >= 0; i--) value = value * 256 + bytes[i]!;
    return length > 0 && bytes[length - 1]! >= 128 ? value - 256 ** length : value;
  }

  data(length: number): Uint8Array<ArrayBuffer> {
    return this.#take(length);
  }

  text(length: number): string {
    return new TextDecoder().decode(this.#take(length));
  }

  /** The rest of the line. */
  line(): string {
    const end = this.bytes.indexOf(10, this.#at);
    if (end < 0) throw this.#damaged("it ends within a line");
    const text = this.text(end - this.#at);
    this.#at++;
    return text;
  }

  // The stack and the memo.

  push(value: unknown): void {
    this.#stack.push(value);
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw this.#damaged("it takes a value that is not there");
    return this.#stack.pop();
  }

  pop(): unknown {
    const value = this.#pop();
    if (value === MARK) throw this.#damaged("it takes a value that is not there");
    return value;
  }

  /** The topmost value, which stays. */
  top(): unknown {
    const value = this.pop();
    this.push(value);
    return value;
  }

  mark(): void {
    this.push(MARK);
  }

  /** Everything above the last mark, which goes. */
  items(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) throw this.#damaged("it takes a run of values that is not there");
    const items = this.#stack.splice(mark);
    items.shift();
    return items;
  }

  pops(count: number): unknown[] {
    return Array.from({ length: count }, () => this.pop()).reverse();
  }

  remember(key: number): void {
    this.#memo.set(key, this.top());
  }

  memoize(): void {
    this.remember(this.#memo.size);
  }

  recall(key: number): void {
    if (!this.#memo.has(key)) throw this.#damaged(`it recalls value ${key}, which it never kept`);
    this.push(this.#memo.get(key));
  }

  // Building values.

  extend(items: readonly unknown[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw this.#damaged("it appends to something that is no list");
    for (const item of items) list.push(item);
  }

  /** Puts keys and values, in turns, into the dictionary on top. */
  set(items: readonly unknown[]): void {
    const map = this.top();
    if (!(map instanceof Map) || items.length % 2 !== 0) {
      throw this.#damaged("it sets an item of something that is no dictionary");
    }
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  /** @throws UserError for a name that is not on the list */
  global(module: unknown, name: unknown): void {
    const full = `${module}.${name}`;
    if (!Object.hasOwn(this.options.globals, full)) {
      throw new UserError(
        `${this.options.path}: names ${JSON.stringify(full)}, which no weights need; ` +
          `it was not run, and the file is not read`,
      );
    }
    this.push(new Global(full));
  }

  call(): void {
    const [callee, args] = this.pops(2);
    const make = callee instanceof Global ? this.options.globals[callee.name] : null;
    if (typeof make !== "function" || !Array.isArray(args)) {
      throw this.#damaged("it calls something that is no function");
    }
    this.push(make(...args));
  }

  /** An object's own fields, which no value of ours has. */
  build(): void {
    this.pop();
    this.top();
  }

  persistent(id: unknown): void {
    this.push(this.options.persistent(id));
  }

  #damaged(what: string): UserError {
    return new UserError(`${this.options.path}: its pickle is damaged: ${what}`);
  }
}

/** Text of an old string instruction, within its quotes. */
function unquoted(line: string): string {
  return line.replace(/^(['"])(.*)\1$/s, "$2");
}

/** A whole number, or one of the two booleans of protocol 1. */
function decimal(line: string): number | boolean {
  if (line === "01" || line === "00") return line === "01";
  return Number.parseInt(line, 10);
}

function mapOf(items: readonly unknown[]): Map<unknown, unknown> {
  const map = new Map();
  for (let i = 0; i + 1 < items.length; i += 2) map.set(items[i], items[i + 1]);
  return map;
}

/** Each instruction by its byte. */
const OPERATIONS: Readonly<Record<string, (m: Machine) => void>> = {
  "\x80": (m) => m.number(1), // protocol
  "\x95": (m) => m.number(8), // frame
  "(": (m) => m.mark(),
  "0": (m) => m.pop(),
  "1": (m) => m.items(),
  "2": (m) => m.push(m.top()),
  N: (m) => m.push(null),
  "\x88": (m) => m.push(true),
  "\x89": (m) => m.push(false),
  I: (m) => m.push(decimal(m.line())),
  L: (m) => m.push(Number.parseInt(m.line(), 10)),
  F: (m) => m.push(Number(m.line())),
  J: (m) => m.push(m.number(4) | 0),
  K: (m) => m.push(m.number(1)),
  M: (m) => m.push(m.number(2)),
  "\x8a": (m) => m.push(m.long(m.number(1))),
  "\x8b": (m) => m.push(m.long(m.number(4))),
  G: (m) => m.push(m.float()),
  S: (m) => m.push(unquoted(m.line())),
  V: (m) => m.push(m.line()),
  U: (m) => m.push(m.text(m.number(1))),
  T: (m) => m.push(m.text(m.number(4))),
  "\x8c": (m) => m.push(m.text(m.number(1))),
  X: (m) => m.push(m.text(m.number(4))),
  "\x8d": (m) => m.push(m.text(m.number(8))),
  C: (m) => m.push(m.data(m.number(1))),
  B: (m) => m.push(m.data(m.number(4))),
  "\x8e": (m) => m.push(m.data(m.number(8))),
  "]": (m) => m.push([]),
  l: (m) => m.push(m.items()),
  a: (m) => m.extend([m.pop()]),
  e: (m) => m.extend(m.items()),
  ")": (m) => m.push([]),
  t: (m) => m.push(m.items()),
  "\x85": (m) => m.push(m.pops(1)),
  "\x86": (m) => m.push(m.pops(2)),
  "\x87": (m) => m.push(m.pops(3)),
  "}": (m) => m.push(new Map()),
  d: (m) => m.push(mapOf(m.items())),
  s: (m) => m.set(m.pops(2)),
  u: (m) => m.set(m.items()),
  "\x8f": (m) => m.push([]), // set
  "\x90": (m) => m.extend(m.items()),
  "\x91": (m) => m.push(m.items()), // frozen set
  p: (m) => m.remember(Number.parseInt(m.line(), 10)),
  q: (m) => m.remember(m.number(1)),
  r: (m) => m.remember(m.number(4)),
  "\x94": (m) => m.memoize(),
  g: (m) => m.recall(Number.parseInt(m.line(), 10)),
  h: (m) => m.recall(m.number(1)),
  j: (m) => m.recall(m.number(4)),
  c: (m) => m.global(m.line(), m.line()),
  "\x93": (m) => {
    const [module, name] = m.pops(2);
    m.global(module, name);
  },
  R: (m) => m.call(),
  "\x81": (m) => m.call(), // object of a class
  b: (m) => m.build(),
  Q: (m) => m.persistent(m.pop()),
};
