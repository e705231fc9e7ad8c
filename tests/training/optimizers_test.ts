// Normalisations and optimisers in a run: exact resume, the same bytes for every thread count, what is saved.

import { assert, assertEquals } from "@std/assert";
import { readCheckpointInfo } from "../../src/checkpoint/mod.ts";
import { parameterTable } from "../../src/model/mod.ts";
import type { Recipe } from "../../src/training/mod.ts";
import { readTensors } from "../reference/fixtures.ts";
import { runTraining, type TestRun, withDirectory } from "./helpers.ts";

const RECIPES: Record<string, Partial<Recipe>> = {
  rmsnorm: { normalization: "rmsnorm" },
  "batchnorm with an average": { normalization: "batchnorm", averaging: "ema", accumulate: 2 },
  lion: { optimizer: "lion", learningRate: 1e-4 },
  muon: { optimizer: "muon", matrixRate: 2, freezeLayers: 1, layerDrop: 0.2 },
};

function assertSameBytes(actual: TestRun, expected: TestRun): void {
  assertEquals([...actual.arrays.keys()], [...expected.arrays.keys()]);
  for (const [name, values] of expected.arrays) {
    const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);
    const other = bits(actual.arrays.get(name)!);
    assert(bits(values).every((bit, i) => bit === other[i]), `${name} differs`);
  }
}

for (const [name, recipe] of Object.entries(RECIPES)) {
  Deno.test(`${name}: stopped and resumed ends with the bytes of one thread as two threads without a stop`, async () => {
    const whole = await withDirectory((directory) =>
      runTraining(directory, { recipe, threads: 2 })
    );
    await withDirectory(async (directory) => {
      await runTraining(directory, { recipe, stopAfter: 3 });
      const parts = await runTraining(directory, { recipe, resume: true });
      assertSameBytes(parts, whole);
      assertEquals(parts.history, whole.history);
      const last = `${directory}/run/last`;
      const { configuration } = readCheckpointInfo(last);
      assertEquals(configuration.normalization, recipe.normalization);
      const saved = (file: string) => [...readTensors(new URL(`file://${last}/${file}`)).keys()];
      assertEquals(
        saved("model.safetensors").toSorted(),
        parameterTable(configuration).map((p) => p.name).toSorted(),
      );
      const moments = saved("training/optimizer.safetensors");
      const has = (moment: string) => moments.includes(moment);
      assertEquals(has("exp_avg_sq.transformer.wte.weight"), recipe.optimizer !== "lion");
      assertEquals(
        has("exp_avg_sq.transformer.h.1.mlp.c_fc.weight"),
        recipe.optimizer === undefined,
      );
      assert(has("exp_avg.transformer.h.1.mlp.c_fc.weight"));
    });
  });
}
