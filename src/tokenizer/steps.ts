// The tokens that GPT-2's BPE passes through on the way to others: " language" is " l" and "anguage", which is
// "angu" and "age". A vocabulary that holds the steps to each of its tokens is a BPE of its own.

import { gpt2Bytes } from "./encoder.ts";
import { mergeBytes } from "./merge.ts";

/**
 * The tokens of bytes whose last merge makes them one: with all tokens but their own, BPE ends in two parts.
 * @param ranks tokens by their bytes, among them the steps to these
 */
export function partsOf(bytes: string, ranks: ReadonlyMap<string, number>): number[] {
  return mergeBytes(bytes, { get: (union) => union === bytes ? undefined : ranks.get(union) });
}

/** GPT-2 tokens together with the steps to them, ascending. */
export function withSteps(tokens: readonly number[]): number[] {
  const bytes = gpt2Bytes();
  const ranks = new Map(bytes.map((spelling, token) => [spelling, token]));
  const found = new Set(tokens);
  // A set goes on to what is added to it on the way.
  for (const token of found) {
    if (bytes[token]!.length === 1) continue;
    for (const part of partsOf(bytes[token]!, ranks)) found.add(part);
  }
  return [...found].sort((a, b) => a - b);
}
