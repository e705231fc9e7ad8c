// The same model says the same with Hugging Face's generate and with ours.

import { assert, assertEquals } from "@std/assert";
import {
  argmax,
  generateBatch,
  GREEDY,
  logSoftmax,
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

/** Greedy texts from one prompt, each with the tokens of those before it less likely; best first. */
function diverseTexts(prompt: readonly number[], texts: number, penalty: number) {
  const said = Array.from({ length: texts }, () => ({ tokens: [] as number[], sum: 0, length: 0 }));
  const open = new Set(said);
  while (open.size > 0) {
    const taken: number[] = [];
    for (const text of open) {
      const logits = runtime.arena.scope(() =>
        model.createCache().sequence().append([...prompt, ...text.tokens]).slice()
      );
      logSoftmax(logits);
      for (const token of taken) logits[token]! -= penalty;
      const token = argmax(logits);
      taken.push(token);
      text.sum += logits[token]!;
      text.length++;
      if (token !== eos_token_id) text.tokens.push(token);
      if (token === eos_token_id || text.length === max_new_tokens) open.delete(text);
    }
  }
  return said.sort((a, b) => b.sum / b.length - a.sum / a.length);
}

Deno.test("searchBeams: groups of one beam are greedy texts that avoid each other's tokens", async () => {
  const greedy = cases.find(({ options }) => Object.keys(options).length === 0)!;
  const options = { ...optionsOf(greedy), beams: 3, beamGroups: 3 };
  let others = 0;
  for (const { prompt, tokens } of greedy.answers) {
    const search = async (diversityPenalty: number) => {
      const o = { ...options, diversityPenalty };
      return (await searchBeams(model, tokenizer, prompts[prompt]!, o)).tokens;
    };
    assertEquals(await search(0), tokens);
    const [best, ...rest] = diverseTexts(prompts[prompt]!, 3, 0.5);
    // A group goes its own way once another has ended, so only texts of full length are compared.
    if ([best!, ...rest].some(({ tokens }) => tokens.length < max_new_tokens)) continue;
    assertEquals(await search(0.5), best!.tokens);
    if (String(best!.tokens) !== String(tokens)) others++;
  }
  assert(others > 0, `${others}`);
});

Deno.test("searchBeams: a stop text ends a text, and is not part of the answer", async () => {
  const [{ prompt, tokens }] = cases[0]!.answers.filter(({ tokens }) => tokens.length > 30) as [
    GenerationCase["answers"][0],
  ];
  const stop = tokenizer.decode(tokens.slice(8, 11));
  const o = { ...optionsOf(cases[0]!), stopTexts: [stop] };
  const { text, ending } = await searchBeams(model, tokenizer, prompts[prompt]!, o);
  const whole = tokenizer.decode(tokens);
  assertEquals([text, ending], [whole.slice(0, whole.indexOf(stop)), "stop-text"]);
});

Deno.test("searchBeams: an abort ends with the likeliest text so far", async () => {
  const o = {
    ...optionsOf(cases[0]!),
    beams: 2,
    minTokens: max_new_tokens,
    signal: AbortSignal.abort(),
  };
  const { tokens, ending } = await searchBeams(model, tokenizer, prompts[0]!, o);
  assertEquals([tokens, ending], [[], "aborted"]);
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 5);
  const later = await searchBeams(model, tokenizer, prompts[1]!, { ...o, signal: stop.signal });
  assertEquals(later.ending, "aborted");
  assert(later.tokens.length > 0 && later.tokens.length < max_new_tokens);
});

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

Deno.test("searchBeams: with intents, the likeliest comes first if it is sure enough, and else the answer is that", async () => {
  // The last two tokens are intents here.
  const prompt = prompts[0]!;
  const cache = model.createCache({ tokens: 64, sequences: 1 });
  const logits = cache.sequence().append(prompt);
  const [a, b] = [logits[V - 2]!, logits[V - 1]!];
  cache.dispose();
  const sure = 1 / (1 + Math.exp(-Math.abs(a - b) / 2));
  const ask = (probability: number) => {
    const shown: string[] = [];
    const o = { ...GREEDY, beams: 3, maxTokens: max_new_tokens, stopTexts: [] };
    const unsure = { probability, answer: "No idea.", intents: [V - 2, V - 1] };
    const onText = (piece: string) => shown.push(piece);
    return searchBeams(model, tokenizer, prompt, { ...o, unsure, onText })
      .then((answer) => ({ ...answer, shown }));
  };
  const answered = await ask(sure - 0.001);
  assertEquals(answered.tokens[0], a > b ? V - 2 : V - 1);
  assert(answered.ending !== "unsure");
  const { text, ending, shown } = await ask(sure + 0.001);
  assertEquals({ text, ending, shown }, {
    text: "No idea.",
    ending: "unsure",
    shown: ["No idea."],
  });
});
