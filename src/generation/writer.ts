// One answer in the making: takes logits, chooses tokens, turns them into text that stops and is filtered.

import type { IntentSpread } from "../model/mod.ts";
import { createStreamDecoder, type Tokenizer } from "../tokenizer/mod.ts";
import { ALL_RULES, type FilterOptions, type Removal, ResponseFilter } from "./filter.ts";
import { keepOnly, sureness } from "./intent.ts";
import { type LogitProcessor, logitProcessor } from "./logits.ts";
import type { DecodingOptions } from "./options.ts";
import { logSumExp } from "./log_sum_exp.ts";
import { sampler } from "./sampling.ts";
import { StopScanner } from "./stop.ts";

/** What a model says that has no words of its own for it. */
export const DO_NOT_KNOW = "I do not know.";

/** What to say instead of an answer that the model itself holds to be unlikely. */
export interface Unsure {
  /**
   * Least probability of an answer that is given: the product of its tokens' probabilities; where it begins with an
   * intent, that intent's among all intents, softened, its odds changed by how like those it learned the question is.
   */
  readonly probability: number;
  readonly answer: string;
  /** The tokens of intents, with one of which each answer begins; none where answers begin with their words. */
  readonly intents: readonly number[];
  /** How the intents' logits spread over learned questions, where that is known. */
  readonly spread?: IntentSpread | null;
}

export interface WriterOptions extends DecodingOptions {
  readonly stopTexts: readonly string[];
  /** Chooses the next token in place of the sampling options, after all that changes the logits [V]. */
  readonly choose?: (logits: Float32Array) => number;
  /** What is taken away from the answer; all rules when absent. */
  readonly filter?: FilterOptions;
  /** Called with text as soon as it is certain to stay. */
  readonly onText?: (piece: string) => void;
  /**
   * With this, an answer is shown only when it is whole: any token may show that the model is guessing. A model that
   * knows intents says one of them first, behind which no other token can.
   */
  readonly unsure?: Unsure;
}

/** Why a text ended. */
export type Ending = "end-of-text" | "stop-text" | "filter" | "length" | "unsure" | "aborted";

export interface Generated {
  readonly text: string;
  /** What the model said, without the end-of-text token. */
  readonly tokens: number[];
  readonly ending: Ending;
  /** What the filter took away. */
  readonly removals: readonly Removal[];
  /** Where somebody asked how sure the model is: the probability that was compared with the least one. */
  readonly sure?: number;
}

/** Share of the length limit from which half sentences are held back. */
const NEAR_LIMIT = 0.75;

/** Text at whose tokens DRY starts afresh. */
const BREAKERS = ["\n", ":", '"', "*"];

/** The processors of these options for a tokenizer's vocabulary. */
export function processorFor(o: DecodingOptions, tokenizer: Tokenizer): LogitProcessor {
  const breakers = new Set(BREAKERS.flatMap((text) => tokenizer.encode(text)));
  return logitProcessor(o, { special: tokenizer.special, breakers });
}

/** Turns tokens into the answer's text: decoded, cut at stop texts, filtered. */
export class AnswerText {
  readonly #decoder;
  readonly #scanner: StopScanner;
  readonly #filter: ResponseFilter;
  #count = 0;

  constructor(tokenizer: Tokenizer, readonly options: WriterOptions) {
    this.#decoder = createStreamDecoder(tokenizer);
    this.#scanner = new StopScanner(options.stopTexts);
    this.#filter = new ResponseFilter(options.filter ?? ALL_RULES);
  }

  /** Takes a token; returns why the answer ends here, or null. */
  push(token: number): Ending | null {
    this.#count++;
    const { shown, stopped } = this.#scanner.push(this.#decoder.push(token));
    const nearLimit = this.#count >= NEAR_LIMIT * this.options.maxTokens;
    const filtered = this.#filter.push(shown, nearLimit);
    this.#show(filtered.shown);
    if (filtered.ended) return "filter";
    return stopped ? "stop-text" : null;
  }

  /** The whole answer. Half a character at the end is left in the decoder: it would show as U+FFFD. */
  finish(ending: Ending): { text: string; removals: readonly Removal[] } {
    if (ending !== "filter") {
      const rest = ending === "stop-text" ? "" : this.#scanner.finish();
      const { shown, ended } = this.#filter.push(rest, ending === "length");
      this.#show(shown);
      if (!ended) this.#show(this.#filter.finish(ending === "length"));
    }
    return { text: this.#filter.text, removals: this.#filter.removals };
  }

  #show(piece: string): void {
    if (piece !== "") this.options.onText?.(piece);
  }
}

/** Writes one answer behind a prompt, token by token. */
export class Writer {
  readonly tokens: number[] = [];
  readonly #all: number[];
  readonly #process: LogitProcessor;
  readonly #choose: (logits: Float32Array) => number;
  readonly #text: AnswerText;
  /** log(the answer's probability so far), while anybody asks. */
  #logProbability = 0;
  /** Whether the answer may be shown: nobody asks how probable it is, or its intent was probable enough. */
  #trusted: boolean;

  constructor(
    readonly prompt: readonly number[],
    readonly tokenizer: Tokenizer,
    readonly options: WriterOptions,
  ) {
    this.#all = [...prompt];
    this.#process = processorFor(options, tokenizer);
    this.#choose = options.choose ?? sampler(options);
    this.#trusted = options.unsure === undefined;
    const onText = (piece: string) => this.#trusted && options.onText?.(piece);
    this.#text = new AnswerText(tokenizer, { ...options, onText });
  }

  /** Takes the logits behind the text so far, which it changes; returns why the answer ends, or null. */
  take(logits: Float32Array): Ending | null {
    const decides = !this.#trusted && this.tokens.length === 0;
    const intents = decides ? this.options.unsure!.intents : [];
    if (intents.length > 0) keepOnly(logits, intents);
    const raw = this.#trusted ? null : logits.slice();
    this.#process(logits, { tokens: this.#all, promptLength: this.prompt.length });
    const token = this.#choose(logits);
    if (raw !== null) {
      this.#logProbability += intents.length > 0
        ? sureness(raw, intents, token, this.options.unsure!.spread)
        : raw[token]! - logSumExp(raw);
      if (Math.exp(this.#logProbability) < this.options.unsure!.probability) return "unsure";
      this.#trusted = intents.length > 0;
    }
    if (token === this.tokenizer.special.endOfText) return "end-of-text";
    this.tokens.push(token);
    this.#all.push(token);
    const ending = this.#text.push(token);
    if (ending !== null) return ending;
    return this.tokens.length >= this.options.maxTokens ? "length" : null;
  }

  /** The answer. */
  finish(ending: Ending): Generated {
    const { unsure, onText } = this.options;
    const rest = {
      tokens: this.tokens,
      ending,
      ...(unsure === undefined ? {} : { sure: Math.exp(this.#logProbability) }),
    };
    if (this.#trusted) return { ...this.#text.finish(ending), ...rest };
    const answer = ending === "unsure"
      ? { text: unsure!.answer, removals: [] }
      : this.#text.finish(ending);
    if (answer.text !== "") onText?.(answer.text);
    return { ...answer, ...rest };
  }
}
