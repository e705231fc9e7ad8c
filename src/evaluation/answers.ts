// What a model says: answers to questions, at several temperatures, and figures about them.

import {
  type DecodingOptions,
  generateBatch,
  type Generated,
  GREEDY,
  type Unsure,
} from "../generation/mod.ts";
import type { GPT } from "../model/mod.ts";
import {
  type ChatFormat,
  type Message,
  renderPrompt,
  stopTexts,
  type Tokenizer,
} from "../tokenizer/mod.ts";
import { distinct, mean, sequenceRepetition, wordsOf } from "./metrics.ts";

/** Answers written side by side. */
const WIDTH = 16;
/** Longest answer. */
const ANSWER_TOKENS = 96;
/** No rule takes anything away: it is the model that is judged. */
const NO_FILTER = { rules: new Set<never>() };

export interface AnswerOptions {
  readonly model: GPT;
  readonly tokenizer: Tokenizer;
  readonly format: ChatFormat;
  readonly decoding?: Partial<DecodingOptions>;
  readonly unsure?: Unsure;
  readonly signal?: AbortSignal;
  readonly onAnswer?: (done: number, of: number) => void;
}

/** The model's answers to conversations that end in a user's turn, unfiltered. */
export async function answerAll(
  conversations: readonly (readonly Message[])[],
  { model, tokenizer, format, decoding, unsure, signal, onAnswer }: AnswerOptions,
): Promise<Generated[]> {
  const { n_positions } = model.configuration;
  const maxTokens = Math.min(ANSWER_TOKENS, n_positions - 1);
  const options = {
    ...GREEDY,
    maxTokens,
    ...decoding,
    stopTexts: stopTexts(format),
    filter: NO_FILTER,
    unsure,
  };
  const requests = conversations.map((messages, i) => ({
    // A question that is too long loses its beginning.
    prompt: tokenizer.encode(renderPrompt(format, messages)).slice(maxTokens - n_positions),
    options: { ...options, seed: options.seed + i },
  }));
  let done = 0;
  const answers = await generateBatch(model, tokenizer, requests, {
    width: WIDTH,
    signal,
    onDone: () => onAnswer?.(++done, requests.length),
  });
  return answers.filter((answer) => answer !== undefined);
}

/** Whether an answer ended by itself. */
export function hasStopped({ ending }: Generated): boolean {
  return ending === "end-of-text" || ending === "stop-text" || ending === "unsure";
}

export interface TextFigures {
  readonly answers: number;
  readonly distinct_1: number;
  readonly distinct_2: number;
  readonly distinct_3: number;
  /** Share of 4-grams said before in the same answer. */
  readonly seq_rep_4: number;
  readonly mean_words: number;
  /** Share of answers that end by themselves. */
  readonly stopped: number;
  /** Share of answers that stand word for word in the training data, or null when these are not known. */
  readonly copied: number | null;
}

/** Figures about answers. */
export function textFigures(
  answers: readonly Generated[],
  isCopied: ((text: string) => boolean) | null,
): TextFigures {
  const texts = answers.map(({ text }) => text);
  return {
    answers: texts.length,
    distinct_1: distinct(texts, 1),
    distinct_2: distinct(texts, 2),
    distinct_3: distinct(texts, 3),
    seq_rep_4: sequenceRepetition(texts),
    mean_words: mean(texts.map((text) => wordsOf(text).length)),
    stopped: mean(answers.map((answer) => Number(hasStopped(answer)))),
    copied: isCopied === null ? null : mean(texts.map((text) => Number(isCopied(text)))),
  };
}

/** The original experiment's tests: what a person tries first. */
export const PROBES: Readonly<Record<string, readonly string[]>> = {
  greetings: ["Hello", "How are you?"],
  programming: ["What is Python?", "How do I write a function in Python?"],
  ai: ["What is machine learning?", "What is overfitting?"],
  "problem solving": ["How do I find a bug in my code?", "How can I learn programming?"],
};

export const PROBE_TEMPERATURES = [0, 0.5, 0.7, 0.9];
