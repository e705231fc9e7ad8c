// Reward: the answer is neither too short nor too long.

import { wordsOf } from "../../evaluation/mod.ts";
import type { Reward } from "./judge.ts";

/** 1 within the range of words; below and above it, the shorter of count and bound over the longer. */
export const length: Reward = ({ answer, judge: { words: [least, most] } }) => {
  const count = wordsOf(answer.text).length;
  if (count < least) return count / least;
  return count > most ? most / count : 1;
};
