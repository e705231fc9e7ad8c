// Turns entries into training examples: formats, tokens, the weight of each token in the loss.

import {
  type FormatName,
  formats,
  type Message,
  render,
  type Segment,
  special,
  type Tokenizer,
} from "../tokenizer/mod.ts";
import type { Entry } from "./entry.ts";

/** A text ready for training. */
export interface Example {
  readonly tokens: Int32Array;
  /** Weight of each token as a target; the first is never one. */
  readonly weights: Float32Array;
  /** Index of the entry that it came from. */
  readonly entry: number;
  /** null for plain text. */
  readonly format: FormatName | null;
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
  /** Adds each conversation once more with its questions in another spelling. */
  readonly augment: boolean;
}

export interface Examples {
  readonly examples: Example[];
  /** Conversations that were cut at the end. */
  readonly truncated: number;
}

/** Examples of the entries at `indices`, format by format. */
export function makeExamples(
  entries: readonly Entry[],
  indices: readonly number[],
  tokenizer: Tokenizer,
  options: ExampleOptions,
): Examples {
  const examples: Example[] = [];
  let truncated = 0;
  const conversations = indices.filter((i) => entries[i]!.kind === "conversation");
  options.formats.forEach(({ name, first }, order) => {
    for (const index of conversations.slice(0, first)) {
      const entry = entries[index]!;
      if (entry.kind !== "conversation") continue;
      const spellings = options.augment && order === 0
        ? [entry.messages, respell(entry.messages)]
        : [entry.messages];
      for (const messages of spellings) {
        const made = exampleOf(render(formats[name], messages), tokenizer, options);
        if (made.cut) truncated++;
        examples.push({ ...made, entry: index, format: name });
      }
    }
  });
  for (const index of indices) {
    const entry = entries[index]!;
    if (entry.kind !== "text") continue;
    for (const window of windowsOf(entry.text, tokenizer, options)) {
      examples.push({ ...window, entry: index, format: null });
    }
  }
  // A single token predicts nothing.
  return { examples: examples.filter(({ tokens }) => tokens.length > 1), truncated };
}

/** The questions as somebody in a hurry types them: no capitals, no question mark. */
function respell(messages: readonly Message[]): Message[] {
  return messages.map((message) =>
    message.role === "user"
      ? { ...message, content: message.content.toLowerCase().replace(/[?.!]+$/, "") }
      : message
  );
}

function exampleOf(segments: readonly Segment[], tokenizer: Tokenizer, options: ExampleOptions) {
  const tokens: number[] = [], weights: number[] = [];
  for (const { text, answer } of segments) {
    for (const token of tokenizer.encode(text)) {
      tokens.push(token);
      weights.push(answer ? 1 : options.promptLossWeight);
    }
  }
  if (options.endOfText) {
    tokens.push(special.endOfText);
    weights.push(segments.at(-1)?.answer ? 1 : options.promptLossWeight);
  }
  const cut = tokens.length > options.maxTokens;
  return {
    tokens: Int32Array.from(tokens.slice(0, options.maxTokens)),
    weights: Float32Array.from(weights.slice(0, options.maxTokens)),
    cut,
  };
}

/** A long text in windows; each begins with the last token of the one before, so that all are predicted. */
function windowsOf(text: string, tokenizer: Tokenizer, options: ExampleOptions) {
  const tokens = tokenizer.encode(text);
  if (options.endOfText) tokens.push(special.endOfText);
  const windows: { tokens: Int32Array; weights: Float32Array }[] = [];
  for (let start = 0; start < Math.max(1, tokens.length - 1); start += options.maxTokens - 1) {
    const window = Int32Array.from(tokens.slice(start, start + options.maxTokens));
    windows.push({ tokens: window, weights: new Float32Array(window.length).fill(1) });
  }
  return windows;
}
