// Answers sampled from a model, to be judged: many side by side, with nothing taken away from them.

import { generateBatch, type Generated, GREEDY, tokenAt } from "../../generation/mod.ts";
import type { GPT } from "../../model/mod.ts";
import { randomNumbers } from "../../random.ts";
import { type FormatName, formats, stopTexts, type Tokenizer } from "../../tokenizer/mod.ts";

/** One answer that is asked for. */
export interface SampleRequest {
  readonly prompt: readonly number[];
  readonly format: FormatName;
  /** The same seed gives the same answer. */
  readonly seed: number;
}

/**
 * Answers in the order of the requests, drawn from the whole distribution at a temperature; undefined for those that an
 * abort left undone.
 */
export function sampleAnswers(
  model: GPT,
  tokenizer: Tokenizer,
  requests: readonly SampleRequest[],
  { temperature, maxTokens, signal }: {
    readonly temperature: number;
    readonly maxTokens: number;
    readonly signal?: AbortSignal;
  },
): Promise<(Generated | undefined)[]> {
  const asked = requests.map(({ prompt, format, seed }) => {
    const random = randomNumbers(seed);
    const choose = (logits: Float32Array) => tokenAt(logits, temperature, random());
    const filter = { rules: new Set<never>() };
    const options = { ...GREEDY, maxTokens, stopTexts: stopTexts(formats[format]), filter, choose };
    return { prompt, options };
  });
  return generateBatch(model, tokenizer, asked, { width: asked.length, signal });
}
