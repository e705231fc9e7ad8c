// Writes a directory that AutoModelForCausalLM and AutoTokenizer of transformers load as it is.

import {
  addedTokens,
  chatTemplate,
  type FormatName,
  formats,
  spelledMerges,
  spelledTokens,
  type Tokenizer,
} from "../tokenizer/mod.ts";
import { saveWeights, tokenizerOf } from "./checkpoint.ts";
import { writeFlushed } from "./directory.ts";
import { type ReadableWeights, withVocabularySteps } from "./vocabulary.ts";

/** Replaces `directory` by the weights with their tokenizer. */
export function exportHuggingFace(directory: string, source: ReadableWeights): void {
  const weights = withVocabularySteps(source);
  const { configuration, metadata } = weights;
  saveWeights(directory, configuration, { metadata }, {
    values: (name, shape) => weights.read(name, shape),
    beside: (temporary) => {
      const files = tokenizerFiles(
        tokenizerOf(metadata),
        metadata.format,
        configuration.n_positions,
      );
      for (const [name, text] of Object.entries(files)) writeFlushed(`${temporary}/${name}`, text);
    },
  });
}

/** Every file of the tokenizer, and how to generate, by name. */
function tokenizerFiles(
  tokenizer: Tokenizer,
  format: FormatName,
  longest: number,
): Record<string, string> {
  const json = (value: unknown) => JSON.stringify(value, null, 2) + "\n";
  const { special } = tokenizer;
  const tokens = spelledTokens(tokenizer), merges = spelledMerges(tokenizer);
  // Ours are added tokens: the vocabulary itself is GPT-2's, or some of it.
  const vocabulary = Object.fromEntries(
    tokens.slice(0, special.endOfText + 1).map((token, id) => [token, id]),
  );
  const textOf = (token: number) => tokens[token]!;
  const endOfText = textOf(special.endOfText);
  const added = [...addedTokens(tokenizer)].map(([id, content]) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  return {
    "generation_config.json": json({
      bos_token_id: special.endOfText,
      eos_token_id: special.endOfText,
      pad_token_id: special.pad,
    }),
    "vocab.json": JSON.stringify(vocabulary) + "\n",
    "merges.txt": ["#version: 0.2", ...merges].join("\n") + "\n",
    "tokenizer.json": JSON.stringify({
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: { ...byteLevel, use_regex: true },
      post_processor: { ...byteLevel, trim_offsets: false },
      decoder: byteLevel,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: "",
        end_of_word_suffix: "",
        fuse_unk: false,
        byte_fallback: false,
        vocab: vocabulary,
        merges: merges.map((merge) => merge.split(" ")),
      },
    }) + "\n",
    "tokenizer_config.json": json({
      tokenizer_class: "GPT2Tokenizer",
      add_prefix_space: false,
      add_bos_token: false,
      bos_token: endOfText,
      eos_token: endOfText,
      unk_token: textOf(special.unknown),
      pad_token: textOf(special.pad),
      additional_special_tokens: [
        special.startOfText,
        ...tokenizer.intents?.values() ?? [],
      ].map(textOf),
      model_max_length: longest,
      clean_up_tokenization_spaces: false,
      added_tokens_decoder: Object.fromEntries(added.map(({ id, ...rest }) => [id, rest])),
      chat_template: chatTemplate(formats[format]),
    }),
  };
}
