// A vocabulary made for a corpus: the GPT-2 tokens that it uses and all 256 bytes, numbered anew. A small model
// then does not spend nine tenths of itself on words that it never sees; any other text is still encoded, in
// smaller pieces.

import { Encoder, gpt2Bytes } from "./encoder.ts";
import { mergeBytes } from "./merge.ts";
import type { SpecialTokens } from "./special.ts";
import { special, specialText } from "./special.ts";
import { withSteps } from "./steps.ts";
import type { DecodeOptions, Tokenizer } from "./tokenizer.ts";

/** GPT-2's first tokens are the single bytes. */
const BYTES = 256;

/** The GPT-2 tokens of texts, ascending, all single bytes among them: a compact vocabulary. */
export function vocabularyOf(texts: Iterable<string>, gpt2: Tokenizer): number[] {
  const used = new Set<number>(Array.from({ length: BYTES }, (_, byte) => byte));
  for (const text of texts) for (const token of gpt2.encode(text)) used.add(token);
  return [...used].sort((a, b) => a - b);
}

/**
 * GPT-2's BPE with those of its merges alone that lead to kept tokens, so that text of kept tokens is encoded as by
 * GPT-2. A token that BPE only passes through, a step, falls into the largest kept pieces where it remains; when all
 * steps are kept none does, and this is a BPE like any other.
 *
 * Without the steps no BPE encodes thus: "What" is "Wh" and "at", and where "Wh" is not kept, no other two kept tokens
 * make it; where "Wh" is there to be merged, "Wh" alone stays whole. So other programs, which can only merge, need the
 * steps as tokens (withVocabularySteps).
 */
export class CompactTokenizer implements Tokenizer {
  readonly vocabularySize: number;
  readonly special: SpecialTokens;
  readonly intents: ReadonlyMap<string, number>;
  readonly #own = new Map<number, number>();
  /** Kept tokens by their bytes. */
  readonly #ranks: ReadonlyMap<string, number>;
  #encoder: Encoder | undefined;

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
    this.#ranks = new Map(kept.map((token) => [gpt2Bytes()[token]!, token]));
    const next = kept.length;
    this.special = { endOfText: next, pad: next + 1, startOfText: next + 2, unknown: next + 3 };
    this.intents = new Map(intents.map((name, i) => [name, next + 4 + i]));
    this.vocabularySize = next + 4 + this.intents.size;
  }

  encode(text: string): number[] {
    this.#encoder ??= new Encoder(
      new Map(withSteps(this.kept).map((token) => [gpt2Bytes()[token]!, token])),
    );
    return this.#encoder.encode(text).flatMap((token) => this.piecesOf(token));
  }

  /** Own tokens of one of GPT-2's ordinary tokens: one if it is kept, or else the largest kept pieces. */
  piecesOf(token: number): number[] {
    const own = this.#own.get(token);
    if (own !== undefined) return [own];
    return mergeBytes(gpt2Bytes()[token]!, this.#ranks).map((part) => this.#own.get(part)!);
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

/** @throws RangeError unless the list can be a compact vocabulary */
export function checkVocabulary(kept: readonly number[]): void {
  const ascending = kept.every((token, i) =>
    Number.isInteger(token) && token > (kept[i - 1] ?? -1)
  );
  const ordinary = kept.every((token) => token < special.endOfText && !specialText.has(token));
  if (ascending && ordinary && kept[BYTES - 1] === BYTES - 1) return;
  throw new RangeError("a vocabulary must be ascending GPT-2 tokens with all 256 bytes");
}
