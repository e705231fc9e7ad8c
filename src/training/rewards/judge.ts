// What rewards know beside an answer: the question, what data accept as its answer, and how data say "I do not know".

import { type Conversation, type Entry, UNKNOWN } from "../../data/mod.ts";
import {
  acceptedAnswers,
  answerOf,
  type Answers,
  nearestIntent,
  tokenF1,
} from "../../evaluation/mod.ts";
import { DO_NOT_KNOW, type Generated } from "../../generation/mod.ts";

/** An answer to be judged. */
export interface Attempt {
  readonly answer: Generated;
  readonly question: Conversation;
  readonly judge: Judge;
}

/** A reward from 0 to 1. */
export type Reward = (attempt: Attempt) => number;

/** Token F1 from which two answers say the same. */
const LIKE_ENOUGH = 0.6;
/** Judgements remembered: a model says the same answers again and again. */
const REMEMBERED = 20_000;

/** Judges answers by the answers of data. */
export class Judge {
  readonly #accepted: Answers;
  readonly #nearest = new Map<string, { intent: string; f1: number }>();

  /** @param words fewest and most words of an answer of good length */
  constructor(entries: readonly Entry[], readonly words: readonly [number, number]) {
    this.#accepted = acceptedAnswers(entries);
  }

  /** Whether data say that nobody can answer the question. */
  isUnknown({ intent }: Conversation): boolean {
    return intent === UNKNOWN;
  }

  /**
   * Token F1 with the nearest answer of the question's intent; 0 when another intent's answer is nearer. Without an
   * intent, with the question's own answer.
   */
  likeness(question: Conversation, text: string): number {
    const { intent } = question;
    if (intent === undefined) return tokenF1(text, answerOf(question));
    const accepted = this.#accepted.get(intent) ?? [];
    if (accepted.includes(text)) return 1;
    const f1 = Math.max(0, ...accepted.map((answer) => tokenF1(text, answer)));
    return f1 > 0 && f1 >= this.#nearestTo(text).f1 ? f1 : 0;
  }

  /** Whether a text says, in the data's words, that its speaker does not know. */
  saysUnknown(text: string): boolean {
    const spellings = this.#accepted.get(UNKNOWN) ?? [DO_NOT_KNOW];
    return spellings.some((spelling) =>
      text === spelling || tokenF1(text, spelling) >= LIKE_ENOUGH
    );
  }

  #nearestTo(text: string): { intent: string; f1: number } {
    const known = this.#nearest.get(text);
    if (known !== undefined) return known;
    const nearest = nearestIntent(this.#accepted, text);
    if (this.#nearest.size < REMEMBERED) this.#nearest.set(text, nearest);
    return nearest;
  }
}
