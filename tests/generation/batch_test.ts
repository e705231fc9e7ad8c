// Answers side by side are the answers one by one; sequences of a cache share, give back and run out of rows.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type DecodingOptions,
  generate,
  generateBatch,
  GREEDY,
  PromptCache,
  type Request,
} from "../../src/generation/mod.ts";
import { type Precision, Runtime } from "../../src/kernels/mod.ts";
import { GPT, parameterTable, presets } from "../../src/model/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import { loadTokenizer, special } from "../../src/tokenizer/mod.ts";
import { assertWithin, largest } from "../kernels/helpers.ts";
import { randomIntegers } from "../reference/kernels.ts";

const tokenizer = loadTokenizer();
const runtime = await Runtime.start({ threads: 2 });
Deno.test.afterAll(() => runtime.close());

const configuration = { ...presets.nano, n_embd: 32, n_positions: 64 };
const PRECISIONS: readonly Precision[] = ["f32", "bf16", "int8"];
const models = new Map(PRECISIONS.map((precision) => [precision, randomModel(precision)]));

/** The same random weights in every precision, far enough apart that answers differ. */
function randomModel(precision: Precision): GPT {
  const model = new GPT(runtime, configuration, { training: false, precision });
  runtime.arena.scope(() => {
    const origin = new GPT(runtime, configuration, { training: false });
    origin.initialize(11);
    for (const { name, initial } of parameterTable(configuration)) {
      const values = origin.readParameter(name);
      const wider = typeof initial === "object"
        ? values.map((value) => value * (0.2 / initial.deviation))
        : values;
      model.writeParameter(name, "parameter", wider);
    }
  });
  return model;
}

/** Random prompts, the longest with room for one token or none, and options of every kind. */
function randomRequests(count: number, seed: number): Request[] {
  const random = randomNumbers(seed);
  const ways: Partial<DecodingOptions>[] = [
    {},
    { temperature: 1, topK: 50 },
    { temperature: 0.7, topP: 0.9, repetitionPenalty: 1.2 },
    { noRepeatNgram: 2, minTokens: 3 },
  ];
  return Array.from({ length: count }, (_, i) => {
    const length = [1, 63, 64][i] ?? 1 + Math.floor(random() * 40);
    const options = {
      ...GREEDY,
      stopTexts: [],
      maxTokens: 1 + Math.floor(random() * 16),
      // So that some answers end by themselves.
      logitBias: new Map([[special.endOfText, random() * 8]]),
      seed: i,
      ...ways[i % ways.length],
    };
    return { prompt: [...randomIntegers(length, 50_000, seed * 100 + i)], options };
  });
}

for (const precision of PRECISIONS) {
  Deno.test(`generateBatch: in ${precision}, the answers that each prompt gets alone, for any width`, async () => {
    const model = models.get(precision)!;
    const requests = randomRequests(10, 1);
    const alone = [];
    for (const { prompt, options } of requests) {
      const mark = runtime.arena.mark();
      const cache = new PromptCache(model);
      const logits = cache.fill(prompt);
      alone.push(await generate(cache.sequence, prompt, logits, tokenizer, options));
      runtime.arena.release(mark);
    }
    const endings = new Set(alone.map(({ ending }) => ending));
    assert(endings.has("end-of-text") && endings.has("length"), [...endings].join());
    assert(new Set(alone.map(({ tokens }) => tokens.length)).size > 3);
    for (const width of [1, 2, 5]) {
      const done: number[] = [];
      const together = await generateBatch(model, tokenizer, requests, {
        width,
        onDone: (index) => done.push(index),
      });
      assertEquals(together, alone, `width ${width}`);
      assertEquals(done.toSorted((a, b) => a - b), [...requests.keys()]);
    }
  });
}

Deno.test("generateBatch: no requests, no answers; an abort leaves the rest undone", async () => {
  const model = models.get("f32")!;
  assertEquals(await generateBatch(model, tokenizer, [], { width: 3 }), []);
  const stop = new AbortController();
  const requests = randomRequests(6, 2);
  const answers = await generateBatch(model, tokenizer, requests, {
    width: 1,
    signal: stop.signal,
    onDone: (index) => index === 2 && stop.abort(),
  });
  assertEquals(Object.keys(answers), ["0", "1", "2"]);
});

Deno.test("generateBatch: gives its memory back", async () => {
  const model = models.get("f32")!;
  const before = runtime.arena.mark();
  await generateBatch(model, tokenizer, randomRequests(4, 3), { width: 2 });
  assertEquals(runtime.arena.mark(), before);
});

/** Fails unless logits differ from others by no more than a share of the largest. */
function assertNear(actual: Float32Array, expected: Float32Array, share: number, what = ""): void {
  const bound = share * largest(expected);
  assertWithin(actual, expected, bound, what);
}

Deno.test("PromptCache: in every precision, a prompt behind one that began alike has nearly a fresh prompt's logits", () => {
  for (const [precision, model] of models) {
    // A step of one token has activations of 14 bits in int8; otherwise, only the order of sums differs.
    const share = precision === "int8" ? 1e-3 : 1e-5;
    runtime.arena.scope(() => {
      const prompt = [...randomIntegers(30, 50_000, 5)];
      const fresh = new PromptCache(model).fill(prompt).slice();
      for (const shared of [30, 29, 12, 0]) {
        const cache = new PromptCache(model);
        cache.fill([...prompt.slice(0, shared), 7, 8, 9]);
        assertNear(cache.fill(prompt), fresh, share, `${precision}, ${shared} shared tokens`);
      }
    });
  }
});

const TOKENS = randomIntegers(20, 50_000, 7);

/** Logits behind tokens in a cache of their own. */
function logitsOf(model: GPT, tokens: ArrayLike<number>): Float32Array {
  return runtime.arena.scope(() => model.createCache().sequence().append(tokens).slice());
}

Deno.test("CachedSequence: a fork shares its rows and goes its own way", () => {
  const model = models.get("f32")!;
  runtime.arena.scope(() => {
    const cache = model.createCache({ tokens: 30, sequences: 3 });
    const first = cache.sequence();
    first.append(TOKENS.subarray(0, 10));
    assertEquals([first.length, cache.free], [10, 20]);
    const second = first.fork(), third = second.fork();
    assertEquals([second.length, third.length, cache.free], [10, 10, 20]);
    const logits = cache.append([
      { sequence: third, tokens: [3] },
      { sequence: first, tokens: [1] },
      { sequence: second, tokens: [2] },
    ]).map((row) => row.slice());
    assertEquals(cache.free, 17);
    [3, 1, 2].forEach((token, i) => {
      const expected = logitsOf(model, [...TOKENS.subarray(0, 10), token]);
      assertNear(logits[i]!, expected, 1e-5, `behind ${token}`);
    });
  });
});

Deno.test("CachedSequence: truncate and release give back the rows that no other sequence holds", () => {
  const model = models.get("f32")!;
  runtime.arena.scope(() => {
    const cache = model.createCache({ tokens: 30, sequences: 2 });
    const first = cache.sequence();
    first.append(TOKENS.subarray(0, 10));
    const second = first.fork();
    first.truncate(4);
    assertEquals([first.length, cache.free], [4, 20]);
    second.truncate(7);
    assertEquals(cache.free, 23);
    second.release();
    assertEquals(cache.free, 26);
    const logits = first.append(TOKENS.subarray(4, 12)).slice();
    assertNear(logits, logitsOf(model, TOKENS.subarray(0, 12)), 1e-5);
    assertThrows(() => first.truncate(13), RangeError, "sequence of 12 tokens to 13");
    first.release();
    assertEquals(cache.free, 30);
    // Both places are free again.
    cache.sequence();
    cache.sequence();
  });
});

Deno.test("CachedSequence: a truncated fork does not disturb the sequence that it came from", () => {
  const model = models.get("f32")!;
  runtime.arena.scope(() => {
    const cache = model.createCache({ tokens: 40, sequences: 2 });
    const first = cache.sequence();
    first.append(TOKENS.subarray(0, 10));
    const second = first.fork();
    second.truncate(2);
    second.append([5, 6, 7, 8]);
    const logits = first.append([9]).slice();
    assertNear(logits, logitsOf(model, [...TOKENS.subarray(0, 10), 9]), 1e-5);
  });
});

Deno.test("KeyValueCache: says when it is full, and changes nothing then", () => {
  const model = models.get("f32")!;
  runtime.arena.scope(() => {
    const cache = model.createCache({ tokens: 12, sequences: 2 });
    const first = cache.sequence(), second = cache.sequence();
    assertThrows(() => cache.sequence(), RangeError, "2 sequences");
    assertThrows(() => first.fork(), RangeError, "2 sequences");
    first.append(TOKENS.subarray(0, 8));
    assertThrows(() => second.append(TOKENS.subarray(0, 5)), RangeError, "5 tokens for 4 free");
    assertThrows(() => first.append(TOKENS.subarray(0, 5)), RangeError, "8 + 5 tokens exceed");
    assertThrows(() => first.append([]), RangeError, "no tokens");
    assertEquals([first.length, second.length, cache.free], [8, 0, 4]);
    second.append(TOKENS.subarray(0, 4));
    assertEquals(cache.free, 0);
  });
  assertThrows(() => model.createCache({ tokens: 0 }), RangeError);
});
