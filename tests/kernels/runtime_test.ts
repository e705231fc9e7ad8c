// Starting the runtime: its options, a missing module, and the choice of a GEMM microkernel.

import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { probeTiles } from "../../src/kernels/probe.ts";

Deno.test("the number of threads must be a whole number from 1 to 64; all cores without one", async () => {
  for (const threads of [0, -1, 1.5, 65, NaN, Infinity]) {
    await assertRejects(
      () => Runtime.start({ threads, kernel: "6x8" }),
      UserError,
      `--threads must be from 1 to 64, got ${threads}`,
    );
  }
  const runtime = await Runtime.start({ kernel: "6x8" });
  assertEquals(runtime.threads, Math.min(64, navigator.hardwareConcurrency));
  runtime.close();
});

Deno.test("a missing kernels.wasm is a user's error that names the task which makes it", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const source = new URL("../../src/", import.meta.url);
    Deno.mkdirSync(`${directory}/src/kernels`, { recursive: true });
    Deno.copyFileSync(new URL("errors.ts", source), `${directory}/src/errors.ts`);
    for (const { name } of Deno.readDirSync(new URL("kernels/", source))) {
      Deno.copyFileSync(new URL(`kernels/${name}`, source), `${directory}/src/kernels/${name}`);
    }
    const url = `file://${directory}/src/kernels/mod.ts`;
    const copy = await import(url) as { Runtime: typeof Runtime };
    const error = await assertRejects(() => copy.Runtime.start({ threads: 1 }), Error);
    assertEquals(error.constructor.name, "UserError");
    assertEquals(error.message, "kernels.wasm is missing: run deno task build");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("the microkernel that is asked for is taken; auto takes one, and leaves zeros where it tried", async () => {
  for (const kernel of ["6x8", "6x16", "auto"] as const) {
    const runtime = await Runtime.start({ threads: 1, kernel });
    if (kernel === "auto") assert(["6x8", "6x16"].includes(runtime.kernel));
    else assertEquals(runtime.kernel, kernel);
    const zeros = runtime.arena.zeros([2 ** 18]);
    assert(runtime.f32(zeros).every((value) => value === 0), kernel);
    runtime.close();
  }
});

Deno.test("f32 and i32 are live views of a tensor's own elements", async () => {
  const runtime = await Runtime.start({ threads: 1, kernel: "6x8" });
  const floats = runtime.floats([1, 2, 3, 4, 5, 6], [2, 3]), integers = runtime.integers([7, -8]);
  assertEquals([...runtime.f32(floats)], [1, 2, 3, 4, 5, 6]);
  assertEquals([...runtime.i32(integers)], [7, -8]);
  runtime.f32(floats)[5] = 9;
  assertEquals(runtime.f32(floats)[5], 9);
  assertEquals(floats.shape, [2, 3]);
  // Above 2 GiB, where a signed address would be negative.
  runtime.arena.allocate([2 ** 29]);
  const high = runtime.floats([10, 11]);
  assert(high.pointer > 2 ** 31);
  runtime.pool.run("gelu_forward", 1, 1, high.pointer, high.pointer, 0);
  assertEquals([...runtime.f32(high)], [10, 11], "GELU(x) is x for large x");
  runtime.close();
});

/** What the probe does with tiles that a test spoils. */
async function probe(
  spoil: (c: Float32Array, multiply: () => void, tile: string) => void,
  now?: () => number,
) {
  const runtime = await Runtime.start({ threads: 1, kernel: "6x8" });
  const { memory, exports } = runtime, free = runtime.arena.used;
  let tile = "";
  const call = {
    choose_tile: (wide: number) => {
      tile = wide === 1 ? "6x16" : "6x8";
      return exports.choose_tile!(wide);
    },
    gemm: (...args: number[]) => {
      const multiply = () => exports.gemm!(...args);
      multiply();
      spoil(new Float32Array(memory.buffer, args[9], args[2]! * args[3]!), multiply, tile);
      return 0;
    },
  };
  try {
    return probeTiles(memory, call, free, now);
  } finally {
    const all = new Float32Array(memory.buffer, Math.ceil(free / 64) * 64, 2 ** 17);
    assert(all.every((value) => value === 0), "the probe leaves zeros");
    runtime.close();
  }
}

for (const [wrong, right] of [["6x8", "6x16"], ["6x16", "6x8"]] as const) {
  Deno.test(`the probe takes ${right} when ${wrong} is wrong in one element, or NaN, though faster`, async () => {
    for (const value of [0.5, NaN]) {
      const chosen = await probe((c, multiply, tile) => {
        if (tile === wrong) c[17] = value;
        else for (let i = 0; i < 5; i++) multiply();
      });
      assertEquals(chosen, right);
    }
  });

  Deno.test(`the probe takes ${right} when ${wrong} takes ten times as long`, async () => {
    const chosen = await probe((_, multiply, tile) => {
      for (let i = 0; i < 9 && tile === wrong; i++) multiply();
    });
    assertEquals(chosen, right);
  });
}

for (const [late, early] of [["6x16", "6x8"], ["6x8", "6x16"]] as const) {
  Deno.test(`the probe takes ${late} when it is faster, but compiled long after ${early}`, async () => {
    const calls = new Map([[late, 0], [early, 0]] as [string, number][]);
    let clock = 0;
    const chosen = await probe((_, __, tile) => {
      const call = calls.get(tile)! + 1;
      calls.set(tile, call);
      if (tile === early) clock += call > 7 ? 0.03 : 0.08;
      else clock += call > 100 ? 0.02 : 0.08;
    }, () => clock);
    assertEquals(chosen, late);
  });
}

Deno.test("the probe refuses to go on when neither microkernel computes the product", async () => {
  await assertRejects(() => probe((c) => c[c.length - 1] = 0.5), Error, "give wrong results");
});
