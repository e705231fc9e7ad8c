// The same tokens as Hugging Face's transformers, by the fixtures of make_generation_fixtures.py.

import { assertEquals } from "@std/assert";
import { generate, GREEDY, PromptCache, searchBeams } from "../../src/generation/mod.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT } from "../../src/model/mod.ts";
import type { Tokenizer } from "../../src/tokenizer/mod.ts";
import { readFixture } from "../reference/fixtures.ts";

interface Case {
  readonly model: "gelu" | "gelu_new";
  readonly case: string;
  /** As `generate` of transformers takes them. */
  readonly options: {
    readonly num_beams?: number;
    readonly length_penalty?: number;
    readonly early_stopping?: boolean;
    readonly no_repeat_ngram_size?: number;
    readonly repetition_penalty?: number;
  };
  readonly prompt: number[];
  readonly end: number;
  readonly max_tokens: number;
  readonly tokens: number[];
}

const path = new URL("../reference/fixtures/generation.json", import.meta.url);
const cases: Case[] = JSON.parse(Deno.readTextFileSync(path));

/** Tokens without text: a model of 211 tokens has no words. */
function tokenizer(end: number): Tokenizer {
  return {
    vocabularySize: 211,
    special: { endOfText: end, pad: 1000, startOfText: 1001, unknown: 1002 },
    encode: () => [],
    decode: () => "",
    decodeBytes: () => new Uint8Array(),
  };
}

for (const name of ["gelu", "gelu_new"] as const) {
  Deno.test(`${name}: greedy, penalties and beam search choose transformers' tokens`, async () => {
    const fixture = readFixture(name);
    const runtime = await Runtime.start({ threads: 1 });
    try {
      const model = new GPT(runtime, fixture.configuration, { training: false });
      for (const [name, values] of fixture.parameters) {
        model.writeParameter(name, "parameter", values);
      }
      for (const { case: title, model: of, options: o, prompt, end, ...expected } of cases) {
        if (of !== name) continue;
        const options = {
          ...GREEDY,
          stopTexts: [],
          maxTokens: expected.max_tokens,
          beams: o.num_beams ?? 1,
          lengthPenalty: o.length_penalty ?? 1,
          earlyStopping: o.early_stopping ?? false,
          noRepeatNgram: o.no_repeat_ngram_size ?? 0,
          repetitionPenalty: o.repetition_penalty ?? 1,
        };
        const mark = runtime.arena.mark();
        const cache = new PromptCache(model);
        const { tokens } = options.beams > 1
          ? await searchBeams(model, tokenizer(end), prompt, options)
          : await generate(cache.sequence, prompt, cache.fill(prompt), tokenizer(end), options);
        runtime.arena.release(mark);
        assertEquals(tokens, expected.tokens, `${title}, behind ${prompt}`);
      }
    } finally {
      runtime.close();
    }
  });
}
