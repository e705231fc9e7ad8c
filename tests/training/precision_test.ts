// Runs with less memory: bf16 near f32, moments in every format resumed to the byte, the same on every thread count.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { loadMoments, readCheckpointInfo, SafetensorsFile } from "../../src/checkpoint/mod.ts";
import { UserError } from "../../src/errors.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT } from "../../src/model/mod.ts";
import type { Recipe } from "../../src/training/mod.ts";
import { runTraining, type TestRun, withDirectory } from "./helpers.ts";

const run = (recipe: Partial<Recipe>, threads = 1) =>
  withDirectory((directory) => runTraining(directory, { recipe, threads }));

/** The weights' and moments' bytes and the history. */
function assertSame(actual: TestRun, expected: TestRun): void {
  assertEquals(actual.history, expected.history);
  for (const [name, values] of expected.arrays) {
    const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);
    const other = bits(actual.arrays.get(name)!);
    assert(bits(values).every((bit, i) => bit === other[i]), `${name} differs`);
  }
}

function losses({ events }: TestRun): number[] {
  return events.filter((event) => event.event === "epoch").map(({ train_loss }) => train_loss);
}

const LEARNING = { epochs: 12, learningRate: 1e-2, patience: 100, validation: 0.25 } as const;

Deno.test("bf16, and moments in bf16 and int8: every epoch's loss within 1 % of f32, while it falls by more than 3", async () => {
  const full = losses(await run(LEARNING));
  assert(full.at(-1)! < full[0]! - 3, `${full}`);
  const variants: Partial<Recipe>[] = [
    { precision: "bf16" },
    { moments: "bf16" },
    { moments: "int8" },
    { precision: "bf16", moments: "int8", recompute: true },
  ];
  for (const variant of variants) {
    const own = losses(await run({ ...LEARNING, ...variant }));
    assertEquals(own.length, full.length);
    full.forEach((loss, i) => {
      const what = `${JSON.stringify(variant)}, epoch ${i + 1}: ${own[i]} instead of ${loss}`;
      assert(Math.abs(own[i]! - loss) <= 0.01 * loss, what);
    });
    assert(own.some((loss, i) => loss !== full[i]), "nothing has changed");
  }
});

for (const moments of ["bf16", "int8"] as const) {
  const recipe = { moments, precision: "bf16", averaging: "ema", freezeLayers: 1 } as const;

  Deno.test(`moments in ${moments}: stopped and resumed, on 1, 2 and 3 threads and with recompute, a run ends with the same bytes`, async () => {
    const whole = await run(recipe);
    const parts = await withDirectory(async (directory) => {
      await runTraining(directory, { recipe, stopAfter: 3 });
      await runTraining(directory, { recipe, resume: true, stopAfter: 5, threads: 2 });
      return await runTraining(directory, { recipe, resume: true });
    });
    assertSame(parts, whole);
    assertSame(await run(recipe, 2), whole);
    assertSame(await run({ ...recipe, recompute: true }, 3), whole);
    const frozen = whole.arrays.get("exp_avg_sq transformer.h.0.mlp.c_fc.weight")!;
    assert(frozen.every((value) => value === 0), "a frozen layer has no moments");
  });
}

const COMBINED: Record<string, Partial<Recipe>> = {
  "moments in int8 beside batchnorm's statistics": { normalization: "batchnorm", moments: "int8" },
  "bf16 and muon": { normalization: "rmsnorm", optimizer: "muon", precision: "bf16" },
  "bf16 and lion": { optimizer: "lion", learningRate: 1e-4, precision: "bf16" },
};

for (const [name, recipe] of Object.entries(COMBINED)) {
  Deno.test(`${name}: stopped and resumed, on 1 and 2 threads and with recompute, a run ends with the same bytes`, async () => {
    const whole = await run(recipe);
    const parts = await withDirectory(async (directory) => {
      await runTraining(directory, { recipe, stopAfter: 3 });
      return await runTraining(directory, { recipe, resume: true });
    });
    assertSame(parts, whole);
    assertSame(await run({ ...recipe, recompute: true }, 2), whole);
  });
}

Deno.test("moments are saved as they are stored, checked on loading, and refused where they cannot go on", () =>
  withDirectory(async (directory) => {
    const last = `${directory}/run/last`, path = `${last}/training/optimizer.safetensors`;
    const sizes: number[] = [];
    const runtime = await Runtime.start({ threads: 1, kernel: "6x8" });
    try {
      for (const moments of ["f32", "bf16", "int8"] as const) {
        await runTraining(directory, { recipe: { epochs: 1, moments } });
        sizes.push(Deno.statSync(path).size);
        const { configuration } = readCheckpointInfo(last);
        using file = new SafetensorsFile(path);
        const type = { f32: "F32", bf16: "BF16", int8: "U8" }[moments];
        assertEquals(file.entries.get("exp_avg.transformer.wte.weight")!.type, type);
        if (moments === "int8") continue;
        // A run in another format can begin with them.
        runtime.arena.scope(() => {
          const model = new GPT(runtime, configuration, { training: true, moments: "int8" });
          loadMoments(last, model);
          const name = "transformer.wte.weight";
          const own = model.readParameter(name, "exp_avg_sq");
          const theirs = file.read(`exp_avg_sq.${name}`, [configuration.vocab_size, 16]);
          const most = theirs.reduce((a, b) => Math.max(a, b));
          own.forEach((x, i) => {
            const off = Math.abs(x - theirs[i]!), bound = 0.02 * most ** 0.25 * theirs[i]! ** 0.75;
            assert(off <= bound + 1e-8 * most, `${x} instead of ${theirs[i]}`);
          });
        });
      }
      assert(Math.abs(sizes[1]! / sizes[0]! - 1 / 2) < 0.01, `${sizes}`);
      assert(Math.abs(sizes[2]! / sizes[0]! - 1 / 4) < 0.02, `${sizes}`);
      const { configuration } = readCheckpointInfo(last);
      runtime.arena.scope(() => {
        const model = new GPT(runtime, configuration, { training: true });
        const into = () => loadMoments(last, model);
        assertThrows(into, UserError, "holds moments in int8; go on with --moments int8");
      });
      runtime.arena.scope(() => {
        const model = new GPT(runtime, configuration, { training: true, moments: "int8" });
        loadMoments(last, model);
        const bytes = Deno.readFileSync(path);
        bytes[bytes.length - 5000]! ^= 1;
        Deno.writeFileSync(path, bytes);
        assertThrows(() => loadMoments(last, model), UserError, "have changed");
        Deno.truncateSync(path, bytes.length - 16);
        assertThrows(() => loadMoments(last, model), UserError, "is damaged");
      });
    } finally {
      runtime.close();
    }
  }));
