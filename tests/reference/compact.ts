// A small random model with a compact vocabulary and tokens for intents, for tests and check_formats.py.

import { saveWeights } from "../../src/checkpoint/mod.ts";
import { presets } from "../../src/model/mod.ts";
import {
  CompactTokenizer,
  loadTokenizer,
  vocabularyOf,
  withSteps,
} from "../../src/tokenizer/mod.ts";

/** Writes it to `directory`, with or without the steps to its tokens. */
export function saveCompact(
  directory: string,
  corpus: readonly string[],
  intents: readonly string[],
  steps = false,
): void {
  const gpt2 = loadTokenizer();
  const used = vocabularyOf(corpus, gpt2);
  const vocabulary = steps ? withSteps(used) : used;
  const { vocabularySize } = new CompactTokenizer(gpt2, vocabulary, intents);
  const configuration = {
    ...presets.nano,
    vocab_size: vocabularySize,
    n_positions: 64,
    n_embd: 32,
    n_head: 2,
    n_layer: 1,
  };
  const metadata = { format: "q-a", turns: 2, step: 5, epoch: 1, vocabulary, intents } as const;
  saveWeights(directory, configuration, { metadata }, {
    values: (name, shape) =>
      Float32Array.from(
        { length: shape.reduce((a, b) => a * b) },
        (_, i) => Math.sin(i * i * 0.7 + name.length),
      ),
  });
}
