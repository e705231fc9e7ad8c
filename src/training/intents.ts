// How the intents' logits of a trained model spread over the questions that it learned.

import { batchesOf, type Example, UNKNOWN, upToDecision } from "../data/mod.ts";
import { type GPT, IntentSpread } from "../model/mod.ts";
import type { Corpus } from "./corpus.ts";
import { evenly } from "./evenly.ts";
import { EVALUATION_TOKENS } from "./run.ts";

/** More intents than these are left alone: the spread grows with their square, the work with their cube. */
const MOST_INTENTS = 1024;
/** Questions of each intent that are looked at: of the shipped model, twice as many tell no more. */
const QUESTIONS = 16;

/**
 * The spread, where the corpus has enough questions that name their intents. The background are those that nobody is to
 * answer, or where there are none, all of them.
 */
export function intentSpread(
  model: GPT,
  { tokenizer: { intents }, training }: Pick<Corpus, "tokenizer" | "training">,
): IntentSpread | null {
  if (!intents?.size || intents.size > MOST_INTENTS) return null;
  const tokens = [...intents.values()], unknown = intents.get(UNKNOWN);
  const asked = training.flatMap((example) =>
    example.decision === undefined ? [] : [upToDecision(example, example.decision)]
  );
  const { known = [], besides = [] } = Object.groupBy(
    asked,
    (example) => intentOf(example) === unknown ? "besides" : "known",
  );
  const chosen = [...Map.groupBy(known, intentOf).values()]
    .flatMap((some) => evenly(some, QUESTIONS));
  const logits = intentLogits(model, chosen, tokens);
  const background = besides.length === 0
    ? logits
    : intentLogits(model, evenly(besides, chosen.length), tokens);
  const numbers = new Map(tokens.map((token, i) => [token, i]));
  const labels = Int32Array.from(chosen, (example) => numbers.get(intentOf(example))!);
  const { n_embd } = model.configuration;
  return IntentSpread.of({ logits, intents: labels }, background, tokens.length, n_embd);
}

const intentOf = ({ tokens }: Example) => tokens.at(-1)!;

/** The logits [n, N] of N tokens, behind all of each example but its last token. */
function intentLogits(
  model: GPT,
  examples: readonly Example[],
  tokens: readonly number[],
): Float32Array {
  const N = tokens.length, logits = new Float32Array(examples.length * N);
  let done = 0;
  for (const batch of batchesOf(examples, EVALUATION_TOKENS)) {
    const last = batch.offsets.slice(1).map((end) => end - 1);
    model.predict(batch, last, (found, first) => {
      const values = model.runtime.f32(found), [rows, width] = found.shape as [number, number];
      for (let row = 0; row < rows; row++) {
        const to = (done + first + row) * N;
        tokens.forEach((token, i) => logits[to + i] = values[row * width + token]!);
      }
    });
    done += last.length;
  }
  return logits;
}
