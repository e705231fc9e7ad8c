// A worker thread: instantiates the kernels on the shared memory, then takes work until told to end.

import { Control, FINISHED, GENERATION, KERNEL, type Kernel } from "./control.ts";

/** What the calling thread sends a worker to start with. */
export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Byte address of this worker's scratch memory. */
  readonly scratch: number;
  readonly wideTile: boolean;
  readonly kernels: readonly string[];
}

/**
 * Looks before a worker sleeps, about 50 ms: waking a sleeper costs more than many kernels take, and
 * between the kernels of a training step there is never that long a pause.
 */
const SPINS = 2_000_000;

/** Answers null when this thread can work, and else the error that keeps it from that. */
const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<WorkerStart>) => void;
  postMessage(message: unknown): void;
  close(): void;
};

/** This thread's own instance of the kernels, by number. */
function instantiate({ module, memory, scratch, wideTile, kernels }: WorkerStart): Kernel[] {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const call = exports as Record<string, (...args: number[]) => void>;
  call.set_scratch!(scratch);
  call.choose_tile!(Number(wideTile));
  return kernels.map((name) => call[name] as Kernel);
}

scope.onmessage = ({ data }) => {
  let kernels: Kernel[];
  try {
    kernels = instantiate(data);
  } catch (error) {
    scope.postMessage(String(error));
    return;
  }
  const control = new Control(data.memory);
  const { words } = control;
  scope.postMessage(null);

  for (let seen = 0;;) {
    for (let spins = 0; Atomics.load(words, GENERATION) === seen; spins++) {
      if (spins > SPINS) Atomics.wait(words, GENERATION, seen);
    }
    seen = Atomics.load(words, GENERATION);
    const kernel = kernels[words[KERNEL]!];
    if (kernel === undefined) break;
    try {
      control.work(kernel, control.readArguments());
    } catch (error) {
      control.fail(error);
    }
    Atomics.add(words, FINISHED, 1);
    Atomics.notify(words, FINISHED);
  }
  scope.close();
};
