// The tokenizer, its special tokens, and the formats of conversations.

export { areAlike, mapTokens, type Translation, Translator } from "./alignment.ts";
export {
  addedTokens,
  chatTemplate,
  readSpelledTokens,
  spelledMerges,
  spelledTokens,
} from "./files.ts";
export {
  type ChatFormat,
  type FormatName,
  formatNames,
  formats,
  type Message,
  render,
  renderPrompt,
  type Segment,
  stopTexts,
} from "./formats.ts";
export { checkVocabulary, CompactTokenizer, vocabularyOf } from "./compact.ts";
export { withSteps } from "./steps.ts";
export { special, specialText, type SpecialTokens, VOCABULARY_SIZE } from "./special.ts";
export {
  createStreamDecoder,
  type DecodeOptions,
  intentOf,
  loadTokenizer,
  type StreamDecoder,
  type Tokenizer,
  tokenOfIntent,
} from "./tokenizer.ts";
