// A conversation with a model: keeps the turns, fits them into the context, reuses what is cached, and tries
// again when an answer is no good.

import type { CachedSequence, GPT } from "../model/mod.ts";
import {
  type ChatFormat,
  type Message,
  renderPrompt,
  stopTexts,
  type Tokenizer,
} from "../tokenizer/mod.ts";
import { searchBeams } from "./beam.ts";
import { copies } from "./filter.ts";
import { generate, type GenerationOptions } from "./generate.ts";
import type { DecodingOptions } from "./options.ts";
import type { Generated } from "./writer.ts";

/** Appends tokens behind the longest part of them that the cache already holds; returns the last logits. */
export class PromptCache {
  readonly sequence: CachedSequence;
  #tokens: number[] = [];

  constructor(readonly model: GPT) {
    this.sequence = model.createCache().sequence();
  }

  /** Makes the cache hold exactly these tokens. */
  fill(tokens: readonly number[]): Float32Array {
    // What was generated is in the cache too, but not in our list, so only prompts are compared. At least
    // one token is run again, for its logits.
    const same = tokens.findIndex((token, i) => token !== this.#tokens[i]);
    const shared = same < 0 ? tokens.length : same;
    const kept = Math.min(shared, tokens.length - 1, this.sequence.length);
    this.sequence.truncate(kept);
    this.#tokens = [...tokens];
    return this.sequence.append(tokens.slice(kept));
  }
}

/** Why an answer was thrown away. */
export type Fault = "empty" | "loop" | "copies the question";

/** An answer, and how it came about. */
export interface Answer extends Generated {
  /** What was wrong with the answers before it. */
  readonly rejected: readonly Fault[];
}

/** What is wrong with an answer, or null. */
export function faultOf(question: string, { text, removals }: Generated): Fault | null {
  if (text.trim() === "") return "empty";
  if (removals.some(({ rule }) => rule === "loop")) return "loop";
  return copies(question, text) ? "copies the question" : null;
}

/** With these, another try is likely to say something else. */
const RETRY_TEMPERATURE = 0.7;

/** What another try changes. @param attempt counts from 1 */
export function retryOptions(o: DecodingOptions, attempt: number): Partial<DecodingOptions> {
  return {
    seed: (o.seed + attempt * 7919) % 2 ** 32,
    temperature: Math.max(o.temperature, RETRY_TEMPERATURE),
    beams: 1,
    beamGroups: 1,
  };
}

export type AnswerOptions = Omit<GenerationOptions, "stopTexts"> & {
  /** Further stop texts beside the format's. */
  readonly stop?: readonly string[];
  /** Further tries with other seeds when an answer is empty, loops or copies the question. */
  readonly retries?: number;
};

/**
 * Answers a rendered prompt. With retries, nothing is shown before an answer is accepted.
 * @param question what the answer must not copy
 */
export async function answerPrompt(
  cache: PromptCache,
  tokenizer: Tokenizer,
  format: ChatFormat,
  prompt: readonly number[],
  question: string,
  o: AnswerOptions,
): Promise<Answer> {
  const { retries = 0, stop = [], onText } = o;
  const texts = [...stopTexts(format), ...stop];
  const rejected: Fault[] = [];
  for (let attempt = 0;; attempt++) {
    const last = attempt === retries;
    const again = attempt === 0 ? {} : retryOptions(o, attempt);
    // Only an answer that needs no judgement can be shown while it grows.
    const options = {
      ...o,
      ...again,
      stopTexts: texts,
      onText: retries === 0 ? onText : undefined,
    };
    const generated = options.beams > 1
      ? await searchBeams(cache.model, tokenizer, prompt, options)
      : await generate(cache.sequence, prompt, cache.fill(prompt), tokenizer, options);
    const fault = faultOf(question, generated);
    if (fault === null || last || generated.ending === "aborted") {
      if (retries > 0) onText?.(generated.text);
      return { ...generated, rejected };
    }
    rejected.push(fault);
  }
}

export class ChatSession {
  readonly messages: Message[] = [];
  readonly #prompt: PromptCache;

  constructor(
    readonly model: GPT,
    readonly tokenizer: Tokenizer,
    readonly format: ChatFormat,
    /** Questions with their answers that the model sees at a time, as many as it was trained on. */
    readonly turns: number,
  ) {
    this.#prompt = new PromptCache(model);
  }

  /** What stands before all turns, or null. */
  system: string | null = null;

  /** Forgets all turns. */
  clear(): void {
    this.messages.length = 0;
  }

  /** Takes the last question and its answer back; returns the question, or null when there is none. */
  undo(): string | null {
    const at = this.messages.findLastIndex(({ role }) => role === "user");
    if (at < 0) return null;
    return this.messages.splice(at)[0]!.content;
  }

  /** Tokens of the prompt that a question now would give the model, and its room. */
  usage(): { tokens: number; capacity: number } {
    const { capacity } = this.#prompt.sequence;
    if (this.messages.length === 0) return { tokens: 0, capacity };
    return { tokens: this.#encode(this.#visible(0)).length, capacity };
  }

  /**
   * Answers a message and keeps both turns.
   * @returns the answer, and how many of the oldest messages had to be left out of the context
   */
  async ask(question: string, options: AnswerOptions): Promise<Answer & { dropped: number }> {
    this.messages.push({ role: "user", content: question });
    const { tokens, dropped, room } = this.#fit(options.maxTokens);
    const maxTokens = Math.min(options.maxTokens, room);
    const answer = await answerPrompt(
      this.#prompt,
      this.tokenizer,
      this.format,
      tokens,
      question,
      { ...options, maxTokens },
    );
    this.messages.push({ role: "assistant", content: answer.text });
    return { ...answer, dropped };
  }

  #encode(messages: readonly Message[]): number[] {
    return this.tokenizer.encode(renderPrompt(this.format, messages));
  }

  /** The turns behind the first `dropped` messages, as many as the model was trained on. */
  #visible(dropped: number): Message[] {
    const system = this.system === null ? [] : [{ role: "system" as const, content: this.system }];
    return [...system, ...this.messages.slice(dropped)];
  }

  /** The prompt's tokens without as many of the oldest turns as must go to leave room for an answer. */
  #fit(maxTokens: number): { tokens: number[]; dropped: number; room: number } {
    const { capacity } = this.#prompt.sequence;
    const reserve = Math.min(maxTokens, Math.floor(capacity / 4));
    const { length } = this.messages;
    const unseen = Math.max(0, length - (2 * this.turns - 1));
    for (let from = unseen;; from += 2) {
      let tokens = this.#encode(this.#visible(from));
      const last = length - from <= 2;
      // A single question that is too long loses its beginning.
      if (last && tokens.length + reserve > capacity) tokens = tokens.slice(reserve - capacity);
      if (tokens.length + reserve <= capacity) {
        return { tokens, dropped: from - unseen, room: capacity - tokens.length + 1 };
      }
    }
  }
}
