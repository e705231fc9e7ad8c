// Low-rank adapters: nothing changes at first, their gradients are the loss's, and merged they say the same.

import { assert, assertEquals } from "@std/assert";
import { Runtime } from "../../src/kernels/mod.ts";
import {
  adapterTable,
  type Batch,
  GPT,
  type LoraOptions,
  memoryEstimate,
  parameterTable,
  presets,
} from "../../src/model/mod.ts";
import { randomNumbers } from "../../src/random.ts";

const CONFIGURATION = {
  ...presets.nano,
  vocab_size: 64,
  n_positions: 16,
  n_embd: 32,
  n_head: 2,
  resid_pdrop: 0,
  embd_pdrop: 0,
  attn_pdrop: 0,
};
const LORA: LoraOptions = {
  rank: 3,
  alpha: 6,
  targets: ["c_attn", "c_proj", "c_fc"],
  dropout: 0,
};
const BATCH: Batch = {
  tokens: Int32Array.of(3, 9, 27, 17, 51, 25, 5, 8, 60),
  targets: Int32Array.of(9, 27, 17, -1, 25, 5, 8, 60, 1),
  positions: Int32Array.of(0, 1, 2, 0, 1, 2, 3, 4, 5),
  offsets: Int32Array.of(0, 3, 9),
};
const GRADIENT = { normalizer: 8, labelSmoothing: 0, seed: 1, step: 0, microStep: 0 };
const UPDATE = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0,
  step: 1,
  clip: Infinity,
};

async function withModels(work: (base: GPT, adapted: GPT) => void, lora = LORA): Promise<void> {
  const runtime = await Runtime.start({ threads: 2 });
  try {
    const base = new GPT(runtime, CONFIGURATION, { training: false });
    const adapted = new GPT(runtime, CONFIGURATION, { training: true, lora });
    base.initialize(7);
    adapted.initialize(7);
    work(base, adapted);
  } finally {
    runtime.close();
  }
}

/** Gives B values, which are zeros at first. */
function stir(model: GPT): void {
  const random = randomNumbers(3);
  for (const { name, shape } of model.learned.table) {
    const values = Float32Array.from(
      { length: shape[0]! * shape[1]! },
      () => (random() - 0.5) * 0.2,
    );
    model.learned.write(name, "parameter", values);
  }
}

Deno.test("lora: at first nothing changes; then only the adapters do", () =>
  withModels((base, adapted) => {
    assertEquals(adapted.evaluate(BATCH), base.evaluate(BATCH));
    const before = adapted.evaluate(BATCH).loss;
    for (let step = 1; step <= 20; step++) {
      adapted.accumulate(BATCH, { ...GRADIENT, step });
      adapted.update({ ...UPDATE, step });
    }
    assert(adapted.evaluate(BATCH).loss < before - 0.5);
    for (const { name } of parameterTable(CONFIGURATION)) {
      assertEquals(adapted.parameters.read(name, "parameter"), base.readParameter(name), name);
    }
  }));

Deno.test("lora: merged into the weights, the adapters say what they say beside them", () =>
  withModels((base, adapted) => {
    stir(adapted);
    for (const { name } of parameterTable(CONFIGURATION)) {
      base.writeParameter(name, "parameter", adapted.readParameter(name));
    }
    const beside = adapted.logits(BATCH), merged = base.logits(BATCH);
    const distance = Math.max(...beside.map((logit, i) => Math.abs(logit - merged[i]!)));
    const size = Math.max(...merged.map(Math.abs));
    assert(distance <= 1e-5 * Math.max(1, size), `${distance} of ${size}`);
  }));

for (const dropout of [0, 0.3]) {
  Deno.test(`lora: gradients are the loss's own difference quotients, dropout ${dropout}`, () =>
    withModels((_, adapted) => {
      stir(adapted);
      const loss = () => {
        const { loss } = adapted.accumulate(BATCH, GRADIENT);
        return loss / GRADIENT.normalizer;
      };
      loss();
      const table = adapterTable(CONFIGURATION, LORA);
      const gradients = table.map(({ name }) => adapted.learned.read(name, "gradient"));
      const h = 2 ** -6, random = randomNumbers(5);
      table.forEach(({ name }, t) => {
        // Along a random direction, which sees every element.
        const direction = gradients[t]!.map(() => random() - 0.5);
        const expected = direction.reduce((sum, d, i) => sum + d * gradients[t]![i]!, 0);
        const values = adapted.learned.read(name, "parameter");
        const at = (sign: number) => {
          const moved = values.map((value, i) => value + sign * h * direction[i]!);
          adapted.learned.write(name, "parameter", moved);
          return loss();
        };
        const quotient = (at(1) - at(-1)) / (2 * h);
        adapted.learned.write(name, "parameter", values);
        const size = Math.hypot(...gradients[t]!) * Math.hypot(...direction);
        assert(size > 0, name);
        assert(Math.abs(quotient - expected) <= 0.01 * size, `${name}: ${quotient} ${expected}`);
      });
    }, { ...LORA, dropout }));
}

Deno.test("lora: 124m with adapters on all layers is foretold less than 1.2 GB", () => {
  const lora = { ...LORA, rank: 8 };
  assert(memoryEstimate(presets["124m"], { training: true, tokens: 256, lora }) < 1.2e9);
});
