// The threads: splits a kernel's range over the workers and the calling thread.

import {
  CHUNK,
  Control,
  FINISHED,
  GENERATION,
  KERNEL,
  type Kernel,
  NEXT,
  TOTAL,
} from "./control.ts";
import type { WorkerStart } from "./worker.ts";

/** Looks before the calling thread sleeps while workers finish their last chunk: about 1 ms. */
const SPINS = 40_000;

/** A fixed team of threads on one memory. The calling thread is one of them. */
export class Pool {
  readonly #control: Control;
  readonly #workers: Worker[] = [];
  readonly #kernels: Map<string, { readonly index: number; readonly call: Kernel }>;
  /** Where to add up each kernel's milliseconds, or null not to. */
  profile: Map<string, number> | null = null;

  private constructor(
    memory: WebAssembly.Memory,
    exports: WebAssembly.Exports,
    readonly kernelNames: readonly string[],
  ) {
    this.#control = new Control(memory);
    this.#kernels = new Map(
      kernelNames.map((name, index) => [name, { index, call: exports[name] as Kernel }]),
    );
  }

  /** Starts `starts.length` workers beside the calling thread, whose own instance is `exports`. */
  static async start(
    memory: WebAssembly.Memory,
    exports: WebAssembly.Exports,
    starts: readonly WorkerStart[],
  ): Promise<Pool> {
    const names = Object.keys(exports).filter((name) => typeof exports[name] === "function");
    const pool = new Pool(memory, exports, names);
    const ready = starts.map((start) => {
      const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
      pool.#workers.push(worker);
      return new Promise<void>((resolve, reject) => {
        const fail = (message: string) => reject(new Error(`cannot start a worker: ${message}`));
        worker.onmessage = ({ data: message }: MessageEvent<string | null>) => {
          worker.onerror = null;
          if (message === null) resolve();
          else fail(message);
        };
        worker.onerror = (event) => {
          event.preventDefault(); // or the process ends before the caller hears of it
          fail(event.message);
        };
        worker.postMessage({ ...start, kernels: names });
      });
    });
    try {
      await Promise.all(ready);
    } catch (error) {
      pool.close();
      throw error;
    }
    return pool;
  }

  get threads(): number {
    return this.#workers.length + 1;
  }

  /**
   * Runs kernel(start, end, ...args) over [0, total) in pieces of `chunk`, on all threads.
   * @throws the error of whichever thread failed, after all threads came to rest
   */
  run(name: string, total: number, chunk: number, ...args: number[]): void {
    if (this.profile === null) return this.#run(name, total, chunk, args);
    const start = performance.now();
    this.#run(name, total, chunk, args);
    const before = this.profile.get(name) ?? 0;
    this.profile.set(name, before + performance.now() - start);
  }

  #run(name: string, total: number, chunk: number, args: readonly number[]): void {
    const kernel = this.#kernels.get(name);
    if (kernel === undefined) throw new ReferenceError(`no kernel named ${name}`);
    if (this.#workers.length === 0 || total <= chunk) {
      if (total > 0) kernel.call(0, total, ...args);
      return;
    }
    const { words } = this.#control;
    this.#control.writeArguments(args);
    words[KERNEL] = kernel.index;
    words[TOTAL] = total;
    words[CHUNK] = chunk;
    Atomics.store(words, NEXT, 0);
    Atomics.store(words, FINISHED, 0);
    this.#wake();
    let failure: unknown = null;
    try {
      this.#control.work(kernel.call, args);
    } catch (error) {
      failure = error;
      this.#control.fail(error);
    }
    this.#waitForWorkers();
    const message = this.#control.takeFailure();
    if (failure !== null) throw failure;
    if (message !== null) throw new Error(`kernel ${name} failed in a worker: ${message}`);
  }

  /** Ends the workers. */
  close(): void {
    this.#control.words[KERNEL] = -1;
    this.#wake();
    for (const worker of this.#workers.splice(0)) worker.terminate();
  }

  #wake(): void {
    Atomics.add(this.#control.words, GENERATION, 1);
    Atomics.notify(this.#control.words, GENERATION);
  }

  #waitForWorkers(): void {
    const { words } = this.#control;
    for (let spins = 0;; spins++) {
      const finished = Atomics.load(words, FINISHED);
      if (finished === this.#workers.length) return;
      if (spins > SPINS) Atomics.wait(words, FINISHED, finished);
    }
  }
}
