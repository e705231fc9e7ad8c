// The special tokens: GPT-2's end of text and three of ours behind its vocabulary.

export interface SpecialTokens {
  readonly endOfText: number;
  readonly pad: number;
  readonly startOfText: number;
  readonly unknown: number;
}

export const special: SpecialTokens = {
  endOfText: 50256,
  pad: 50257,
  startOfText: 50258,
  unknown: 50259,
};

/** How special tokens are spelled. Text that spells them is never encoded as them. */
export const specialText: ReadonlyMap<number, string> = new Map([
  [special.endOfText, "<|endoftext|>"],
  [special.pad, "<|pad|>"],
  [special.startOfText, "<|startoftext|>"],
  [special.unknown, "<|unknown|>"],
]);

/** GPT-2's 50,257 tokens and three of ours. */
export const VOCABULARY_SIZE = 50260;
