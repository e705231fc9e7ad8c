// Two tokenizers over one text: which token of one is which of the other, and where both begin a token.

import { CompactTokenizer } from "./compact.ts";
import { special } from "./special.ts";
import type { Tokenizer } from "./tokenizer.ts";

const ROLES = ["endOfText", "pad", "startOfText", "unknown"] as const;

/**
 * For each token of `from` the token of `to` that means the same: an ordinary one has the same number in GPT-2, a
 * special one the same role, an intent the same name. A word that `to` spells in pieces becomes their first, which is
 * what `to` says next where `from` says the word. `to.vocabularySize` where there is none.
 */
export function mapTokens(from: Tokenizer, to: Tokenizer): Int32Array {
  const map = new Int32Array(from.vocabularySize).fill(to.vocabularySize);
  const ordinary = from instanceof CompactTokenizer ? from.kept : Array(special.endOfText).keys();
  for (const [token, gpt2] of [...ordinary].entries()) {
    map[token] = to instanceof CompactTokenizer ? to.piecesOf(gpt2)[0]! : gpt2;
  }
  for (const role of ROLES) map[from.special[role]] = to.special[role];
  for (const [name, token] of from.intents ?? []) {
    map[token] = to.intents?.get(name) ?? to.vocabularySize;
  }
  return map;
}

/** Whether two tokenizers number the same tokens alike, and so read any text alike. */
export function areAlike(a: Tokenizer, b: Tokenizer): boolean {
  return a.vocabularySize === b.vocabularySize &&
    (a.intents?.size ?? 0) === (b.intents?.size ?? 0) &&
    mapTokens(a, b).every((token, i) => token === i);
}

/** A text in another tokenizer's tokens. */
export interface Translation {
  readonly tokens: Int32Array;
  /** For each of the text's own tokens, the index of the other token that begins where it does, or -1. */
  readonly begins: Int32Array;
}

/** Reads texts that are given in one tokenizer's tokens in another's. */
export class Translator {
  readonly #map: Int32Array;
  readonly #bytes = new Map<Tokenizer, Map<number, Uint8Array>>();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(readonly from: Tokenizer, readonly to: Tokenizer) {
    this.#map = mapTokens(from, to);
  }

  /** null for a text that is no UTF-8, such as a window that begins within a character. */
  translate(own: Int32Array): Translation | null {
    const tokens: number[] = [], begins = new Int32Array(own.length).fill(-1);
    let run: number[] = [];
    /** Reads the ordinary tokens before own[end], whose last `run.length` they are. */
    const flush = (end: number): boolean => {
      const text = this.#textOf(run);
      if (text === null) return false;
      const at = new Map<number, number>();
      let offset = 0;
      for (const token of this.to.encode(text)) {
        at.set(offset, tokens.length);
        tokens.push(token);
        offset += this.#bytesOf(this.to, token).length;
      }
      offset = 0;
      run.forEach((token, i) => {
        begins[end - run.length + i] = at.get(offset) ?? -1;
        offset += this.#bytesOf(this.from, token).length;
      });
      run = [];
      return true;
    };
    for (const [i, token] of own.entries()) {
      if (this.#bytesOf(this.from, token).length > 0) {
        run.push(token);
        continue;
      }
      if (!flush(i)) return null;
      const other = this.#map[token]!;
      if (other === this.to.vocabularySize) continue;
      begins[i] = tokens.length;
      tokens.push(other);
    }
    return flush(own.length) ? { tokens: Int32Array.from(tokens), begins } : null;
  }

  #textOf(run: readonly number[]): string | null {
    try {
      return this.#decoder.decode(this.from.decodeBytes(run));
    } catch {
      return null;
    }
  }

  #bytesOf(tokenizer: Tokenizer, token: number): Uint8Array {
    let known = this.#bytes.get(tokenizer);
    if (known === undefined) this.#bytes.set(tokenizer, known = new Map());
    let bytes = known.get(token);
    if (bytes === undefined) known.set(token, bytes = tokenizer.decodeBytes([token]));
    return bytes;
  }
}
