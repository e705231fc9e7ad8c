// A conversation with a model: keeps the turns, fits them into the context, reuses what is cached.

import type { GPT, KeyValueCache } from "../model/mod.ts";
import {
  type ChatFormat,
  type Message,
  renderPrompt,
  stopTexts,
  type Tokenizer,
} from "../tokenizer/mod.ts";
import { generate, type Generated, type GenerationOptions } from "./generate.ts";

/** Appends tokens behind the longest part of them that the cache already holds; returns the last logits. */
export class PromptCache {
  readonly cache: KeyValueCache;
  #tokens: number[] = [];

  constructor(model: GPT, capacity?: number) {
    this.cache = model.createCache(capacity);
  }

  /** Makes the cache hold exactly these tokens. */
  fill(tokens: readonly number[]): Float32Array {
    // What was generated is in the cache too, but not in our list, so only prompts are compared. At least
    // one token is run again, for its logits.
    const same = tokens.findIndex((token, i) => token !== this.#tokens[i]);
    const kept = Math.min(same < 0 ? tokens.length : same, tokens.length - 1, this.cache.length);
    this.cache.truncate(kept);
    this.#tokens = [...tokens];
    return this.cache.append(tokens.slice(kept));
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

  /** Forgets all turns. */
  clear(): void {
    this.messages.length = 0;
  }

  /**
   * Answers a message and keeps both turns.
   * @returns the answer, and how many of the oldest messages had to be left out of the context
   */
  async ask(
    question: string,
    options: Omit<GenerationOptions, "stopTexts">,
  ): Promise<Generated & { readonly dropped: number }> {
    this.messages.push({ role: "user", content: question });
    const { tokens, dropped, room } = this.#fit(options.maxTokens);
    const generated = await generate(
      this.#prompt.cache,
      this.#prompt.fill(tokens),
      this.tokenizer,
      {
        ...options,
        maxTokens: Math.min(options.maxTokens, room),
        stopTexts: stopTexts(this.format),
      },
    );
    this.messages.push({ role: "assistant", content: generated.text });
    return { ...generated, dropped };
  }

  /** The prompt's tokens without as many of the oldest turns as must go to leave room for an answer. */
  #fit(maxTokens: number): { tokens: number[]; dropped: number; room: number } {
    const { capacity } = this.#prompt.cache;
    const reserve = Math.min(maxTokens, Math.floor(capacity / 4));
    const { length } = this.messages;
    for (let dropped = Math.max(0, length - (2 * this.turns - 1));; dropped += 2) {
      const kept = this.messages.slice(dropped);
      let tokens = this.tokenizer.encode(renderPrompt(this.format, kept));
      const last = kept.length <= 2;
      // A single question that is too long loses its beginning.
      if (last && tokens.length + reserve > capacity) tokens = tokens.slice(reserve - capacity);
      if (tokens.length + reserve <= capacity) {
        return { tokens, dropped, room: capacity - tokens.length + 1 };
      }
    }
  }
}
