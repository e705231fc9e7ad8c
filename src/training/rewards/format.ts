// Reward: the answer is a text of its own, whole and well formed.

import type { Reward } from "./judge.ts";

/** How an answer may begin: a letter, small too as in names like npm, a digit, or the quote, bracket or dash before. */
const BEGINNING = /^[\p{L}\p{N}"'`([*-]/u;
/** How it may end: as a sentence, a list or code does. */
const END = /[.!?:;)\]}"'`*]$/u;
/** A label that begins a turn, in any format. */
const LABEL = /^(Human|Assistant|User|AI|Q|A|Question|Answer):/m;

/**
 * 1 for a text that begins with a letter or a digit, ends with a sentence, and holds no half character and no label
 * of a turn; else 0.
 */
export const format: Reward = ({ answer: { text, ending } }) =>
  Number(
    ending !== "stop-text" && BEGINNING.test(text) && END.test(text) && !text.includes("\ufffd") &&
      !LABEL.test(text),
  );
