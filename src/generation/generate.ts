// Generates a text token by token from a cache of the prompt.

import type { KeyValueCache } from "../model/mod.ts";
import { createStreamDecoder, special, type Tokenizer } from "../tokenizer/mod.ts";
import { sampler, type SamplingOptions } from "./sampling.ts";
import { StopScanner } from "./stop.ts";

export interface GenerationOptions extends SamplingOptions {
  readonly maxTokens: number;
  readonly stopTexts: readonly string[];
  /** Ends the text where it is. */
  readonly signal?: AbortSignal;
  /** Called with text as soon as it is certain. */
  readonly onText?: (piece: string) => void;
}

/** Why a text ended. */
export type Ending = "end-of-text" | "stop-text" | "length" | "aborted";

export interface Generated {
  readonly text: string;
  /** What the model said, without the end-of-text token. */
  readonly tokens: number[];
  readonly ending: Ending;
}

/** What generation needs of a cache. */
export type TokenCache = Pick<KeyValueCache, "length" | "capacity" | "append">;

/** How many tokens to generate between two chances for signals and keys to be noticed. */
const TOKENS_PER_TURN = 4;

/** Continues the text whose last logits are given; the cache holds all tokens before. */
export async function generate(
  cache: TokenCache,
  firstLogits: Float32Array,
  tokenizer: Tokenizer,
  o: GenerationOptions,
): Promise<Generated> {
  const next = sampler(o);
  const scanner = new StopScanner(o.stopTexts);
  const decoder = createStreamDecoder(tokenizer);
  const show = (piece: string) => {
    if (piece !== "") o.onText?.(piece);
  };
  const tokens: number[] = [];
  let logits = firstLogits;
  const ending = await (async (): Promise<Ending> => {
    while (tokens.length < o.maxTokens) {
      if (o.signal?.aborted) return "aborted";
      const token = next(logits);
      if (token === special.endOfText) return "end-of-text";
      tokens.push(token);
      const { shown, stopped } = scanner.push(decoder.push(token));
      show(shown);
      if (stopped) return "stop-text";
      if (cache.length >= cache.capacity) return "length";
      logits = cache.append([token]);
      if (tokens.length % TOKENS_PER_TURN === 0) await new Promise((turn) => setTimeout(turn, 0));
    }
    return "length";
  })();
  // Half a character at the end is left in the decoder: it would only show as U+FFFD.
  if (ending !== "stop-text") show(scanner.finish());
  return { text: scanner.text, tokens, ending };
}
