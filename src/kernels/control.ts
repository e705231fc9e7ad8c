// The control block at the foot of the shared memory, through which threads are given work.

/** Byte addresses. */
export const CONTROL = 64;
const ARGUMENTS = 128;
const MESSAGE = 512;
/** First byte behind the control block: the kernels' own constants, such as logarithm tables, begin here. */
const CONTROL_END = 1024;
/** First byte that is free for scratch and arena. */
export const FREE_START = 65536;

export const MOST_ARGUMENTS = (MESSAGE - ARGUMENTS) / 8;

// Words of the control block.
/** Counts dispatches; workers wait for it to change. */
export const GENERATION = 0;
/** First index of the range that nobody took yet. */
export const NEXT = 1;
/** Workers that are done with the current dispatch. */
export const FINISHED = 2;
/** Number of the kernel, or -1 to end. */
export const KERNEL = 3;
export const TOTAL = 4;
export const CHUNK = 5;
export const ARGUMENT_COUNT = 6;
/** Bytes of the message of a worker that failed, 0 when none did. */
export const FAILED = 7;

export type Kernel = (start: number, end: number, ...args: number[]) => void;

/** Views on the control block, and what both sides do with it. */
export class Control {
  readonly words: Int32Array;
  readonly #arguments: Float64Array;
  readonly #message: Uint8Array;

  constructor(memory: WebAssembly.Memory) {
    this.words = new Int32Array(memory.buffer, CONTROL, 16);
    this.#arguments = new Float64Array(memory.buffer, ARGUMENTS, MOST_ARGUMENTS);
    this.#message = new Uint8Array(memory.buffer, MESSAGE, CONTROL_END - MESSAGE);
  }

  writeArguments(args: readonly number[]): void {
    if (args.length > MOST_ARGUMENTS) throw new RangeError(`${args.length} kernel arguments`);
    this.#arguments.set(args);
    this.words[ARGUMENT_COUNT] = args.length;
  }

  readArguments(): number[] {
    return Array.from(this.#arguments.subarray(0, this.words[ARGUMENT_COUNT]));
  }

  /** Takes chunks of the range until none is left. */
  work(kernel: Kernel, args: readonly number[]): void {
    const total = this.words[TOTAL]!, chunk = this.words[CHUNK]!;
    for (;;) {
      const start = Atomics.add(this.words, NEXT, chunk);
      if (start >= total) return;
      kernel(start, Math.min(total, start + chunk), ...args);
    }
  }

  /** Leaves a failure for the calling thread to find, and lets the others run out of work. */
  fail(error: unknown): void {
    const text = new TextEncoder().encode(String(error)).subarray(0, this.#message.length);
    if (Atomics.compareExchange(this.words, FAILED, 0, Math.max(1, text.length)) !== 0) return;
    this.#message.set(text);
    Atomics.store(this.words, NEXT, this.words[TOTAL]!);
  }

  /** The message of a worker that failed, once. */
  takeFailure(): string | null {
    const length = Atomics.exchange(this.words, FAILED, 0);
    if (length === 0) return null;
    return new TextDecoder().decode(this.#message.slice(0, length));
  }
}
