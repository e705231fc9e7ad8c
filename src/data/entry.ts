// What a data file holds: conversations and single texts, kept apart.

import type { Message } from "../tokenizer/mod.ts";

export interface Conversation {
  readonly kind: "conversation";
  readonly messages: readonly Message[];
  /** "file:line" */
  readonly source: string;
}

export interface PlainText {
  readonly kind: "text";
  readonly text: string;
  /** "file:line" or the file. */
  readonly source: string;
}

export type Entry = Conversation | PlainText;
