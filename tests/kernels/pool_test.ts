// The threads: every index once, errors of either side, work after a failure. Traps here come from
// memory.copy, which checks its bounds whatever V8's flags are.

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Runtime, type Tensor } from "../../src/kernels/mod.ts";
import { FREE_START } from "../../src/kernels/control.ts";
import { Pool } from "../../src/kernels/pool.ts";
import { randomValues } from "../reference/kernels.ts";

const ROWS = 64, CHANNELS = 32;

/** What gather_rows needs to copy ROWS rows; index 0 of `indices` is row 0 of `from`. */
function operands(runtime: Runtime) {
  const { arena } = runtime;
  const to = arena.allocate([ROWS, CHANNELS]);
  const from = runtime.floats(randomValues((ROWS + 1) * CHANNELS, 1), [ROWS + 1, CHANNELS]);
  const indices = runtime.integers(Int32Array.from({ length: ROWS }, (_, i) => (i * 7) % ROWS));
  // 64 bytes of the row that starts 64 bytes before the memory's end lie behind it.
  const start = from.pointer + (from.pointer % 128 === 64 ? 0 : 64);
  const beyond = (2 ** 32 - 64 - start) / 128;
  return { to, start, indices, beyond };
}

type Operands = ReturnType<typeof operands>;

function gather(pool: Pool, { to, start, indices }: Operands, total = ROWS) {
  pool.run("gather_rows", total, 1, to.pointer, start, indices.pointer, CHANNELS);
}

/** Fails unless every row was copied. */
function assertGathered(runtime: Runtime, { to, start, indices }: Operands) {
  const from: Tensor = { pointer: start, shape: [ROWS, CHANNELS], type: "f32" };
  const [rows, source] = [runtime.f32(to), runtime.f32(from)];
  const expected = Float32Array.from(rows, (_, i) => {
    const row = runtime.i32(indices)[Math.floor(i / CHANNELS)]!;
    return source[row * CHANNELS + i % CHANNELS]!;
  });
  assertEquals(rows, expected);
}

for (const threads of [1, 2, 3, 5]) {
  Deno.test(`${threads} threads: a trap in a kernel is thrown once, and the pool works on`, async () => {
    const runtime = await Runtime.start({ threads, kernel: "6x8" });
    assertEquals(runtime.threads, threads);
    const o = operands(runtime), indices = runtime.i32(o.indices);
    for (let round = 0; round < 10; round++) {
      const at = (round * 13) % ROWS, kept = indices[at]!;
      indices[at] = o.beyond;
      const error = assertThrows(() => gather(runtime.pool, o), Error);
      assert(/out of bounds/.test(error.message), error.message);
      indices[at] = kept;
      runtime.f32(o.to).fill(NaN);
      gather(runtime.pool, o);
      assertGathered(runtime, o);
    }
    runtime.close();
  });
}

/** Two threads, of which the calling one has a gather_rows that may wait for the worker or fail. */
async function poolWith(calling: (words: Int32Array) => void) {
  const runtime = await Runtime.start({ threads: 1, kernel: "6x8" });
  const { memory } = runtime;
  const module = await WebAssembly.compile(
    Deno.readFileSync(new URL("../../build/kernels.bin", import.meta.url)),
  );
  const words = new Int32Array(memory.buffer, 64, 16);
  const exports = { ...runtime.exports, gather_rows: () => calling(words) };
  const starts = [{ module, memory, scratch: 2 ** 26 + FREE_START, wideTile: false, kernels: [] }];
  return { runtime, pool: await Pool.start(memory, exports, starts) };
}

Deno.test("an error in a worker alone ends the run with the worker's message", async () => {
  // Both indices of the range are bad; the calling thread holds on to one until the other is taken.
  const { runtime, pool } = await poolWith((words) => {
    while (Atomics.load(words, 1) < 2);
  });
  const o = operands(runtime);
  const failing = runtime.integers([o.beyond, o.beyond]);
  for (let round = 0; round < 5; round++) {
    assertThrows(
      () => gather(pool, { ...o, indices: failing }, 2),
      Error,
      "kernel gather_rows failed in a worker: RuntimeError: memory access out of bounds",
    );
  }
  gather(pool, o, 2); // and no failure is left over
  pool.close();
  runtime.close();
});

Deno.test("an error of the calling thread is thrown itself, after the workers came to rest", async () => {
  const mine = new TypeError("of the calling thread");
  const { runtime, pool } = await poolWith((words) => {
    while (Atomics.load(words, 1) < 2);
    throw mine;
  });
  const o = operands(runtime);
  const indices = runtime.integers([3, 5]);
  const thrown = assertThrows(() => gather(pool, { ...o, indices }, 2));
  assert(thrown === mine);
  pool.close();
  runtime.close();
});

Deno.test("no thread takes an index twice or leaves one out, whatever the chunk", async () => {
  const runtime = await Runtime.start({ threads: 3, kernel: "6x8" });
  const length = 1000;
  // residual_dropout in place adds x once for every visit of a group of sixteen.
  const sums = runtime.floats(new Float32Array(length * 16));
  const ones = runtime.floats(new Float32Array(length * 16).fill(1));
  let runs = 0;
  for (const chunk of [1, 3, 7, 16, 333, 999, 1000, 1001, Infinity]) {
    const pointers = [sums.pointer, sums.pointer, ones.pointer];
    for (const total of [0, 1, 999, length]) {
      runtime.pool.run("residual_dropout", total, chunk, ...pointers, 0, 0, 0);
    }
    runs++;
  }
  const counts = runtime.f32(sums);
  const expected = Float32Array.from(counts, (_, i) => {
    const group = Math.floor(i / 16);
    return runs * (Number(group < 1) + Number(group < 999) + 1);
  });
  assertEquals(counts, expected);
  runtime.close();
});

Deno.test("a kernel that does not exist, or too many arguments, is an error and not a hang", async () => {
  const runtime = await Runtime.start({ threads: 2, kernel: "6x8" });
  assertThrows(() => runtime.pool.run("gem", 1, 1), ReferenceError, "no kernel named gem");
  const many = Array<number>(49).fill(0);
  assertThrows(() => runtime.pool.run("gelu_forward", 2, 1, ...many), RangeError);
  runtime.close();
});

Deno.test("a worker that cannot start is an error", async () => {
  const { runtime, pool } = await poolWith(() => {});
  pool.close();
  const { memory } = runtime;
  // The smallest module: it has no kernels.
  const module = await WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
  const starts = [{ module, memory, scratch: 0, wideTile: false, kernels: [] }];
  await assertRejects(
    () => Pool.start(memory, runtime.exports, starts),
    Error,
    "cannot start a worker: TypeError: call.set_scratch",
  );
  runtime.close();
});
