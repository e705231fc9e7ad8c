// Reward: the answer is one to what was asked.

import type { Reward } from "./judge.ts";

/** Token F1 with the nearest answer that data accept; 0 when it is more like the answer to something else. */
export const intent: Reward = ({ answer, question, judge }) =>
  judge.likeness(question, answer.text);
