// Turns entries into training examples: formats, tokens, the weight of each token in the loss.

import {
  type FormatName,
  formats,
  type Message,
  render,
  type Segment,
  type Tokenizer,
  tokenOfIntent,
} from "../tokenizer/mod.ts";
import { respellings } from "./augment.ts";
import type { Entry } from "./entry.ts";

/** A text ready for training. */
export interface Example {
  readonly tokens: Int32Array;
  /** Weight of each token as a target; the first is never one. */
  readonly weights: Float32Array;
  /** 1 where a token is what the user says. */
  readonly user: Uint8Array;
  /** Where the token of the last question's intent is, with which the answer is decided; absent if there is none. */
  readonly decision?: number;
  /** Index of the entry that it came from. */
  readonly entry: number;
  /** null for plain text. */
  readonly format: FormatName | null;
  /** Whether its end was cut off, and with it the end-of-text token. */
  readonly truncated: boolean;
  /** Of a pair: the same question with the worse answer. */
  readonly rejected?: Example;
}

/** The example up to the token at `decision`, which it shares its memory with. */
export function upToDecision(example: Example, decision: number): Example {
  const end = decision + 1;
  return {
    ...example,
    tokens: example.tokens.subarray(0, end),
    weights: example.weights.subarray(0, end),
    user: example.user.subarray(0, end),
  };
}

/** A format that conversations are spelled in, all of them or the first few. */
export interface FormatChoice {
  readonly name: FormatName;
  readonly first?: number;
}

export interface ExampleOptions {
  readonly formats: readonly FormatChoice[];
  /** Longest example, its end-of-text token counted. */
  readonly maxTokens: number;
  /** Whether texts end in the end-of-text token, which the model learns to predict. */
  readonly endOfText: boolean;
  /** Weight of the tokens that are given, against 1 for those that the assistant says. */
  readonly promptLossWeight: number;
  /** Weight of the token of an intent; absent: 1. */
  readonly intentWeight?: number;
  /** Adds each conversation, in the first format, with its questions respelled: at most two copies. */
  readonly augment: boolean;
}

export interface Examples {
  readonly examples: Example[];
  /** Conversations that were cut at the end, however many of their spellings were. */
  readonly truncated: number;
  /** Texts left out because they are a single token, which predicts nothing. */
  readonly dropped: number;
}

/**
 * Examples of the entries at `indices`: conversations format by format, then texts.
 * @throws RangeError when `maxTokens` is below 2, which leaves nothing to predict
 */
export function makeExamples(
  entries: readonly Entry[],
  indices: readonly number[],
  tokenizer: Tokenizer,
  options: ExampleOptions,
): Examples {
  const { maxTokens } = options;
  if (!(maxTokens >= 2)) throw new RangeError(`maxTokens must be at least 2, got ${maxTokens}`);
  const made: Example[] = [];
  const conversations = indices.filter((i) => entries[i]!.kind === "conversation");
  options.formats.forEach(({ name, first }, order) => {
    for (const index of conversations.slice(0, first)) {
      const entry = entries[index]!;
      if (entry.kind !== "conversation") continue;
      const spellings = options.augment && order === 0
        ? [entry.messages, ...respellings(entry.messages)]
        : [entry.messages];
      for (const messages of spellings) {
        const spell = (turns: readonly Message[], intent: string | undefined, open = false) => ({
          ...exampleOf(render(formats[name], turns), intent, tokenizer, {
            ...options,
            endOfText: options.endOfText && !open,
          }),
          entry: index,
          format: name,
        });
        const example = spell(messages, entry.intent);
        const worse = entry.rejected;
        if (worse === undefined) made.push(example);
        else {
          const { content, intent, open } = worse;
          const rejected = spell(
            [...messages.slice(0, -1), { role: "assistant", content }],
            intent,
            open,
          );
          made.push({ ...example, rejected, truncated: example.truncated || rejected.truncated });
        }
      }
    }
  });
  for (const index of indices) {
    const entry = entries[index]!;
    if (entry.kind !== "text") continue;
    for (const window of windowsOf(entry.text, tokenizer, options)) {
      made.push({ ...window, entry: index, format: null, truncated: false });
    }
  }
  const examples = made.filter(({ tokens }) => tokens.length > 1);
  return {
    examples,
    truncated: new Set(made.filter((e) => e.truncated).map(({ entry }) => entry)).size,
    dropped: made.length - examples.length,
  };
}

function exampleOf(
  segments: readonly Segment[],
  intent: string | undefined,
  tokenizer: Tokenizer,
  options: ExampleOptions,
) {
  const { promptLossWeight, intentWeight = 1 } = options;
  const tokens: number[] = [], weights: number[] = [], users: number[] = [];
  let decision: number | undefined;
  // The last answer begins with what its question wants to know, where the tokenizer has a token for it.
  const named = tokenOfIntent(tokenizer, intent);
  const last = named === undefined ? -1 : segments.findLastIndex(({ answer }) => answer);
  for (const [i, { text, answer, user }] of segments.entries()) {
    const own = tokenizer.encode(text);
    if (i === last) {
      decision = tokens.length;
      tokens.push(named!);
      weights.push(intentWeight);
      users.push(0);
    }
    for (const token of own) {
      tokens.push(token);
      weights.push(answer ? 1 : promptLossWeight);
      users.push(Number(user));
    }
  }
  if (options.endOfText) {
    tokens.push(tokenizer.special.endOfText);
    weights.push(segments.at(-1)?.answer ? 1 : promptLossWeight);
    users.push(0);
  }
  return {
    tokens: Int32Array.from(tokens.slice(0, options.maxTokens)),
    weights: Float32Array.from(weights.slice(0, options.maxTokens)),
    user: Uint8Array.from(users.slice(0, options.maxTokens)),
    decision: decision !== undefined && decision < options.maxTokens ? decision : undefined,
    truncated: tokens.length > options.maxTokens,
  };
}

/** A long text in windows; each begins with the last token of the one before, so that all are predicted. */
function windowsOf(text: string, tokenizer: Tokenizer, options: ExampleOptions) {
  const tokens = tokenizer.encode(text);
  if (options.endOfText) tokens.push(tokenizer.special.endOfText);
  const windows: Pick<Example, "tokens" | "weights" | "user">[] = [];
  for (let start = 0; start < Math.max(1, tokens.length - 1); start += options.maxTokens - 1) {
    const window = Int32Array.from(tokens.slice(start, start + options.maxTokens));
    const weights = new Float32Array(window.length).fill(1);
    windows.push({ tokens: window, weights, user: new Uint8Array(window.length) });
  }
  return windows;
}
