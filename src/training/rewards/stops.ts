// Reward: the answer stops by itself.

import type { Reward } from "./judge.ts";

/** 1 when the model said that the text ends, 0 when it was cut off or spoke for the user. */
export const stops: Reward = ({ answer }) => Number(answer.ending === "end-of-text");
