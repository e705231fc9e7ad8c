// Hands out pieces of the one shared memory. Allocation only moves a pointer up; a mark taken before
// can be released, as activations are at the end of a step.

import { UserError } from "../errors.ts";

export type ElementType = "f32" | "i32" | "bf16" | "u8";

/** A dense row-major array in the shared memory. */
export interface Tensor {
  /** Byte address, a multiple of 64. */
  readonly pointer: number;
  readonly shape: readonly number[];
  readonly type: ElementType;
}

const ALIGNMENT = 64; // a cache line, and the sixteen floats that kernels may touch at a time
const BYTES: Record<ElementType, number> = { f32: 4, i32: 4, bf16: 2, u8: 1 };

/** The number of elements of a shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A stack of allocations between two addresses. */
export class Arena {
  #next: number;
  /** Behind it, memory was never handed out and so is still zero. */
  #untouched: number;

  constructor(readonly memory: WebAssembly.Memory, start: number, readonly end: number) {
    this.#next = this.#untouched = Math.ceil(start / ALIGNMENT) * ALIGNMENT;
  }

  /** Bytes in use. */
  get used(): number {
    return this.#next;
  }

  /** The first byte that was never in use. */
  get highest(): number {
    return this.#untouched;
  }

  mark(): number {
    return this.#next;
  }

  /** Gives back all that was allocated since the mark. */
  release(mark: number): void {
    this.#next = mark;
  }

  /** Runs `work` and gives back what it allocated. */
  scope<T>(work: () => T): T {
    const mark = this.mark();
    try {
      return work();
    } finally {
      this.release(mark);
    }
  }

  /**
   * An uninitialised tensor; its memory is padded to a multiple of 64 bytes.
   * @throws UserError when the address space is full
   */
  allocate(shape: readonly number[], type: ElementType = "f32"): Tensor {
    const bytes = Math.ceil(elementCount(shape) * BYTES[type] / ALIGNMENT) * ALIGNMENT;
    const pointer = this.#next;
    if (!(pointer + bytes <= this.end)) {
      throw new UserError(
        `out of memory: ${mebibytes(pointer + bytes)} are needed, WebAssembly can address ` +
          `${mebibytes(this.end)}; use a smaller --model, --batch-size or --max-tokens, or ` +
          `in training --moments int8, --recompute on or --precision bf16`,
      );
    }
    this.#next = pointer + bytes;
    this.#untouched = Math.max(this.#untouched, this.#next);
    return { pointer, shape, type };
  }

  /** A tensor of zeros. Memory that was never in use is not touched, so it costs nothing yet. */
  zeros(shape: readonly number[], type: ElementType = "f32"): Tensor {
    const stale = this.#untouched;
    const tensor = this.allocate(shape, type);
    const until = Math.min(stale, this.#next);
    if (until > tensor.pointer) {
      new Uint8Array(this.memory.buffer, tensor.pointer, until - tensor.pointer).fill(0);
    }
    return tensor;
  }
}

function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20).toLocaleString("en")} MiB`;
}
