// The WebAssembly runtime: module, shared memory, arena and threads of one process or test.

import { UserError } from "../errors.ts";
import { Arena, elementCount, type Tensor } from "./arena.ts";
import { FREE_START } from "./control.ts";
import { Pool } from "./pool.ts";
import { probeTiles, type TileName } from "./probe.ts";

export interface RuntimeOptions {
  /** Threads at work, the calling one included. Default: all cores. */
  readonly threads?: number;
  /** The GEMM microkernel; "auto" takes the faster of those that compute correctly. */
  readonly kernel?: TileName | "auto";
}

/** All that a 32-bit WebAssembly memory can address. Pages cost nothing until they are touched. */
const MEMORY_PAGES = 65536;
/** Kernels compare with the first address behind an array, which must not wrap to 0. */
const ARENA_END = MEMORY_PAGES * 65536 - 65536;
/**
 * Scratch of one thread: GEMM's packed B (0.8 MB) and one attention head: 4 T D + 96 (3 T + 2 D) floats,
 * some 2.5 MB for T = 1,024, D = 64 and 16 MB for T = 4,096, D = 128.
 */
const SCRATCH_BYTES = 20 * 2 ** 20;
const MOST_THREADS = 64;

/** Owner of the shared memory and the threads. Kernels are called through the wrappers beside it. */
export class Runtime {
  readonly arena: Arena;
  readonly #f32: Float32Array;
  readonly #i32: Int32Array;

  private constructor(
    readonly memory: WebAssembly.Memory,
    readonly pool: Pool,
    /** The GEMM microkernel in use. */
    readonly kernel: TileName,
    /** This thread's exports, for yardsticks that run alone. */
    readonly exports: Record<string, (...args: number[]) => number>,
  ) {
    this.arena = new Arena(memory, Runtime.reserved(pool.threads), ARENA_END);
    this.#f32 = new Float32Array(memory.buffer);
    this.#i32 = new Int32Array(memory.buffer);
  }

  /** Bytes of the address space that a number of threads takes before anything is allocated. */
  static reserved(threads = defaultThreads()): number {
    return FREE_START + threads * SCRATCH_BYTES;
  }

  /**
   * Compiles the kernels and starts the threads.
   * @throws UserError when kernels.wasm is missing or the number of threads is out of range
   */
  static async start(options: RuntimeOptions = {}): Promise<Runtime> {
    const threads = options.threads ?? defaultThreads();
    if (!Number.isInteger(threads) || threads < 1 || threads > MOST_THREADS) {
      throw new UserError(`--threads must be from 1 to ${MOST_THREADS}, got ${threads}`);
    }
    const module = await WebAssembly.compile(readModule());
    const memory = new WebAssembly.Memory({
      initial: MEMORY_PAGES,
      maximum: MEMORY_PAGES,
      shared: true,
    });
    const { exports } = new WebAssembly.Instance(module, { env: { memory } });
    const call = exports as Record<string, (...args: number[]) => number>;
    const scratchOf = (thread: number) => FREE_START + thread * SCRATCH_BYTES;
    call.set_scratch!(scratchOf(0));
    const wanted = options.kernel ?? "auto";
    const kernel = wanted === "auto" ? probeTiles(memory, call, Runtime.reserved(threads)) : wanted;
    const wideTile = kernel === "6x16";
    call.choose_tile!(Number(wideTile));
    const starts = Array.from(
      { length: threads - 1 },
      (_, i) => ({ module, memory, scratch: scratchOf(i + 1), wideTile, kernels: [] }),
    );
    return new Runtime(memory, await Pool.start(memory, exports, starts), kernel, call);
  }

  get threads(): number {
    return this.pool.threads;
  }

  /** A live view of a tensor's floats. */
  f32(tensor: Tensor): Float32Array {
    const start = tensor.pointer / 4;
    return this.#f32.subarray(start, start + elementCount(tensor.shape));
  }

  /** A live view of a tensor's integers. */
  i32(tensor: Tensor): Int32Array {
    const start = tensor.pointer / 4;
    return this.#i32.subarray(start, start + elementCount(tensor.shape));
  }

  /** A tensor with these integers. */
  integers(values: ArrayLike<number>): Tensor {
    const tensor = this.arena.allocate([values.length], "i32");
    this.i32(tensor).set(values);
    return tensor;
  }

  /** A tensor with these floats. */
  floats(values: ArrayLike<number>, shape: readonly number[] = [values.length]): Tensor {
    const tensor = this.arena.allocate(shape);
    this.f32(tensor).set(values);
    return tensor;
  }

  /** Ends the workers. */
  close(): void {
    this.pool.close();
  }
}

function defaultThreads(): number {
  return Math.min(navigator.hardwareConcurrency, MOST_THREADS);
}

function readModule(): Uint8Array<ArrayBuffer> {
  const path = new URL("../../build/kernels.bin", import.meta.url);
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError("kernels.wasm is missing: run deno task build");
  }
}
