// Compact vocabularies for other programs, whose BPE can merge tokens and cannot take one apart again: the steps to
// the kept tokens are kept too.

import type { Configuration } from "../model/mod.ts";
import { withSteps } from "../tokenizer/mod.ts";
import { type Metadata, tokenizerOf } from "./checkpoint.ts";
import { TOKENS } from "./spellings.ts";

/** A model's weights as they are exported: a tensor at a time in our names and layouts. */
export interface ReadableWeights {
  readonly configuration: Configuration;
  readonly metadata: Metadata;
  read(name: string, shape: readonly number[]): Float32Array;
}

/**
 * Weights whose vocabulary holds the steps to all its tokens, so that it is a BPE like any other. Text of kept tokens
 * alone is encoded as before. The model never saw a step, which has the row of `<|pad|>`: a token that training taught
 * it never to say. (The mean of a step's pieces takes 5 % of the probability from the shipped model's answers.)
 */
export function withVocabularySteps(weights: ReadableWeights): ReadableWeights {
  const { configuration, metadata } = weights;
  const { vocabulary: kept } = metadata;
  if (kept === undefined) return weights;
  const vocabulary = withSteps(kept);
  const more = vocabulary.length - kept.length;
  if (more === 0) return weights;
  const { pad } = tokenizerOf(metadata).special;
  const rowOf = new Map(kept.map((token, row) => [token, row]));
  return {
    configuration: { ...configuration, vocab_size: configuration.vocab_size + more },
    metadata: { ...metadata, vocabulary },
    read: (name, shape) => {
      if (name !== TOKENS) return weights.read(name, shape);
      const [V, C] = shape as [number, number];
      const rows = weights.read(name, [V - more, C]);
      const grown = new Float32Array(V * C);
      for (let at = 0; at < V; at++) {
        // Special tokens and intents stay behind the others.
        const row = at < vocabulary.length ? rowOf.get(vocabulary[at]!) ?? pad : at - more;
        grown.set(rows.subarray(row * C, (row + 1) * C), at * C);
      }
      return grown;
    },
  };
}
