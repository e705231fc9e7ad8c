// The same model says the same with Hugging Face's generate and with ours.

import { assert, assertEquals } from "@std/assert";
import {
  generateBatch,
  GREEDY,
  searchBeams,
  type WriterOptions,
} from "../../src/generation/mod.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT } from "../../src/model/mod.ts";
import type { Tokenizer } from "../../src/tokenizer/mod.ts";
import { type GenerationCase, readGenerationFixture } from "../reference/fixtures.ts";

const { configuration, parameters, expected } = readGenerationFixture();
const { prompts, cases, max_new_tokens, eos_token_id } = expected;
const runtime = await Runtime.start({ threads: 1 });
Deno.test.afterAll(() => runtime.close());

const model = new GPT(runtime, configuration, { training: false });
for (const [name, values] of parameters) model.writeParameter(name, "parameter", values);

/** Tokens that are letters; all but the end of text lie beyond the vocabulary. */
const V = configuration.vocab_size;
const tokenizer: Tokenizer = {
  vocabularySize: V,
  special: { endOfText: eos_token_id, pad: V, startOfText: V + 1, unknown: V + 2 },
  encode: () => [],
  decode: (tokens) => String.fromCharCode(...Array.from(tokens, (token) => 65 + token)),
  decodeBytes: (tokens) => Uint8Array.from(tokens, (token) => 65 + token),
};

/** Our options for Hugging Face's. */
function optionsOf({ options: o }: GenerationCase): WriterOptions {
  return {
    ...GREEDY,
    beams: o.num_beams ?? 1,
    lengthPenalty: o.length_penalty ?? 1,
    earlyStopping: o.early_stopping ?? false,
    repetitionPenalty: o.repetition_penalty ?? 1,
    noRepeatNgram: o.no_repeat_ngram_size ?? 0,
    minTokens: o.min_new_tokens ?? 0,
    maxTokens: max_new_tokens,
    stopTexts: [],
    filter: { rules: new Set() },
  };
}

for (const one of cases) {
  const options = optionsOf(one), { answers } = one;
  Deno.test(`generate as Hugging Face: ${JSON.stringify(one.options)}`, async () => {
    // Some texts end by themselves, and some have to be cut.
    assert(answers.some(({ ended }) => ended) && answers.some(({ ended }) => !ended));
    const requests = answers.map(({ prompt }) => ({ prompt: prompts[prompt]!, options }));
    const said = await generateBatch(model, tokenizer, requests, { width: 3 });
    assertEquals(
      said.map((answer) => ({ tokens: answer!.tokens, ending: answer!.ending })),
      answers.map(({ tokens, ended }) => ({ tokens, ending: ended ? "end-of-text" : "length" })),
    );
  });
}

Deno.test("searchBeams: one beam is greedy; beams give the cache back", async () => {
  const [greedy] = cases.filter(({ options }) => Object.keys(options).length === 0);
  const before = runtime.arena.mark();
  for (const { prompt, tokens } of greedy!.answers) {
    const { tokens: said } = await searchBeams(
      model,
      tokenizer,
      prompts[prompt]!,
      optionsOf(greedy!),
    );
    assertEquals(said, tokens);
  }
  assertEquals(runtime.arena.mark(), before);
});
