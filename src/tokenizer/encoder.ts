// Text into tokens: GPT-2's pattern cuts it into pieces, whose bytes are merged. js-tiktoken's own merge gives the
// same tokens, but takes time with the square of a word's length, and a fifth of a second to set up.

import gpt2 from "js-tiktoken/ranks/gpt2";
import { mergeBytes } from "./merge.ts";

/** Pieces remembered, and their longest: most words of a corpus come again. */
const REMEMBERED = 50_000, LONGEST_REMEMBERED = 24;

/** Byte-level BPE over tokens by their bytes, spelled with a character for each; every single byte is one. */
export class Encoder {
  readonly #pattern = new RegExp(withUnicodeSpaces(gpt2.pat_str), "gu");
  readonly #encoder = new TextEncoder();
  readonly #remembered = new Map<string, readonly number[]>();

  constructor(readonly ranks: ReadonlyMap<string, number>) {}

  encode(text: string): number[] {
    const tokens: number[] = [];
    for (const [piece] of text.matchAll(this.#pattern)) {
      for (const token of this.#encodePiece(piece)) tokens.push(token);
    }
    return tokens;
  }

  #encodePiece(piece: string): readonly number[] {
    const known = this.#remembered.get(piece);
    if (known !== undefined) return known;
    const tokens = mergeBytes(this.#spell(piece), this.ranks);
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

let parsed: readonly string[] | undefined;

/** The bytes of GPT-2's tokens in order of rank, a character for each. */
export function gpt2Bytes(): readonly string[] {
  return parsed ??= parseRanks(gpt2.bpe_ranks);
}
