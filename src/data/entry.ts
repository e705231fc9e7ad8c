// What a data file holds: conversations and single texts, kept apart.

import type { Message } from "../tokenizer/mod.ts";

/** What a line may say about itself beside its text. */
export interface Labels {
  /** What the question wants to know: lines of one intent accept each other's answers. */
  readonly intent?: string;
  readonly category?: string;
}

/** The intent of questions that the model cannot answer; its answer is to say so. */
export const UNKNOWN = "unknown";

/** An answer that is worse than another one. */
export interface Rejected {
  readonly content: string;
  /** What it took the question for. */
  readonly intent?: string;
  /** It did not end by itself, so that no end-of-text token follows. */
  readonly open?: boolean;
}

export interface Conversation extends Labels {
  readonly kind: "conversation";
  readonly messages: readonly Message[];
  /** Of a pair: what was not to be said in place of the last message. */
  readonly rejected?: Rejected;
  /** "file:line" */
  readonly source: string;
}

export interface PlainText extends Labels {
  readonly kind: "text";
  readonly text: string;
  /** "file:line" or the file. */
  readonly source: string;
}

export type Entry = Conversation | PlainText;
