// Mixed precision and recomputation: the same bytes where they must be the same, gradients as near as bf16 allows.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Runtime } from "../../src/kernels/mod.ts";
import {
  type Configuration,
  GPT,
  memoryEstimate,
  type ModelOptions,
  type Normalization,
  NORMALIZATIONS,
  presets,
} from "../../src/model/mod.ts";
import { assertCloseInNorm } from "../reference/compare.ts";
import { randomIntegers } from "../reference/kernels.ts";

const CONFIGURATION: Configuration = {
  ...presets.nano,
  ...{ vocab_size: 203, n_positions: 64, n_embd: 60, n_head: 3, n_layer: 3 },
};

/** Sequences of 1, 40 and 9 tokens. */
const N = 50;
const BATCH = {
  tokens: randomIntegers(N, 203, 1),
  targets: randomIntegers(N, 203, 2),
  positions: Int32Array.from({ length: N }, (_, i) => i < 1 ? 0 : i < 41 ? i - 1 : i - 41),
  offsets: Int32Array.from([0, 1, 41, 50]),
};
const PASS = { normalizer: N, labelSmoothing: 0.1, seed: 7, step: 3, microStep: 1 };
const UPDATE = {
  ...{ learningRate: 1e-3, weightDecay: 0.01, clip: 1, step: 1 },
  ...{ beta1: 0.9, beta2: 0.99, epsilon: 1e-8 },
};

const runtimes = await Promise.all(
  [1, 2].map((threads) => Runtime.start({ threads, kernel: "6x8" })),
);
Deno.test.afterAll(() => runtimes.forEach((runtime) => runtime.close()));

interface TestOptions extends Partial<ModelOptions> {
  readonly normalization?: Normalization;
}

/** Works on a model that begins as `seed` 5 has it. */
function onModel<T>(options: TestOptions, work: (model: GPT) => T, threads = 1): T {
  const runtime = runtimes[threads - 1]!, { normalization = "layernorm", ...made } = options;
  return runtime.arena.scope(() => {
    const configuration = { ...CONFIGURATION, normalization };
    const model = new GPT(runtime, configuration, { training: true, ...made });
    if (model.parameters.precision === "f32") model.initialize(5);
    return work(model);
  });
}

/** Every gradient by name, batch statistics among them, and the loss. */
function gradients(model: GPT, layerDrop = 0): Map<string, Float32Array> {
  const { loss } = model.accumulate(BATCH, { ...PASS, layerDrop });
  return new Map([
    ["loss", Float32Array.of(loss)],
    ...model.learned.table.map(({ name }) => [name, model.learned.read(name, "gradient")] as const),
  ]);
}

function assertSame(actual: Map<string, Float32Array>, expected: Map<string, Float32Array>) {
  for (const [name, values] of expected) {
    const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);
    const other = bits(actual.get(name)!);
    assert(bits(values).every((bit, i) => bit === other[i]), `${name} differs`);
  }
}

for (const precision of ["f32", "bf16"] as const) {
  Deno.test(`recompute, ${precision}: gradients have the bytes of a run that keeps everything, with every norm, with dropout, with layers left out, with adapters, on 1 and 2 threads`, () => {
    const lora = { rank: 3, alpha: 6, targets: ["c_attn", "c_fc"], dropout: 0.2 } as const;
    const norms = NORMALIZATIONS.map((normalization) => ({ normalization }));
    for (const layerDrop of [0, 0.4]) {
      for (const more of [...norms, { lora }]) {
        const run = (recompute: boolean, threads = 1) =>
          onModel({ precision, recompute, ...more }, (m) => gradients(m, layerDrop), threads);
        const kept = run(false);
        assertSame(run(true), kept);
        assertSame(run(true, 2), kept);
        assertSame(run(false, 2), kept);
      }
    }
  });
}

Deno.test("bf16: a training model says what the same weights say in bf16 for generation, to the byte", () => {
  const { loss, values } = onModel({ precision: "bf16" }, (model) => ({
    loss: model.evaluate(BATCH),
    values: model.learned.table.map(({ name }) => [name, model.readParameter(name)] as const),
  }));
  const generating = { training: false, precision: "bf16" } as const;
  onModel(generating, (model) => {
    for (const [name, tensor] of values) model.writeParameter(name, "parameter", tensor);
    assertEquals(model.evaluate(BATCH), loss);
  });
  const full = onModel({}, (model) => model.evaluate(BATCH));
  assert(full.loss !== loss.loss && Math.abs(full.loss - loss.loss) < 1e-3 * full.loss);
});

Deno.test("bf16: every gradient within 8 x 2^-9 in norm of f32 at the rounded weights: backward sees those, and its activations are off by 2^-9", () => {
  const mixed = onModel({ precision: "bf16" }, (model) => gradients(model));
  const exact = onModel({}, (model) => {
    for (const { name, shape } of model.learned.table) {
      if (shape.length === 1 || name.includes("wpe")) continue;
      model.writeParameter(name, "parameter", model.readParameter(name).map(roundedToBf16));
    }
    return gradients(model);
  });
  assertEquals(mixed.get("loss"), exact.get("loss"));
  for (const [name, gradient] of exact) {
    // Softmax is blind to the keys' bias, whose gradient is rounding error.
    const known = (x: Float32Array) =>
      name.endsWith("c_attn.bias") ? x.filter((_, i) => Math.floor(i / 60) !== 1) : x;
    assertCloseInNorm(known(mixed.get(name)!), known(gradient), 8 * 2 ** -9, name);
  }
});

const word = new DataView(new ArrayBuffer(4));

/** The nearest bf16, ties to even. */
function roundedToBf16(x: number): number {
  word.setFloat32(0, x);
  const bits = word.getUint32(0);
  word.setUint32(0, ((bits + 0x7fff + (bits >>> 16 & 1)) & 0xffff0000) >>> 0);
  return word.getFloat32(0);
}

Deno.test("int8 is no precision to train in, and no format for what Lion and Muon keep", () => {
  onModel({ training: false }, ({ runtime }) => {
    const refused = (options: Partial<ModelOptions>, message: string) =>
      assertThrows(
        () => new GPT(runtime, CONFIGURATION, { training: true, ...options }),
        TypeError,
        message,
      );
    refused({ precision: "int8" }, "int8 is not trained");
    refused({ optimizer: "lion", moments: "int8" }, "lion keeps no moments in int8");
    refused({ optimizer: "muon", moments: "bf16" }, "muon keeps no moments in bf16");
  });
});

/** What a model keeps beside its parameters. */
const KEPT: Partial<ModelOptions>[] = [
  { moments: "f32", average: true },
  { moments: "bf16" },
  { moments: "int8" },
  { optimizer: "lion" },
  { optimizer: "muon" },
];

for (const precision of ["f32", "bf16"] as const) {
  for (const recompute of [false, true]) {
    for (const kept of KEPT) {
      const options = { precision, recompute, ...kept, training: true };
      Deno.test(`memoryEstimate: within 5 % of what a step and saving use, ${JSON.stringify(options)}`, async () => {
        const configuration = { ...presets.nano, vocab_size: 500, n_embd: 128, n_layer: 6 };
        const runtime = await Runtime.start({ threads: 1, kernel: "6x8" });
        try {
          const start = runtime.arena.used, T = 400;
          const model = new GPT(runtime, configuration, options);
          const tokens = randomIntegers(T, 500, 1), positions = tokens.map((_, i) => i);
          const batch = { tokens, targets: tokens, positions, offsets: Int32Array.of(0, T) };
          model.accumulate(batch, { ...PASS, normalizer: T });
          model.update(UPDATE);
          model.learned.read("transformer.wte.weight", "exp_avg");
          const used = runtime.arena.highest - start;
          const foretold = memoryEstimate(configuration, { ...options, tokens: T });
          assert(Math.abs(foretold - used) <= 0.05 * used, `${foretold} foretold, ${used} used`);
        } finally {
          runtime.close();
        }
      });
    }
  }
}
