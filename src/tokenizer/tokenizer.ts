// GPT-2's byte-level BPE: js-tiktoken's ranks and pattern with our own merge. js-tiktoken's merge gives the
// same tokens, but takes time with the square of a word's length, and a fifth of a second to set up.

import gpt2 from "js-tiktoken/ranks/gpt2";
import { mergeBytes } from "./merge.ts";
import { special, specialText, type SpecialTokens, VOCABULARY_SIZE } from "./special.ts";

/** Pieces remembered, and their longest: most words of a corpus come again. */
const REMEMBERED = 50_000, LONGEST_REMEMBERED = 24;

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
  readonly #pattern = new RegExp(withUnicodeSpaces(gpt2.pat_str), "gu");
  readonly #encoder = new TextEncoder();
  readonly #decoder = new TextDecoder("utf-8", KEEP_BOM);
  readonly #remembered = new Map<string, readonly number[]>();
  /** Every token's bytes, a character for each. */
  readonly #tokens: readonly string[] = parseRanks(gpt2.bpe_ranks);
  readonly #ranks: ReadonlyMap<string, number> = new Map(
    this.#tokens.map((bytes, rank) => [bytes, rank]),
  );

  encode(text: string): number[] {
    const tokens: number[] = [];
    for (const [piece] of text.matchAll(this.#pattern)) {
      for (const token of this.#encodePiece(piece)) tokens.push(token);
    }
    return tokens;
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

  #encodePiece(piece: string): readonly number[] {
    const known = this.#remembered.get(piece);
    if (known !== undefined) return known;
    const tokens = mergeBytes(this.#spell(piece), this.#ranks);
    if (piece.length <= LONGEST_REMEMBERED && this.#remembered.size < REMEMBERED) {
      this.#remembered.set(piece, tokens);
    }
    return tokens;
  }

  /** A piece's bytes, a character for each. */
  #spell(piece: string): string {
    const bytes = this.#encoder.encode(piece);
    let spelled = "";
    for (let i = 0; i < bytes.length; i += 8192) {
      spelled += String.fromCharCode(...bytes.subarray(i, i + 8192));
    }
    return spelled;
  }
}

/**
 * GPT-2's pattern was written for Python, whose \s is Unicode's white space: with U+0085 and without U+FEFF, the
 * other way round than JavaScript's.
 */
function withUnicodeSpaces(pattern: string): string {
  return pattern.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}");
}

/** js-tiktoken's ranks: lines of "name first-rank token token ...", the tokens' bytes in base64. */
function parseRanks(ranks: string): string[] {
  const tokens: string[] = [];
  for (const line of ranks.split("\n")) {
    const [, first, ...encoded] = line.split(" ");
    encoded.forEach((token, i) => tokens[Number(first) + i] = atob(token));
  }
  return tokens;
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
