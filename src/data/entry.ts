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

export interface Conversation extends Labels {
  readonly kind: "conversation";
  readonly messages: readonly Message[];
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
