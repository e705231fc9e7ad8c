// The arena: alignment, the border of the address space, zeros, release.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { Arena } from "../../src/kernels/mod.ts";

const MEBIBYTE = 2 ** 20;

/** An arena of `end` bytes over a memory of one page: allocation alone touches nothing. */
function arenaOf(start: number, end: number): Arena {
  return new Arena(new WebAssembly.Memory({ initial: 1 }), start, end);
}

Deno.test("allocations are aligned to 64 bytes, padded to as much, and do not overlap", () => {
  const arena = arenaOf(100, MEBIBYTE);
  const sizes = [[[1], "u8", 1], [[65], "u8", 65], [[3, 5], "f32", 60], [[17], "i32", 68]] as const;
  let free = 128;
  for (const [shape, type, bytes] of sizes) {
    const tensor = arena.allocate(shape, type);
    assertEquals(tensor, { pointer: free, shape, type });
    free += Math.ceil(bytes / 64) * 64;
    assertEquals(arena.used, free);
  }
  assertEquals(arena.allocate([0]).pointer, free);
  assertEquals(arena.allocate([2, 0, 3]).pointer, free, "an empty tensor takes nothing");
});

Deno.test("memory ends at the 4 GiB border: the last byte can be had, one more says what is needed and what helps", () => {
  const end = 2 ** 32 - 65536, arena = arenaOf(MEBIBYTE, end);
  const before = arena.mark();
  const floats = (end - before) / 4;
  const all = arena.allocate([floats]);
  assertEquals(all.pointer + floats * 4, end);
  assertThrows(() => arena.allocate([1]), UserError, "use a smaller --model");
  arena.release(before);
  const error = assertThrows(() => arena.allocate([floats + 1]), UserError);
  assertEquals(
    error.message.slice(0, 82),
    "out of memory: 4,096 MiB are needed, WebAssembly can address 4,096 MiB; use a smal",
  );
  assertThrows(() => arena.allocate([2 ** 20, 2 ** 13]), UserError, "32,769 MiB are needed");
  assertThrows(() => arena.allocate([NaN]), UserError, "out of memory");
  assertEquals(arena.used, before, "what failed took nothing");
  assertEquals(arena.allocate([16]).pointer, before);
});

Deno.test("zeros are zero where memory was in use, and leave memory alone that never was", () => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const arena = new Arena(memory, 1024, 65536);
  const floats = new Float32Array(memory.buffer).fill(7); // what nobody wrote would be 0
  const mark = arena.mark();
  arena.allocate([40]); // 192 bytes, then given back
  arena.release(mark);
  const tensor = arena.zeros([64]);
  const first = tensor.pointer / 4;
  assertEquals([...floats.subarray(first, first + 48)], Array(48).fill(0));
  assertEquals([...floats.subarray(first + 48, first + 64)], Array(16).fill(7), "untouched");
  arena.release(mark);
  floats.fill(7);
  arena.zeros([20], "u8");
  assertEquals([...floats.subarray(first, first + 16)], Array(16).fill(0), "padding included");
  assertEquals(floats[first + 16], 7);
  assertEquals(floats[first - 1], 7);
});

Deno.test("a scope gives back what it took, also when it throws, and passes on result and error", () => {
  const arena = arenaOf(0, MEBIBYTE), mark = arena.mark();
  assertEquals(arena.scope(() => arena.allocate([100]).pointer), mark);
  assertEquals(arena.used, mark);
  const error = new Error("inside");
  const thrown = assertThrows(() =>
    arena.scope(() => {
      arena.allocate([100]);
      arena.scope(() => {
        arena.allocate([100]);
        throw error;
      });
    })
  );
  assert(thrown === error);
  assertEquals(arena.used, mark);
});
