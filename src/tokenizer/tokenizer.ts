// GPT-2's tokenizer, and what every tokenizer can do.

import { Encoder, gpt2Bytes } from "./encoder.ts";
import { special, specialText, type SpecialTokens, VOCABULARY_SIZE } from "./special.ts";

export interface DecodeOptions {
  /** Spell special tokens, as in `<|endoftext|>`, instead of leaving them out. */
  readonly spellSpecial?: boolean;
}

export interface Tokenizer {
  /** Tokens that name what a question wants to know; they are part of no text. */
  readonly intents?: ReadonlyMap<string, number>;
  readonly vocabularySize: number;
  readonly special: SpecialTokens;
  /** Tokens of a text, which never becomes a special token. */
  encode(text: string): number[];
  /**
   * The text of tokens; bytes that are no UTF-8 become U+FFFD.
   * @throws RangeError for a number that is no token
   */
  decode(tokens: ArrayLike<number>, options?: DecodeOptions): string;
  /** As `decode`, before the bytes become text. */
  decodeBytes(tokens: ArrayLike<number>, options?: DecodeOptions): Uint8Array<ArrayBuffer>;
}

/** The token that names an intent, if there is one. */
export function tokenOfIntent(
  { intents }: Tokenizer,
  intent: string | undefined,
): number | undefined {
  return intent === undefined ? undefined : intents?.get(intent);
}

/** The intent that a token names, if it is one's. */
export function intentOf({ intents }: Tokenizer, token: number | undefined): string | undefined {
  return [...intents ?? []].find(([, named]) => named === token)?.[0];
}

/** A byte order mark within a text is a character like others: decoding gives back what was encoded. */
const KEEP_BOM = { ignoreBOM: true };

/** Turns tokens into text as they come, never half a character. */
export interface StreamDecoder {
  /** The text that the token completes; may be empty. */
  push(token: number): string;
}

class Gpt2Tokenizer implements Tokenizer {
  readonly vocabularySize = VOCABULARY_SIZE;
  readonly special = special;
  readonly #decoder = new TextDecoder("utf-8", KEEP_BOM);
  readonly #tokens = gpt2Bytes();
  readonly #encoder = new Encoder(new Map(this.#tokens.map((bytes, rank) => [bytes, rank])));

  encode(text: string): number[] {
    return this.#encoder.encode(text);
  }

  decode(tokens: ArrayLike<number>, options: DecodeOptions = {}): string {
    return this.#decoder.decode(this.decodeBytes(tokens, options));
  }

  decodeBytes(tokens: ArrayLike<number>, options: DecodeOptions = {}): Uint8Array<ArrayBuffer> {
    let bytes = "";
    for (let i = 0; i < tokens.length; i++) {
      bytes += this.#bytesOf(tokens[i]!, options.spellSpecial ?? false);
    }
    return Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
  }

  #bytesOf(token: number, spellSpecial: boolean): string {
    const spelling = specialText.get(token);
    if (spelling !== undefined) return spellSpecial ? spelling : "";
    const bytes = this.#tokens[token];
    if (bytes !== undefined) return bytes;
    throw new RangeError(`token must be from 0 to ${VOCABULARY_SIZE - 1}, got ${token}`);
  }
}

let loaded: Tokenizer | undefined;

/** The tokenizer, made on first use. */
export function loadTokenizer(): Tokenizer {
  return loaded ??= new Gpt2Tokenizer();
}

/** A decoder for one stream of tokens. */
export function createStreamDecoder(tokenizer: Tokenizer): StreamDecoder {
  const decoder = new TextDecoder("utf-8", KEEP_BOM);
  return {
    push: (token) => decoder.decode(tokenizer.decodeBytes([token]), { stream: true }),
  };
}
