// Models that other programs saved, by the fixtures of tests/reference/make_format_fixtures.py: their logits
// here are those that PyTorch computes; and what is no such model is refused.

import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  loadMoments,
  loadWeights,
  openTorchWeights,
  openWeights,
  readWeightsInfo,
  SafetensorsFile,
  saveWeights,
  type TensorSource,
  type Weights,
  writeSafetensors,
} from "../../src/checkpoint/mod.ts";
import { UserError } from "../../src/errors.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, parameterTable, presets } from "../../src/model/mod.ts";
import { assertClose } from "../reference/compare.ts";
import { readTensors } from "../reference/fixtures.ts";

const ROOT = new URL("../reference/fixtures/formats/", import.meta.url);
const FIXTURES = decodeURIComponent(ROOT.pathname);
const expected = readTensors(new URL("expected.safetensors", ROOT));
const TOKENS = expected.get("tokens") as Int32Array;
/** f32 against f32: sums of 128 products of size 1 differ by a few units in the last place. */
const BOUND = 1e-5;

async function withDirectory(work: (directory: string) => unknown): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    await work(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Logits behind the last token. */
async function logitsOf(path: string): Promise<Float32Array> {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const { configuration } = readWeightsInfo(path);
    const model = new GPT(runtime, configuration, { training: false });
    await loadWeights(path, model);
    const logits = model.logits({
      tokens: TOKENS,
      targets: new Int32Array(TOKENS.length).fill(-1),
      weights: new Float32Array(TOKENS.length),
      positions: TOKENS.map((_, i) => i),
      offsets: Int32Array.of(0, TOKENS.length),
    });
    return logits.slice(-configuration.vocab_size);
  } finally {
    runtime.close();
  }
}

function save(directory: string, weights: Weights): void {
  const { configuration, metadata } = weights;
  saveWeights(directory, configuration, { metadata }, {
    values: (name, shape) => weights.read(name, shape),
  });
}

const READ = {
  hf: ["hf", "Hugging Face: no prefix, f16, masks and a tied head beside it"],
  bin: ["bin", "pytorch_model.bin: bf16, deflated"],
  gguf: ["gpt2.gguf", "GGUF of the package gguf: f32, f16 and q8_0"],
} as const;

for (const [name, [path, title]] of Object.entries(READ)) {
  Deno.test(`logits within ${BOUND} of PyTorch: ${title}`, async () => {
    assertClose(await logitsOf(FIXTURES + path), expected.get(name)!, BOUND, path);
  });
}

Deno.test(`logits within ${BOUND} of PyTorch: the original experiment's .pth, imported`, () =>
  withDirectory(async (directory) => {
    const { weights, notes } = await openTorchWeights(`${FIXTURES}experiment.pth`, {});
    save(`${directory}/model`, weights);
    weights.close();
    assertEquals([notes, weights.configuration.n_head, weights.metadata.epoch], [[], 2, 4]);
    assertEquals(weights.configuration.activation_function, "gelu");
    assertClose(
      await logitsOf(`${directory}/model`),
      expected.get("experiment")!,
      BOUND,
      "experiment.pth",
    );
  }));

Deno.test("AdamW's state in a .pth: the next five steps' losses within 1e-4 of PyTorch", () =>
  withDirectory(async (directory) => {
    const model = `${directory}/model`;
    const { weights, notes } = await openTorchWeights(`${FIXTURES}continued.pth`, {});
    const { configuration, metadata } = weights;
    assertEquals([notes, metadata.step, weights.moments?.indices.size], [[], 5, 16]);
    saveWeights(model, configuration, { metadata }, {
      values: (name, shape) => weights.read(name, shape),
      moments: (kind, name, shape) => weights.readMoments(kind, name, shape),
    });
    weights.close();
    const losses = await nextLosses(model, true);
    assertClose(losses, expected.get("continued")!, 1e-4, "losses");
    // The moments matter: without them the same steps lead elsewhere.
    const without = await nextLosses(model, false);
    assert(Math.abs(without[4]! - losses[4]!) > 0.01, `${without} and ${losses}`);
  }));

/** Losses of five steps on the fixture's tokens, as its script has them. */
async function nextLosses(directory: string, moments: boolean): Promise<number[]> {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const { configuration, metadata } = readWeightsInfo(directory);
    const rates = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 };
    const model = new GPT(runtime, { ...configuration, ...rates }, { training: true });
    await loadWeights(directory, model);
    if (moments) loadMoments(directory, model);
    const length = TOKENS.length - 1;
    const batch = {
      tokens: TOKENS.slice(0, -1),
      targets: TOKENS.slice(1),
      weights: new Float32Array(length).fill(1),
      positions: TOKENS.slice(0, -1).map((_, i) => i),
      offsets: Int32Array.of(0, length),
    };
    return Array.from({ length: 5 }, (_, i) => {
      const options = { normalizer: length, labelSmoothing: 0, seed: 0, step: i, microStep: 0 };
      const { loss } = model.accumulate(batch, options);
      const step = (moments ? metadata.step : 0) + i + 1;
      const rates = { learningRate: 1e-2, beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
      model.update({ ...rates, weightDecay: 0, clip: Infinity, step });
      return loss / length;
    });
  } finally {
    runtime.close();
  }
}

/** Copies the directory hf, its configuration and tensors changed. */
function copy(
  directory: string,
  config: Record<string, unknown>,
  change: (tensors: TensorSource[]) => TensorSource[],
): void {
  const source = `${FIXTURES}hf`;
  const original = JSON.parse(Deno.readTextFileSync(`${source}/config.json`));
  Deno.writeTextFileSync(`${directory}/config.json`, JSON.stringify({ ...original, ...config }));
  using file = new SafetensorsFile(`${source}/model.safetensors`);
  const tensors = [...file.entries.values()].filter(({ name }) =>
    !/\.attn\.(masked_)?bias$/.test(name)
  )
    .map(({ name, shape }) => ({ name, shape, values: () => file.read(name, shape) }));
  writeSafetensors(`${directory}/model.safetensors`, change(tensors));
}

Deno.test({
  name:
    "sharded weights are those of one file; a shard elsewhere or missing is refused, and none stays open",
  sanitizeResources: true,
}, () =>
  withDirectory(async (directory) => {
    copy(directory, {}, (tensors) => {
      writeSafetensors(`${directory}/b.safetensors`, tensors.slice(7));
      const places = tensors.map((
        { name },
        i,
      ) => [name, i < 7 ? "a.safetensors" : "b.safetensors"]);
      const index = `${directory}/model.safetensors.index.json`;
      Deno.writeTextFileSync(index, JSON.stringify({ weight_map: Object.fromEntries(places) }));
      return tensors.slice(0, 7);
    });
    Deno.renameSync(`${directory}/model.safetensors`, `${directory}/a.safetensors`);
    assertClose(await logitsOf(directory), expected.get("hf")!, BOUND, "shards");
    const index = `${directory}/model.safetensors.index.json`;
    const text = Deno.readTextFileSync(index);
    const refused = async (changed: string, reason: string) => {
      Deno.writeTextFileSync(index, changed);
      const { message } = await assertRejects(() => openWeights(directory), UserError);
      assert(message.includes(reason), message);
    };
    await refused(
      text.replaceAll("b.safetensors", "../b.safetensors"),
      "which is no file beside it",
    );
    await refused(text.replaceAll("b.safetensors", "c.safetensors"), "there is no such file");
    await refused(text.replaceAll("b.safetensors", "a.safetensors"), "holds no tensor");
    await refused("{}", "it has no weight_map");
  }));

const tied = (tensors: TensorSource[]) => tensors.filter(({ name }) => name !== "lm_head.weight");
const REFUSED: Record<string, [object, (tensors: TensorSource[]) => TensorSource[], string]> = {
  "another model": [{ model_type: "llama" }, tied, 'model_type must be "gpt2"'],
  "an untied configuration": [
    { tie_word_embeddings: false },
    tied,
    "tie_word_embeddings must be true",
  ],
  "attention scaled by layer": [{ scale_attn_by_inverse_layer_idx: true }, tied, "must be false"],
  "another activation": [{ activation_function: "relu" }, tied, "must be gelu or gelu_new"],
  "heads that do not divide the channels": [{ n_head: 3 }, tied, "n_embd must be a multiple of 3"],
  "an untied head": [
    {},
    (tensors) =>
      tensors.map((t) =>
        t.name === "lm_head.weight" ? { ...t, values: () => t.values().fill(0, 0, 1) } : t
      ),
    "its head lm_head.weight is not the token embedding",
  ],
  "a wrong shape": [
    { n_positions: 8 },
    tied,
    "wpe.weight has shape [16,32], the model wants [8,32]",
  ],
  "too few layers": [{ n_layer: 3 }, tied, "holds no tensor h.2.attn.c_attn.weight"],
  "too many layers": [{ n_layer: 1 }, tied, "a GPT-2 of its configuration lacks"],
  "something else": [
    {},
    (tensors) => [...tensors, { name: "gate", shape: [1], values: () => new Float32Array(1) }],
    "holds gate, which a GPT-2",
  ],
};

for (const [what, [config, change, reason]] of Object.entries(REFUSED)) {
  Deno.test(`refused in a Hugging Face directory: ${what}`, () =>
    withDirectory(async (directory) => {
      copy(directory, config as Record<string, unknown>, change);
      const { message } = await assertRejects(() => logitsOf(directory), UserError);
      assert(message.startsWith(directory) || message.startsWith("configuration:"), message);
      assert(message.includes(reason) && !message.includes("\n"), message);
    }));
}

Deno.test("GPT-2's vocabulary grows by three tokens, the mean of all the others", () =>
  withDirectory(async (directory) => {
    const configuration = {
      ...presets.nano,
      n_embd: 4,
      n_head: 1,
      n_layer: 1,
      n_positions: 8,
      vocab_size: 50257,
    };
    const metadata = { format: "q-a", turns: 1, step: 0, epoch: 0 } as const;
    saveWeights(`${directory}/model`, configuration, { metadata }, {
      values: (_, shape) =>
        Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => i % 4 + i % 7 / 8),
    });
    using weights = await openWeights(`${directory}/model`);
    assertEquals(weights.configuration.vocab_size, 50260);
    const { name, shape } = parameterTable(weights.configuration)[0]!;
    const values = weights.read(name, shape);
    assertEquals([shape, values.length], [[50260, 4], 201040]);
    for (let channel = 0; channel < 4; channel++) {
      let sum = 0;
      for (let row = 0; row < 50257; row++) sum += values[row * 4 + channel]!;
      for (const row of [50257, 50258, 50259]) {
        assertClose([values[row * 4 + channel]!], [sum / 50257], 1e-6, `row ${row}`);
      }
    }
  }));
