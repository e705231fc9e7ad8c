// Set-up that the kernel tests share: engines that must agree to the byte, tensors between guards,
// element-wise bounds. What kernels must compute stands in tests/reference/.

import { assert, assertEquals } from "@std/assert";
import { type Moments, Runtime, type RuntimeOptions, type Tensor } from "../../src/kernels/mod.ts";

/** Unit roundoff of f32: one rounding changes a value by at most this fraction of it. */
export const U = 2 ** -24;

/** One, two and three threads, and both GEMM microkernels among them. */
const ENGINES: readonly RuntimeOptions[] = [
  { threads: 1, kernel: "6x8" },
  { threads: 2, kernel: "6x16" },
  { threads: 3, kernel: "6x8" },
];

/** What stands behind a guarded tensor, and has to stand there afterwards. */
const GUARD = Float32Array.from({ length: 16 }, (_, i) => 1234.5 + i);
/** Bytes of memory that hold NaN before a computation, so that what nobody wrote shows. */
const POISONED = 2 ** 20;

/** A tensor of f32 as one of AdamW's moments. */
export function moments({ pointer }: Pick<Tensor, "pointer">): Moments {
  return { format: "f32", pointer, scales: 0 };
}

/** Sixteen moments of both signs: the first eight are forgotten at the next step that lessens them, the others are not. */
export const FADING = Float32Array.from(
  { length: 16 },
  (_, i) => (i % 2 ? -1 : 1) * (i < 8 ? 1e-30 : 1e-28),
);

/** What became of FADING. */
export function assertFaded(moments: Float32Array): void {
  moments.forEach((value, i) => assert((value === 0) === (i < 8), `[${i}] is ${value}`));
}

/** A runtime, and the guards of the computation that it is doing. */
export class Workspace {
  readonly #guards: Tensor[] = [];

  constructor(readonly runtime: Runtime) {}

  floats(values: ArrayLike<number>, shape?: readonly number[]): Tensor {
    return this.#guarded(this.runtime.floats(values, shape));
  }

  integers(values: ArrayLike<number>): Tensor {
    return this.#guarded(this.runtime.integers(values));
  }

  /** A tensor of NaN, for a kernel to fill. */
  output(shape: readonly number[]): Tensor {
    const tensor = this.#guarded(this.runtime.arena.allocate(shape));
    this.runtime.f32(tensor).fill(NaN);
    return tensor;
  }

  /** A copy of a tensor's floats. */
  read(tensor: Tensor): Float32Array {
    return this.runtime.f32(tensor).slice();
  }

  /** Runs a kernel that has no wrapper, or one with a chunk of the test's choice. */
  run(kernel: string, total: number, chunk: number, ...args: number[]): void {
    this.runtime.pool.run(kernel, total, chunk, ...args);
  }

  assertGuards(): void {
    for (const guard of this.#guards) {
      assertEquals(this.runtime.f32(guard), GUARD, "written behind a tensor's end");
    }
  }

  /** Kernels may touch the rest of a tensor's last 64 bytes, but nothing behind them. */
  #guarded(tensor: Tensor): Tensor {
    this.#guards.push(this.runtime.floats(GUARD));
    return tensor;
  }
}

/** Several runtimes that compute the same. */
export class Engines {
  private constructor(readonly runtimes: readonly Runtime[]) {}

  static async start(options: readonly RuntimeOptions[] = ENGINES): Promise<Engines> {
    return new Engines(await Promise.all(options.map((o) => Runtime.start(o))));
  }

  /**
   * Runs a computation on every engine, between NaN in all free memory.
   * @throws unless all engines give the same bytes, and no guard was touched
   */
  compute(work: (space: Workspace) => Float32Array[], engines = this.runtimes.length) {
    let first: Float32Array[] | null = null;
    for (const runtime of this.runtimes.slice(0, engines)) {
      const results = runtime.arena.scope(() => {
        poison(runtime);
        const space = new Workspace(runtime);
        const results = work(space);
        space.assertGuards();
        return results;
      });
      first ??= results;
      results.forEach((result, i) => {
        assert(
          sameBytes(result, first![i]!),
          `result ${i} of ${runtime.threads} threads, ${runtime.kernel}, differs from one thread's`,
        );
      });
    }
    return first!;
  }

  close(): void {
    for (const runtime of this.runtimes) runtime.close();
  }
}

function poison(runtime: Runtime): void {
  runtime.arena.scope(() => {
    runtime.f32(runtime.arena.allocate([POISONED / 4])).fill(NaN);
  });
}

export function sameBytes(a: Float32Array, b: Float32Array): boolean {
  const bits = (x: Float32Array) => new Int32Array(x.buffer, x.byteOffset, x.length);
  const [left, right] = [bits(a), bits(b)];
  return left.length === right.length && left.every((value, i) => value === right[i]);
}

/** Fails unless |actual[i] - expected[i]| <= bounds(i) for every i; NaN fails. */
export function assertWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bounds: number | ((i: number) => number),
  what: string,
): void {
  assertEquals(actual.length, expected.length, `${what}: length`);
  for (let i = 0; i < expected.length; i++) {
    const bound = typeof bounds === "number" ? bounds : bounds(i);
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!(difference <= bound)) {
      throw new Error(
        `${what}: [${i}] is ${actual[i]} instead of ${expected[i]}, off by ${difference} where ` +
          `${bound} is allowed`,
      );
    }
  }
}

/** Euclidean norms of the rows of x [rows, width], or of its columns. */
export function norms(x: ArrayLike<number>, width: number, of: "rows" | "columns"): Float64Array {
  const rows = x.length / width;
  const squares = new Float64Array(of === "rows" ? rows : width);
  for (let i = 0; i < x.length; i++) {
    squares[of === "rows" ? Math.floor(i / width) : i % width]! += x[i]! ** 2;
  }
  return squares.map(Math.sqrt);
}

/** Largest absolute value; NaN when there is one. */
export function largest(x: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < x.length; i++) most = Math.max(most, Math.abs(x[i]!));
  return most;
}

/** The transpose of x [rows, columns]. */
export function transposed(x: Float32Array, columns: number): Float32Array {
  const rows = x.length / columns;
  return x.map((_, i) => x[(i % rows) * columns + Math.floor(i / rows)]!);
}
