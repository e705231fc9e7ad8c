// What changes logits before a token is chosen from them. Each is a function of its own; `logitProcessor`
// puts together those that the options ask for.

import type { SpecialTokens } from "../tokenizer/mod.ts";
import type { DryOptions, LogitOptions } from "./options.ts";

/** What was said so far. */
export interface Context {
  /** Tokens of the prompt and the answer. */
  readonly tokens: readonly number[];
  /** How many of them are the prompt's. */
  readonly promptLength: number;
}

/** Changes logits [V] in place. */
export type LogitProcessor = (logits: Float32Array, context: Context) => void;

/** Makes tokens impossible. */
export function forbid(tokens: Iterable<number>, logits: Float32Array): void {
  for (const token of tokens) if (token < logits.length) logits[token] = -Infinity;
}

/** Keskar et al. 2019, "CTRL": every token seen becomes less likely, the prompt's too. */
export function repetitionPenalty(penalty: number): LogitProcessor {
  return (logits, { tokens }) => {
    for (const token of new Set(tokens)) {
      const logit = logits[token]!;
      logits[token] = logit > 0 ? logit / penalty : logit * penalty;
    }
  };
}

/** OpenAI's frequency and presence penalties, over the answer. */
export function countPenalty(frequency: number, presence: number): LogitProcessor {
  return (logits, { tokens, promptLength }) => {
    const counts = new Map<number, number>();
    for (const token of tokens.slice(promptLength)) counts.set(token, (counts.get(token) ?? 0) + 1);
    for (const [token, count] of counts) logits[token]! -= frequency * count + presence;
  };
}

/** Paulus et al. 2017: tokens that would complete an n-gram for the second time become impossible. */
export function noRepeatNgram(n: number): LogitProcessor {
  return (logits, { tokens }) => {
    const start = tokens.length - (n - 1);
    if (start < 0) return;
    for (let at = 0; at + n <= tokens.length; at++) {
      let same = 0;
      while (same < n - 1 && tokens[at + same] === tokens[start + same]) same++;
      if (same === n - 1) logits[tokens[at + n - 1]!] = -Infinity;
    }
  };
}

/** Longest repetition that is measured: beyond it, the penalty is beyond all logits anyway. */
const LONGEST_REPETITION = 50;

/**
 * p-e-w 2024: a token that would lengthen a repetition of `length` tokens loses multiplier * base ^ (length -
 * allowedLength). Repetitions do not reach across breakers, such as the end of a line.
 */
export function dry(options: DryOptions, breakers: ReadonlySet<number>): LogitProcessor {
  return (logits, { tokens }) => {
    const last = tokens.length - 1;
    const longest = new Map<number, number>();
    for (let at = 0; at < last; at++) {
      let length = 0;
      while (
        length < LONGEST_REPETITION && length <= at &&
        tokens[at - length] === tokens[last - length] && !breakers.has(tokens[at - length]!)
      ) length++;
      const next = tokens[at + 1]!;
      if (length >= options.allowedLength) {
        longest.set(next, Math.max(length, longest.get(next) ?? 0));
      }
    }
    for (const [token, length] of longest) {
      logits[token]! -= options.multiplier * options.base ** (length - options.allowedLength);
    }
  };
}

/** Adds a number to some logits. */
export function logitBias(bias: ReadonlyMap<number, number>): LogitProcessor {
  return (logits) => {
    for (const [token, value] of bias) if (token < logits.length) logits[token]! += value;
  };
}

/** The answer cannot end before it has so many tokens. */
export function minTokens(least: number, endOfText: number): LogitProcessor {
  return (logits, { tokens, promptLength }) => {
    if (tokens.length - promptLength < least) forbid([endOfText], logits);
  };
}

/** What the processors need to know of a vocabulary. */
export interface VocabularyFacts {
  readonly special: SpecialTokens;
  /** Tokens across which DRY sees no repetition. */
  readonly breakers: ReadonlySet<number>;
}

/** All that the options ask for, in Hugging Face's order; tokens that no text holds are never said. */
export function logitProcessor(o: LogitOptions, facts: VocabularyFacts): LogitProcessor {
  const { special, breakers } = facts;
  const unspoken = [special.pad, special.startOfText, special.unknown];
  const all: LogitProcessor[] = [];
  if (o.logitBias.size > 0) all.push(logitBias(o.logitBias));
  if (o.repetitionPenalty !== 1) all.push(repetitionPenalty(o.repetitionPenalty));
  if (o.noRepeatNgram > 0) all.push(noRepeatNgram(o.noRepeatNgram));
  if (o.frequencyPenalty !== 0 || o.presencePenalty !== 0) {
    all.push(countPenalty(o.frequencyPenalty, o.presencePenalty));
  }
  if (o.dry.multiplier > 0) all.push(dry(o.dry, breakers));
  if (o.minTokens > 0) all.push(minTokens(o.minTokens, special.endOfText));
  return (logits, context) => {
    for (const process of all) process(logits, context);
    forbid(unspoken, logits);
  };
}
