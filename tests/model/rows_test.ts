// Rows that no loss reads, and targets that compete with few: less work, for the same or a stated result.

import { assert, assertEquals } from "@std/assert";
import { Runtime } from "../../src/kernels/mod.ts";
import { type Batch, type Configuration, GPT, type ModelOptions } from "../../src/model/mod.ts";
import { assertClose, assertCloseInNorm } from "../reference/compare.ts";

const V = 40;
const CONFIGURATION: Configuration = {
  ...{ vocab_size: V, n_positions: 16, n_embd: 16, n_layer: 2, n_head: 2, n_inner: null },
  ...{ layer_norm_epsilon: 1e-5, initializer_range: 0.2, activation_function: "gelu" },
  ...{ embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0 },
};
const PASS = { normalizer: 2, labelSmoothing: 0.1, seed: 1, step: 0, microStep: 0 };

/** Two sequences of 6 tokens; `targets` are those of the rows that count. */
function batchOf(targets: Readonly<Record<number, number>>, more: Partial<Batch> = {}): Batch {
  return {
    tokens: Int32Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]),
    positions: Int32Array.from([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]),
    offsets: Int32Array.of(0, 6, 12),
    targets: Int32Array.from({ length: 12 }, (_, n) => targets[n] ?? -1),
    ...more,
  };
}

async function withModel(
  options: Partial<ModelOptions>,
  configuration: Configuration,
  work: (model: GPT) => void,
): Promise<void> {
  const runtime = await Runtime.start({ threads: 2 });
  try {
    const model = new GPT(runtime, configuration, { training: true, ...options });
    model.initialize(1);
    work(model);
  } finally {
    runtime.close();
  }
}

function gradients(model: GPT): [string, Float32Array][] {
  return model.parameters.table.map(({ name }) => [name, model.readParameter(name, "gradient")]);
}

for (const normalization of ["layernorm", "rmsnorm", "batchnorm"] as const) {
  for (const recompute of [false, true]) {
    const name = `${normalization}, recompute ${recompute}`;
    Deno.test(`rows that no loss reads: the same loss and gradients as if they counted nothing; ${name}`, async () => {
      const targets = { 2: 7, 5: 8, 11: 30 };
      const counted = batchOf(targets);
      // All rows have a target, and the others' weighs nothing.
      const all = batchOf({}, {
        targets: Int32Array.from(
          { length: 12 },
          (_, n) => counted.targets[n]! < 0 ? 1 : counted.targets[n]!,
        ),
        weights: Float32Array.from({ length: 12 }, (_, n) => Number(n in targets)),
      });
      const configuration = { ...CONFIGURATION, normalization };
      const run = async (batch: Batch) => {
        let loss = 0, evaluated = 0, found: [string, Float32Array][] = [];
        await withModel({ recompute }, configuration, (model) => {
          evaluated = model.evaluate(batch).loss;
          loss = model.accumulate(batch, PASS).loss;
          found = gradients(model);
        });
        return { loss, evaluated, found: new Map(found) };
      };
      const few = await run(counted), whole = await run(all);
      assertClose([few.loss, few.evaluated], [whole.loss, whole.evaluated], 1e-6, "losses");
      for (const [name, gradient] of whole.found) {
        assertCloseInNorm(few.found.get(name)!, gradient, 1e-5, name);
      }
      assert(few.found.get("transformer.h.1.mlp.c_fc.weight")!.some((x) => x !== 0));
    });
  }
}

/** -log softmax of a row's logits from token `from` on. */
function lossAmong(logits: Float32Array, row: number, target: number, from: number): number {
  const own = logits.subarray(row * V + from, (row + 1) * V);
  return Math.log(own.reduce((sum, x) => sum + Math.exp(x), 0)) - own[target - from]!;
}

Deno.test("a choice among few: the last target competes with those of its panels, any other with all tokens", () =>
  withModel({}, CONFIGURATION, (model) => {
    // Row 5 ends its sequence with a choice, row 2 is none, row 11 ends with a word.
    const batch = batchOf({ 2: 36, 5: 37, 11: 9 }, { choiceFrom: 35 });
    const logits = model.logits(batch);
    const expected = lossAmong(logits, 2, 36, 0) + lossAmong(logits, 5, 37, 32) +
      lossAmong(logits, 11, 9, 0);
    const plain = { ...PASS, normalizer: 1, labelSmoothing: 0 };
    const { loss, targets, weight } = model.accumulate(batch, plain);
    assertClose([loss], [expected], 1e-5, "loss");
    assertEquals([targets, weight], [3, 3]);
    const slopes = new Map(gradients(model));
    const lossWith = (name: string, at: number, by: number) => {
      const values = model.readParameter(name), moved = values.slice();
      moved[at]! += by;
      model.writeParameter(name, "parameter", moved);
      const { loss } = model.evaluate(batch);
      model.writeParameter(name, "parameter", values);
      return loss;
    };
    // Of tokens before the choice (20), beside it in its panel (33), in it (37, 39), and of a layer.
    const wte = "transformer.wte.weight";
    for (
      const [name, at] of [[wte, 20 * 16], [wte, 33 * 16 + 1], [wte, 37 * 16], [wte, 39 * 16 + 5], [
        "transformer.h.0.mlp.c_fc.weight",
        3,
      ]] as const
    ) {
      const slope = (lossWith(name, at, 0.01) - lossWith(name, at, -0.01)) / 0.02;
      assertClose([slopes.get(name)![at]!], [slope], 2e-3, `${name} ${at}`);
    }
  }));
