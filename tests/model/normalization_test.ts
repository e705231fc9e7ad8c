// The normalisations in a model: PyTorch's layers, no leak from later tokens, the cache, narrow weights, adapters.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { type Precision, Runtime } from "../../src/kernels/mod.ts";
import {
  type Batch,
  type Configuration,
  GPT,
  memoryEstimate,
  type Normalization,
  NORMALIZATIONS,
  parameterCount,
  parameterTable,
  presets,
} from "../../src/model/mod.ts";
import { createNorm } from "../../src/model/normalization.ts";
import { Parameters } from "../../src/model/parameters.ts";
import { Pass } from "../../src/model/pass.ts";
import { randomNumbers } from "../../src/random.ts";
import { assertClose, batchRenorm, channelStatistics } from "../reference/kernels.ts";
import { layer } from "../reference/training_fixtures.ts";

function configurationOf(normalization: Normalization): Configuration {
  return {
    ...presets.nano,
    ...{ vocab_size: 64, n_positions: 16, n_embd: 32, n_head: 2 },
    ...{ resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 },
    normalization,
  };
}

const BATCH: Batch = {
  tokens: Int32Array.of(3, 9, 27, 17, 51, 25, 5, 8, 60),
  targets: Int32Array.of(9, 27, -1, 17, 25, 5, 8, 60, -1),
  positions: Int32Array.of(0, 1, 2, 0, 1, 2, 3, 4, 5),
  offsets: Int32Array.of(0, 3, 9),
};
const GRADIENT = { normalizer: 7, labelSmoothing: 0, seed: 1, step: 0, microStep: 0 };
const UPDATE = {
  ...{ learningRate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
  ...{ step: 1, clip: Infinity },
};

async function withRuntime(work: (runtime: Runtime) => void): Promise<void> {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    work(runtime);
  } finally {
    runtime.close();
  }
}

/** A model that has taken some steps, so that its statistics are those of its activations. */
function trained(runtime: Runtime, normalization: Normalization): GPT {
  const model = new GPT(runtime, configurationOf(normalization), { training: true });
  model.initialize(7);
  for (let step = 1; step <= 15; step++) {
    model.accumulate(BATCH, GRADIENT);
    model.update({ ...UPDATE, step });
  }
  return model;
}

Deno.test("rmsnorm and batchnorm, in training and evaluation, are within 1e-5 of nn.RMSNorm and nn.BatchNorm1d; so are the running statistics", () =>
  withRuntime((runtime) => {
    const C = layer("weight").length, rows = layer("x").length / C;
    const check = (name: string, normalization: Normalization, training: boolean) => {
      const c = { ...configurationOf(normalization), n_embd: C };
      const table = parameterTable(c).filter(({ name }) => name.startsWith("transformer.ln_f."));
      const parameters = new Parameters(runtime, table, { training: true });
      parameters.initialize(1);
      const write = (part: string, values: Float32Array) => {
        const full = `transformer.ln_f.${part}`;
        if (table.some((p) => p.name === full)) parameters.write(full, "parameter", values);
      };
      write("weight", layer("weight"));
      write("bias", layer("bias"));
      // In training PyTorch uses the batch's own statistics: here as the running ones.
      const own = channelStatistics(layer("x"), rows);
      write("running_mean", training ? Float32Array.from(own.mean) : layer("running_mean"));
      write("running_var", training ? Float32Array.from(own.variance) : layer("running_var"));
      const learning = training || normalization === "rmsnorm"
        ? parameters
        : fixed(runtime, table, parameters);
      const norm = createNorm(learning, c, "transformer.ln_f");
      runtime.arena.scope(() => {
        const pass = new Pass(runtime, rows, Int32Array.of(0, rows), null);
        const x = runtime.floats(layer("x"), [rows, C]), dx = runtime.arena.zeros([rows, C]);
        const saved = norm.forward(pass, x);
        norm.backward(pass, dx, runtime.floats(layer("dy"), [rows, C]), x, saved);
        assertClose(runtime.f32(saved.y), layer(`${name}.y`), 1e-5, `${name} y`);
        assertClose(runtime.f32(dx), layer(`${name}.dx`), 1e-5, `${name} dx`);
      });
      if (learning !== parameters) return;
      const gradient = (part: string) => learning.read(`transformer.ln_f.${part}`, "gradient");
      assertClose(gradient("weight"), layer(`${name}.dweight`), 1e-5, `${name} dweight`);
      if (normalization === "rmsnorm") return;
      assertClose(gradient("bias"), layer(`${name}.dbias`), 1e-5, `${name} dbias`);
      assertClose(gradient("running_mean"), layer(`${name}.mean`), 1e-5, "running mean");
      assertClose(gradient("running_var"), layer(`${name}.var`), 1e-5, "running variance");
    };
    check("rmsnorm", "rmsnorm", true);
    check("training", "batchnorm", true);
    check("evaluation", "batchnorm", false);
  }));

/** The same parameters where nothing learns. */
function fixed(runtime: Runtime, table: ReturnType<typeof parameterTable>, from: Parameters) {
  const parameters = new Parameters(runtime, table, { training: false });
  for (const { name } of table) parameters.write(name, "parameter", from.read(name, "parameter"));
  return parameters;
}

Deno.test("batchnorm: running statistics are the first step's, then means of the steps', then move by a tenth; micro-batches of a step count alike", () =>
  withRuntime((runtime) => {
    const model = new GPT(runtime, configurationOf("batchnorm"), { training: true });
    model.initialize(7);
    const name = "transformer.h.1.ln_2.running_mean", still = { ...UPDATE, learningRate: 0 };
    const read = (kind: "parameter" | "gradient") => model.readParameter(name, kind);
    let expected = read("parameter");
    for (let step = 1; step <= 12; step++) {
      model.accumulate(BATCH, GRADIENT);
      const once = read("gradient");
      model.accumulate(BATCH, GRADIENT);
      assertClose(read("gradient"), once.map((value) => 2 * value), 1e-6, "two micro-batches");
      const momentum = Math.max(0.1, 1 / step);
      expected = expected.map((value, c) => value + momentum * (once[c]! - value));
      model.update({ ...still, step });
      assertClose(read("parameter"), expected, 1e-6, `after ${step} steps`);
      assert(read("gradient").every((value) => value === 0));
    }
    // A frozen layer's stay as they are.
    const kept = read("parameter");
    model.accumulate({ ...BATCH, tokens: BATCH.tokens.toReversed() }, GRADIENT);
    model.update({ ...still, step: 13, freezeLayers: 2 });
    assertEquals(read("parameter"), kept);
  }));

for (const normalization of NORMALIZATIONS) {
  Deno.test(`${normalization}: a later token changes no bit of an earlier one's logits, nor of its loss in training`, () =>
    withRuntime((runtime) => {
      const model = trained(runtime, normalization), V = 64;
      // The last of each sequence.
      const tokens = BATCH.tokens.slice();
      tokens[2] = 40;
      tokens[8] = 1;
      const before = model.logits(BATCH), after = model.logits({ ...BATCH, tokens });
      const changed = Array.from({ length: 9 }, (_, n) => {
        const row = (logits: Float32Array) => logits.subarray(n * V, (n + 1) * V);
        return row(before).some((value, i) => value !== row(after)[i]);
      });
      assertEquals(changed, [0, 0, 1, 0, 0, 0, 0, 0, 1].map(Boolean));
      const loss = (batch: Batch) => model.accumulate(batch, GRADIENT).loss;
      assertEquals(loss({ ...BATCH, tokens }), loss(BATCH), "neither has a target");
    }));
}

Deno.test("this is what that is good for: by a batch's own statistics a later token would move earlier ones by 0.1", () => {
  const rows = 6, C = 4, x = Float64Array.from({ length: rows * C }, (_, i) => Math.sin(i));
  const gamma = new Float64Array(C).fill(1), beta = new Float64Array(C);
  const plain = { r: gamma, d: beta };
  const before = batchRenorm(x, gamma, beta, rows, plain);
  x.fill(3, (rows - 1) * C);
  const after = batchRenorm(x, gamma, beta, rows, plain);
  const moved = before.subarray(0, C).map((value, c) => Math.abs(value - after[c]!));
  assert(Math.max(...moved) > 0.1);
});

for (const normalization of NORMALIZATIONS) {
  for (const precision of ["f32", "bf16", "int8"] as const) {
    Deno.test(`${normalization}, ${precision}: token by token with the cache as in one pass, within ${{ f32: 1e-5, bf16: 0.02, int8: 0.05 }[precision]} of f32's size`, () =>
      withRuntime((runtime) => {
        const model = trained(runtime, normalization);
        const other: GPT = new GPT(runtime, model.configuration, {
          training: false,
          precision: precision as Precision,
        });
        for (const { name } of parameterTable(model.configuration)) {
          other.writeParameter(name, "parameter", model.readParameter(name));
        }
        const logits = model.logits(BATCH), size = Math.max(...logits.map(Math.abs));
        const sequence = other.createCache().sequence();
        const bound = { f32: 1e-5, bf16: 0.02, int8: 0.05 }[precision] * size;
        for (let n = 3; n < 9; n++) {
          const own = sequence.append([BATCH.tokens[n]!]);
          assertClose(own, logits.subarray(n * 64, (n + 1) * 64), bound, `position ${n - 3}`);
        }
      }));
  }
}

const LORA = { rank: 3, alpha: 6, targets: ["c_attn", "c_fc"], dropout: 0 } as const;

for (const normalization of ["rmsnorm", "batchnorm"] as const) {
  Deno.test(`${normalization} under adapters: their gradients are difference quotients, nothing else changes`, () =>
    withRuntime((runtime) => {
      const base = trained(runtime, normalization);
      const model = new GPT(runtime, base.configuration, { training: true, lora: LORA });
      model.initialize(7);
      const table = parameterTable(base.configuration), random = randomNumbers(3);
      for (const { name } of table) {
        model.writeParameter(name, "parameter", base.readParameter(name));
      }
      for (const { name } of model.learned.table) {
        const values = model.learned.read(name, "parameter").map(() => (random() - 0.5) * 0.2);
        model.learned.write(name, "parameter", values);
      }
      const loss = () => model.accumulate(BATCH, GRADIENT).loss / GRADIENT.normalizer;
      loss();
      const gradients = model.learned.table.map(({ name }) => model.learned.read(name, "gradient"));
      const h = 2 ** -6;
      model.learned.table.forEach(({ name }, t) => {
        const direction = gradients[t]!.map(() => random() - 0.5);
        const expected = direction.reduce((sum, d, i) => sum + d * gradients[t]![i]!, 0);
        const values = model.learned.read(name, "parameter");
        const at = (sign: number) => {
          const moved = values.map((value, i) => value + sign * h * direction[i]!);
          model.learned.write(name, "parameter", moved);
          return loss();
        };
        const quotient = (at(1) - at(-1)) / (2 * h);
        model.learned.write(name, "parameter", values);
        const size = Math.hypot(...gradients[t]!) * Math.hypot(...direction);
        assert(size > 0 && Math.abs(quotient - expected) <= 0.02 * size, `${name}: ${quotient}`);
      });
      model.update(UPDATE);
      for (const { name } of table) {
        assertEquals(model.parameters.read(name, "parameter"), base.readParameter(name), name);
      }
    }));
}

Deno.test("parameters: rmsnorm has a vector less a norm, batchnorm's statistics count for none; layernorm is as it was", () => {
  const [layernorm, rmsnorm, batchnorm] = NORMALIZATIONS.map((normalization) =>
    parameterCount(configurationOf(normalization))
  );
  const { normalization: _, ...gpt2 } = configurationOf("layernorm");
  assertEquals(layernorm, parameterCount(gpt2));
  assertEquals(rmsnorm, layernorm! - 5 * 32);
  assertEquals(batchnorm, layernorm);
  assertThrows(
    () =>
      new GPT({} as Runtime, { ...gpt2, normalization: "l2" as Normalization }, {
        training: false,
      }),
    UserError,
    "normalization must be one of layernorm, rmsnorm, batchnorm",
  );
});

Deno.test("memory: lion and muon need less than adamw, and a step's peak stays below what is foretold", async () => {
  const c = { ...configurationOf("layernorm"), n_embd: 96, n_head: 4 };
  const needed = (optimizer: "adamw" | "lion" | "muon", tokens: number) =>
    memoryEstimate(c, { training: true, tokens, optimizer });
  assert(needed("lion", 256) < needed("muon", 256) && needed("muon", 256) < needed("adamw", 256));
  for (const optimizer of ["adamw", "lion", "muon"] as const) {
    const runtime = await Runtime.start({ threads: 1 });
    try {
      const { arena } = runtime, start = arena.used;
      let peak = 0;
      const allocate = arena.allocate.bind(arena);
      arena.allocate = (...args) => {
        const tensor = allocate(...args);
        peak = Math.max(peak, arena.used);
        return tensor;
      };
      const model = new GPT(runtime, c, { training: true, optimizer });
      const arrays = arena.used - start;
      model.update(UPDATE);
      // With few tokens, the optimiser's own memory is what decides.
      const estimate = needed(optimizer, 1);
      assert(peak - start <= estimate, `${optimizer}: ${peak - start} of ${estimate}`);
      if (optimizer === "muon") assert(peak - start > arrays + 4 * 3 * 96 * 4 * 96);
    } finally {
      runtime.close();
    }
  }
});
