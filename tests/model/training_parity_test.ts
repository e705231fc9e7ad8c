// Normalisations and optimisers against PyTorch, float64, by the fixtures of make_training_fixtures.py: gradients of the
// first step, and ten steps with clipping, label smoothing, ignored targets, and rates and decays of groups.

import { assert, assertEquals } from "@std/assert";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, parameterTable } from "../../src/model/mod.ts";
import { assertClose, assertCloseInNorm } from "../reference/compare.ts";
import {
  batches,
  expected,
  finalOf,
  gradientsOf,
  parameters,
  type TrainingCase,
} from "../reference/training_fixtures.ts";
import { sameBytes } from "../kernels/helpers.ts";

const ENGINES = [{ kernel: "6x8", threads: 1 }, { kernel: "6x16", threads: 2 }] as const;

/** Without what is blind to its gradient: the keys' bias, and to batch normalisation those of the residual stream. */
function determined(name: string, values: Float32Array): Float32Array {
  if (!name.endsWith("c_attn.bias")) return values;
  const third = values.length / 3;
  return values.map((value, i) => Math.floor(i / third) === 1 ? 0 : value);
}
const isBlind = (model: GPT, name: string) =>
  model.configuration.normalization === "batchnorm" && name.endsWith("c_proj.bias");

function load(runtime: Runtime, name: TrainingCase): GPT {
  const { normalization, optimizer } = expected.cases[name].options;
  const model = new GPT(runtime, { ...expected.configuration, normalization }, {
    training: true,
    optimizer: optimizer as "adamw" | "lion" | "muon",
  });
  model.initialize(1);
  for (const { name, statistic } of parameterTable(model.configuration)) {
    if (!statistic) model.writeParameter(name, "parameter", parameters.get(name)!);
  }
  return model;
}

/** One step of the fixture: its loss and the gradient's norm before it. */
function step(model: GPT, name: TrainingCase, i: number) {
  const { options: o } = expected.cases[name];
  const { weights: _, ...batch } = batches[i]!;
  const sums = model.accumulate(batch, {
    normalizer: batch.targets.filter((target) => target >= 0).length,
    labelSmoothing: o.label_smoothing,
    seed: 42,
    step: i,
    microStep: 0,
  });
  const gradients = new Map(
    [...parameters.keys()].filter((name) => model.parameters.table.some((p) => p.name === name))
      .map((name) => [name, model.readParameter(name, "gradient")]),
  );
  const { gradientNorm } = model.update({
    learningRate: o.learning_rate,
    embeddingRate: o.embedding_rate,
    matrixRate: o.matrix_rate,
    embeddingDecay: o.embedding_decay,
    weightDecay: o.weight_decay,
    beta1: o.beta1,
    beta2: o.beta2,
    epsilon: o.epsilon,
    momentum: o.momentum,
    clip: o.clip,
    step: i + 1,
  });
  return { loss: sums.loss / sums.weight, gradientNorm, gradients };
}

/** Before the first step batch normalisation divides by nothing useful, and activations, and errors, are large. */
const GRADIENT_BOUNDS = { rmsnorm: 1e-5, batchnorm: 5e-5, lion: 1e-5, muon: 1e-5 };

for (const name of ["rmsnorm", "batchnorm", "lion", "muon"] as const) {
  const gradientBound = GRADIENT_BOUNDS[name];
  Deno.test(`${name}: gradients within ${gradientBound}, ten steps' losses within 1e-4 and their parameters within 1e-4 of PyTorch; the same bytes on one thread and two`, async () => {
    const finals: Float32Array[][] = [];
    for (const engine of ENGINES) {
      const runtime = await Runtime.start(engine);
      try {
        const model = load(runtime, name);
        for (const [i, { loss, gradient_norm }] of expected.cases[name].steps.entries()) {
          const found = step(model, name, i);
          assertClose([found.loss], [loss], 1e-4 * Math.max(1, loss), `loss of step ${i + 1}`);
          const bound = 1e-4 * gradient_norm;
          assertClose([found.gradientNorm], [gradient_norm], bound, `norm of step ${i + 1}`);
          if (i > 0) continue;
          for (const [parameter, truth] of gradientsOf(name)) {
            const gradient = found.gradients.get(parameter)!;
            const what = `gradient of ${parameter}`;
            if (isBlind(model, parameter)) {
              assert(Math.hypot(...gradient) < 1e-5 * gradient_norm, what);
            } else {
              const [own, theirs] = [gradient, truth].map((x) => determined(parameter, x));
              assertCloseInNorm(own!, theirs!, gradientBound, what);
            }
          }
        }
        for (const [parameter, truth] of finalOf(name)) {
          const values = model.readParameter(parameter);
          const [own, theirs] = [values, truth].map((x) => determined(parameter, x));
          assertCloseInNorm(own!, theirs!, 1e-4, `${parameter} after ten steps`);
          const gradient = model.readParameter(parameter, "gradient");
          assert(gradient.every((value) => value === 0), `gradient of ${parameter} left over`);
        }
        finals.push(parameterTable(model.configuration).map((p) => model.readParameter(p.name)));
      } finally {
        runtime.close();
      }
    }
    finals[0]!.forEach((values, i) => assert(sameBytes(values, finals[1]![i]!)));
  });
}

Deno.test("moments are there for the tensors that need them, and for no others", async () => {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const held = (
      optimizer: "adamw" | "lion" | "muon",
      normalization: "layernorm" | "batchnorm",
    ) => {
      const configuration = { ...expected.configuration, normalization };
      const { learned } = new GPT(runtime, configuration, { training: true, optimizer });
      return Object.fromEntries(
        learned.table.map(({ name }) => [
          name,
          (["exp_avg", "exp_avg_sq"] as const).filter((kind) => learned.has(kind, name)).length,
        ]),
      );
    };
    const adamw = held("adamw", "batchnorm"), muon = held("muon", "layernorm");
    assertEquals(adamw["transformer.h.1.attn.c_attn.weight"], 2);
    assertEquals(adamw["transformer.h.1.ln_1.running_mean"], 0);
    assertEquals(muon["transformer.h.1.attn.c_attn.weight"], 1);
    assertEquals(muon["transformer.wte.weight"], 2);
    assertEquals(muon["transformer.h.1.attn.c_attn.bias"], 2);
    assertEquals(new Set(Object.values(held("lion", "layernorm"))), new Set([1]));
  } finally {
    runtime.close();
  }
});
