// A BLAS library through FFI: the benchmark's yardstick, and used for nothing else.

import type { Tensor } from "../kernels/mod.ts";
import { UserError } from "../errors.ts";

const ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112;

const SYMBOLS = {
  cblas_sgemm: {
    parameters: [
      ...["i32", "i32", "i32", "i32", "i32", "i32", "f32", "pointer", "i32"] as const,
      ...["pointer", "i32", "f32", "pointer", "i32"] as const,
    ],
    result: "void",
  },
  openblas_set_num_threads: { parameters: ["i32"], result: "void" },
  openblas_get_corename: { parameters: [], result: "pointer" },
} as const;

/** One matrix operand: row-major, or the transpose of a row-major matrix. */
export interface BlasMatrix {
  readonly tensor: Tensor;
  readonly transposed: boolean;
}

/** OpenBLAS on the tensors of a runtime's memory. */
export class Blas {
  readonly #library: Deno.DynamicLibrary<typeof SYMBOLS>;
  readonly #base: bigint;

  /** @throws UserError when there is no such library */
  constructor(path: string, memory: WebAssembly.Memory) {
    try {
      this.#library = Deno.dlopen(path, SYMBOLS);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new UserError(`--blas ${path}: cannot be loaded as OpenBLAS: ${reason}`);
    }
    const bytes = new Uint8Array(memory.buffer) as unknown as Uint8Array<ArrayBuffer>;
    this.#base = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
  }

  /** The processor whose kernels OpenBLAS chose, such as "Haswell". */
  get core(): string {
    const name = this.#library.symbols.openblas_get_corename();
    return name === null ? "unknown" : new Deno.UnsafePointerView(name).getCString();
  }

  set threads(count: number) {
    this.#library.symbols.openblas_set_num_threads(count);
  }

  /** C [m, n] = A [m, k] B [k, n] + beta C */
  multiply(
    [m, n, k]: readonly [number, number, number],
    a: BlasMatrix,
    b: BlasMatrix,
    beta: number,
    c: Tensor,
  ): void {
    this.#library.symbols.cblas_sgemm(
      ROW_MAJOR,
      a.transposed ? TRANSPOSE : NO_TRANSPOSE,
      b.transposed ? TRANSPOSE : NO_TRANSPOSE,
      m,
      n,
      k,
      1,
      this.#at(a.tensor),
      a.tensor.shape[1]!,
      this.#at(b.tensor),
      b.tensor.shape[1]!,
      beta,
      this.#at(c),
      c.shape[1]!,
    );
  }

  close(): void {
    this.#library.close();
  }

  #at(tensor: Tensor): Deno.PointerValue {
    return Deno.UnsafePointer.create(this.#base + BigInt(tensor.pointer));
  }
}
