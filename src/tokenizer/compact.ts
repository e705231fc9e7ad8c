// A vocabulary made for a corpus: the GPT-2 tokens that it uses and all 256 bytes, numbered anew. A small model
// then does not spend nine tenths of itself on words that it never sees; any other text is still encoded, in
// smaller pieces.

import { mergeBytes } from "./merge.ts";
import type { SpecialTokens } from "./special.ts";
import { special, specialText } from "./special.ts";
import type { DecodeOptions, Tokenizer } from "./tokenizer.ts";

/** GPT-2's first tokens are the single bytes. */
const BYTES = 256;

/** The GPT-2 tokens of texts, ascending, all single bytes among them: a compact vocabulary. */
export function vocabularyOf(texts: Iterable<string>, gpt2: Tokenizer): number[] {
  const used = new Set<number>(Array.from({ length: BYTES }, (_, byte) => byte));
  for (const text of texts) for (const token of gpt2.encode(text)) used.add(token);
  return [...used].sort((a, b) => a - b);
}

/** GPT-2's tokenizer over some of its tokens. */
export class CompactTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly special: SpecialTokens;
  readonly intents: ReadonlyMap<string, number>;
  readonly #own = new Map<number, number>();
  readonly #ranks: ReadonlyMap<string, number>;

  /**
   * @param kept GPT-2's numbers of the kept tokens, ascending, without special ones
   * @param intents names that get a token each, which decodes to nothing
   */
  constructor(
    readonly gpt2: Tokenizer,
    readonly kept: readonly number[],
    intents: readonly string[] = [],
  ) {
    kept.forEach((token, own) => this.#own.set(token, own));
    this.#ranks = new Map(kept.map((token) => [spell(gpt2.decodeBytes([token])), token]));
    const next = kept.length;
    this.special = { endOfText: next, pad: next + 1, startOfText: next + 2, unknown: next + 3 };
    this.intents = new Map(intents.map((name, i) => [name, next + 4 + i]));
    this.vocabularySize = next + 4 + this.intents.size;
  }

  encode(text: string): number[] {
    return this.gpt2.encode(text).flatMap((token) => this.piecesOf(token));
  }

  /** An ordinary token of GPT-2's in ours: one that was not kept falls into the largest pieces that were. */
  piecesOf(token: number): number[] {
    const own = this.#own.get(token);
    if (own !== undefined) return [own];
    const bytes = spell(this.gpt2.decodeBytes([token]));
    return mergeBytes(bytes, this.#ranks).map((part) => this.#own.get(part)!);
  }

  decode(tokens: ArrayLike<number>, options?: DecodeOptions): string {
    return this.gpt2.decode(this.#toGpt2(tokens), options);
  }

  decodeBytes(tokens: ArrayLike<number>, options?: DecodeOptions): Uint8Array<ArrayBuffer> {
    return this.gpt2.decodeBytes(this.#toGpt2(tokens), options);
  }

  #toGpt2(tokens: ArrayLike<number>): number[] {
    const specials = [special.endOfText, special.pad, special.startOfText, special.unknown];
    return Array.from(tokens).flatMap((token) => {
      const gpt2 = this.kept[token] ?? specials[token - this.kept.length];
      if (gpt2 !== undefined) return [gpt2];
      if (token >= this.kept.length && token < this.vocabularySize) return [];
      throw new RangeError(`token must be from 0 to ${this.vocabularySize - 1}, got ${token}`);
    });
  }
}

/** A character for each byte. */
function spell(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** @throws RangeError unless the list can be a compact vocabulary */
export function checkVocabulary(kept: readonly number[]): void {
  const ascending = kept.every((token, i) =>
    Number.isInteger(token) && token > (kept[i - 1] ?? -1)
  );
  const ordinary = kept.every((token) => token < special.endOfText && !specialText.has(token));
  if (ascending && ordinary && kept[BYTES - 1] === BYTES - 1) return;
  throw new RangeError("a vocabulary must be ascending GPT-2 tokens with all 256 bytes");
}
