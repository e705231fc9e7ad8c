// How the intents' logits of a trained model spread over the questions that it learned.

import { batchesOf, type Example, upToDecision } from "../data/mod.ts";
import { type GPT, IntentSpread } from "../model/mod.ts";
import type { Corpus } from "./corpus.ts";
import { evenly } from "./evenly.ts";

/** Questions of each intent that are looked at: of the shipped model, twice as many tell no more. */
const QUESTIONS = 16;
/** Tokens at a time. */
const TOKENS = 256;

/** The spread, where the corpus has enough questions that name their intents. */
export function intentSpread(
  model: GPT,
  { tokenizer: { intents }, training }: Pick<Corpus, "tokenizer" | "training">,
): IntentSpread | null {
  if (!intents?.size) return null;
  const tokens = [...intents.values()], N = tokens.length;
  const numbers = new Map(tokens.map((token, i) => [token, i]));
  const asked = training.flatMap((example) =>
    example.decision === undefined ? [] : [upToDecision(example, example.decision)]
  );
  const intentOf = ({ tokens }: Example) => numbers.get(tokens.at(-1)!)!;
  const chosen = [...Map.groupBy(asked, intentOf).values()]
    .flatMap((some) => evenly(some, QUESTIONS));
  const logits = new Float32Array(chosen.length * N);
  let done = 0;
  for (const batch of batchesOf(chosen, TOKENS)) {
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
  return IntentSpread.of(
    { logits, intents: Int32Array.from(chosen, intentOf) },
    N,
    model.configuration.n_embd,
  );
}
