// Whether answers are right, where the data say what each question wants to know.

import { type Conversation, type Entry, UNKNOWN } from "../data/mod.ts";
import { mean, tokenF1 } from "./metrics.ts";

/** Least likeness of an answer to an accepted one. */
const LIKE_ENOUGH = 0.6;

/** The answers that each intent accepts. */
export type Answers = ReadonlyMap<string, readonly string[]>;

/** The last thing the assistant says. */
export function answerOf({ messages }: Conversation): string {
  return messages.findLast(({ role }) => role === "assistant")?.content ?? "";
}

/** Every intent's answers in the data. */
export function acceptedAnswers(entries: readonly Entry[]): Answers {
  const answers = new Map<string, string[]>();
  for (const entry of entries) {
    if (entry.kind !== "conversation" || entry.intent === undefined) continue;
    const known = answers.get(entry.intent) ?? [];
    const answer = answerOf(entry);
    if (!known.includes(answer)) known.push(answer);
    answers.set(entry.intent, known);
  }
  return answers;
}

/** The intent whose accepted answer is most like the text, and how like it is. */
export function nearestIntent(answers: Answers, text: string): { intent: string; f1: number } {
  let best = { intent: "", f1: -1 };
  for (const [intent, accepted] of answers) {
    for (const answer of accepted) {
      const f1 = tokenF1(text, answer);
      if (f1 > best.f1) best = { intent, f1 };
    }
  }
  return best;
}

/** An answer counts when it is more like an accepted answer of its intent than any other's, and at least 0.6. */
export function isRight(answers: Answers, intent: string, text: string): boolean {
  const best = Math.max(0, ...(answers.get(intent) ?? []).map((answer) => tokenF1(text, answer)));
  return best >= LIKE_ENOUGH && best >= nearestIntent(answers, text).f1;
}

/** A question's intent, and whether its answer is right. */
interface Judged {
  readonly intent?: string;
  readonly right: boolean | null;
}

/** The share of right answers; null without any. */
export function shareRight(judged: readonly Judged[]): number | null {
  return judged.length === 0 ? null : mean(judged.map(({ right }) => Number(right)));
}

/** Those to questions that the model should know, and those that it should not. */
export function splitKnown<T extends Judged>(judged: readonly T[]): { known: T[]; unknown: T[] } {
  return {
    known: judged.filter(({ intent }) => intent !== UNKNOWN),
    unknown: judged.filter(({ intent }) => intent === UNKNOWN),
  };
}
