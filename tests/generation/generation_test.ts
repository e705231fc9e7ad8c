// Sampling, stopping, and generation from a scripted cache.

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  argmax,
  candidates,
  ChatSession,
  generate,
  type GenerationOptions,
  GREEDY as LIKELIEST,
  logitProcessor,
  nucleus,
  sampler,
  StopScanner,
  type TokenSequence,
} from "../../src/generation/mod.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, presets } from "../../src/model/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import { formats, loadTokenizer, special } from "../../src/tokenizer/mod.ts";

const tokenizer = loadTokenizer();
const V = tokenizer.vocabularySize;
const GREEDY: GenerationOptions = { ...LIKELIEST, maxTokens: 50, stopTexts: [] };

Deno.test("argmax: the first of equals; broken logits are an error", () => {
  assertEquals(argmax(Float32Array.of(1, 3, 3, NaN)), 1);
  assertThrows(() => argmax(Float32Array.of(NaN, NaN)), Error, "not numbers");
});

Deno.test("candidates and nucleus: top-k and top-p by hand", () => {
  const logits = Float32Array.from([0.1, 0.5, 0.4], Math.log);
  const all = candidates(logits, 1, 0);
  assertEquals(all.map(({ token }) => token), [1, 2, 0]);
  all.forEach(({ probability }, i) => assert(Math.abs(probability - [0.5, 0.4, 0.1][i]!) < 1e-6));
  assertEquals(candidates(logits, 1, 2).map(({ token }) => token), [1, 2]);
  assertEquals(nucleus(all, 0.5).length, 1);
  assertEquals(nucleus(all, 0.6).length, 2);
  assertEquals(nucleus(all, 1).length, 3);
  // A low temperature sharpens: 0.5^2 against 0.4^2 and 0.1^2.
  const [sharp] = candidates(logits, 0.5, 0);
  assert(Math.abs(sharp!.probability - 0.25 / 0.42) < 1e-6);
});

Deno.test("sampler: draws as often as the probabilities say, the same for a seed, never a special", () => {
  const logits = () => {
    const values = new Float32Array(V).fill(-1000);
    values[7] = Math.log(0.7);
    values[9] = Math.log(0.3);
    for (const token of [special.pad, special.startOfText, special.unknown]) values[token] = 50;
    return values;
  };
  const draw = (seed: number) => {
    const process = logitProcessor(LIKELIEST, { special, breakers: new Set() });
    const next = sampler({ ...LIKELIEST, temperature: 1, seed });
    return Array.from({ length: 300 }, () => {
      const values = logits();
      process(values, { tokens: [], promptLength: 0 });
      return next(values);
    });
  };
  const drawn = draw(1);
  assert(drawn.every((token) => token === 7 || token === 9));
  const share = drawn.filter((token) => token === 7).length / drawn.length;
  // Four standard deviations of a binomial share: 4 * sqrt(0.7 * 0.3 / 300).
  assert(Math.abs(share - 0.7) < 0.106, String(share));
  assertEquals(draw(1), drawn);
  assert(String(draw(2)) !== String(drawn));
});

Deno.test("StopScanner: what was shown is the final text, however it comes in pieces", () => {
  const random = randomNumbers(5);
  const parts = ["\n", "Hu", "man", ":", " ", "a", "\nHuman", "b ", "\nAss"];
  for (let round = 0; round < 300; round++) {
    const scanner = new StopScanner(["\nHuman:", "\nAssistant:"]);
    let shown = "", whole = "", stopped = false;
    for (let i = 0; i < 12 && !stopped; i++) {
      const piece = parts[Math.floor(random() * parts.length)]!;
      whole += piece;
      const result = scanner.push(piece);
      shown += result.shown;
      stopped = result.stopped;
    }
    if (!stopped) shown += scanner.finish();
    const end = whole.indexOf("\nHuman:");
    assertEquals(stopped, end >= 0, JSON.stringify(whole));
    assertEquals(shown, (end < 0 ? whole : whole.slice(0, end)).trim(), JSON.stringify(whole));
    assertEquals(scanner.text, shown);
  }
});

/** A cache whose model says these tokens one after the other. */
function scripted(tokens: readonly number[], capacity = 1000) {
  let said = 0;
  const logits = () => {
    const values = new Float32Array(V);
    values[tokens[said++] ?? special.endOfText] = 1;
    return values;
  };
  const cache: TokenSequence & { length: number } = {
    length: 0,
    capacity,
    append() {
      cache.length++;
      return logits();
    },
  };
  return { cache, first: logits() };
}

Deno.test("generate: ends at the end of text, a stop text, the length, the context, or a signal", async () => {
  const say = async (
    text: string,
    options: Partial<GenerationOptions>,
    n = 1000,
  ) => {
    const { cache, first } = scripted(tokenizer.encode(text), n);
    const shown: string[] = [];
    const onText = (piece: string) => shown.push(piece);
    const result = await generate(cache, [], first, tokenizer, { ...GREEDY, ...options, onText });
    assertEquals(shown.join(""), result.text);
    return [result.text, result.ending];
  };
  assertEquals(await say(" Hi there. ", {}), ["Hi there.", "end-of-text"]);
  const stopTexts = ["\nHuman:"];
  assertEquals(await say(" Hi.\nHuman: you", { stopTexts }), ["Hi.", "stop-text"]);
  assertEquals(await say("\nHuman: you", { stopTexts }), ["", "stop-text"]);
  assertEquals(await say(" one two three", { maxTokens: 2 }), ["one two", "length"]);
  assertEquals(await say(" one two three", {}, 1), ["one two", "length"]);
  assertEquals(await say(" one", { signal: AbortSignal.abort() }), ["", "aborted"]);
  // Half of an emoji's bytes are never shown.
  assertEquals(await say("a🙂", { maxTokens: 2 }), ["a", "length"]);
});

Deno.test("ChatSession: a reused cache answers as a fresh one; the oldest turns make room", async () => {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const configuration = { ...presets.nano, n_embd: 16, n_head: 2, n_positions: 64 };
    const model = new GPT(runtime, configuration, { training: false });
    model.initialize(3);
    const ask = (session: ChatSession, text: string) =>
      session.ask(text, { ...GREEDY, maxTokens: 6 });
    const session = new ChatSession(model, tokenizer, formats["human-assistant"], 100);
    await ask(session, "Hello");
    const second = await ask(session, "What is red?");
    const fresh = new ChatSession(model, tokenizer, formats["human-assistant"], 100);
    fresh.messages.push(...session.messages.slice(0, 2));
    assertEquals((await ask(fresh, "What is red?")).tokens, second.tokens);
    let dropped = 0;
    for (let turn = 0; turn < 6; turn++) {
      dropped = (await ask(session, "And what is blue?")).dropped;
    }
    assert(dropped > 0 && dropped % 2 === 0, String(dropped));
    session.clear();
    assertEquals((await ask(session, "Hello")).dropped, 0);
    // A model of single questions is shown no more than one.
    const single = new ChatSession(model, tokenizer, formats["human-assistant"], 1);
    await ask(single, "What is blue?");
    const again = await ask(single, "Hello");
    assertEquals(again.dropped, 0);
    session.clear();
    assertEquals((await ask(session, "Hello")).tokens, again.tokens);
  } finally {
    runtime.close();
  }
});
