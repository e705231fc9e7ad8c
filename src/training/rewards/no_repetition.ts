// Reward: the answer does not repeat itself.

import { sequenceRepetition } from "../../evaluation/mod.ts";
import type { Reward } from "./judge.ts";

/** 1 less the share of runs of four words that the answer said before. */
export const noRepetition: Reward = ({ answer }) => 1 - sequenceRepetition([answer.text]);
