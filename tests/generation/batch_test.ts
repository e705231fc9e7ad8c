// Many answers side by side are the answers that each prompt gets alone; sequences share a cache soundly.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  generate,
  generateBatch,
  type GenerationOptions,
  GREEDY,
  PromptCache,
} from "../../src/generation/mod.ts";
import { type Precision, Runtime } from "../../src/kernels/mod.ts";
import { GPT, parameterTable, presets } from "../../src/model/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();
const configuration = { ...presets.nano, n_embd: 32, n_head: 2, n_positions: 48 };

/** A random model whose answers differ, in several number formats. */
async function withModels(
  work: (models: ReadonlyMap<Precision, GPT>) => void | Promise<void>,
): Promise<void> {
  const runtime = await Runtime.start({ threads: 2 });
  try {
    const f32 = new GPT(runtime, configuration, { training: false });
    f32.initialize(3);
    const models = new Map<Precision, GPT>([["f32", f32]]);
    for (const precision of ["bf16", "int8"] as const) {
      models.set(precision, new GPT(runtime, configuration, { training: false, precision }));
    }
    for (const { name, layout } of parameterTable(configuration)) {
      const values = f32.readParameter(name).map((x) => layout === "plain" ? x : 12 * x);
      for (const model of models.values()) model.writeParameter(name, "parameter", values);
    }
    await work(models);
  } finally {
    runtime.close();
  }
}

Deno.test("generateBatch: the tokens of one at a time, for every width, format and sampling", async () => {
  await withModels(async (models) => {
    const random = randomNumbers(2);
    for (const [precision, model] of models) {
      for (const width of [1, 2, 5]) {
        const requests = Array.from({ length: 7 }, (_, i) => {
          const length = 1 + Math.floor(random() * 40);
          const options: GenerationOptions = {
            ...GREEDY,
            temperature: i % 2 === 0 ? 0 : 0.9,
            topK: 50,
            seed: i,
            repetitionPenalty: i % 3 === 0 ? 1.3 : 1,
            maxTokens: 4 + i,
            stopTexts: [],
          };
          return { prompt: Array.from({ length }, () => Math.floor(random() * 50257)), options };
        });
        const together = await generateBatch(model, tokenizer, requests, { width });
        for (const [i, { prompt, options }] of requests.entries()) {
          const mark = model.runtime.arena.mark();
          const cache = new PromptCache(model);
          const first = cache.fill(prompt);
          const alone = await generate(cache.sequence, prompt, first, tokenizer, options);
          model.runtime.arena.release(mark);
          assertEquals(together[i], alone, `${precision}, width ${width}, prompt ${i}`);
        }
      }
    }
  });
});

Deno.test("a fork goes its own way from shared rows; truncating and releasing gives rows back", async () => {
  await withModels((models) => {
    const model = models.get("f32")!;
    const cache = model.createCache({ tokens: 20, sequences: 2 });
    const alone = (tokens: number[]) => {
      const one = model.createCache();
      const logits = one.sequence().append(tokens).slice();
      one.dispose();
      return logits;
    };
    // The same bytes whether the prompt came at once: its attention differs, so compare closely.
    const near = (a: Float32Array, b: Float32Array) =>
      assert(a.every((value, i) => Math.abs(value - b[i]!) < 1e-4 * (1 + Math.abs(value))));
    const first = cache.sequence();
    first.append([5, 6, 7]);
    const second = first.fork();
    assertEquals(cache.free, 17);
    const [a, b] = cache.append([
      { sequence: first, tokens: [8] },
      { sequence: second, tokens: [9] },
    ]).map((logits) => logits.slice());
    near(a!, alone([5, 6, 7, 8]));
    near(b!, alone([5, 6, 7, 9]));
    assertEquals(cache.free, 15);
    first.truncate(1);
    assertEquals(cache.free, 16);
    near(first.append([10]).slice(), alone([5, 10]));
    near(second.append([11]).slice(), alone([5, 6, 7, 9, 11]));
    assertThrows(() => cache.sequence(), RangeError, "holds 2 sequences");
    assertThrows(() => first.append(new Array(15).fill(1)), RangeError, "free cache rows");
    assertThrows(() => first.append([]), RangeError, "no tokens");
    assertThrows(() => first.truncate(3), RangeError, "cannot truncate");
    second.release();
    first.release();
    assertEquals(cache.free, 20);
    assertThrows(
      () => cache.sequence().append(new Array(21).fill(1)),
      RangeError,
      "exceed the sequence's 20",
    );
  });
});
