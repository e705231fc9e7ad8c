// Other spellings of the same questions, so that a model does not hang on capitals and punctuation.

import type { Message } from "../tokenizer/mod.ts";

/** As somebody in a hurry types: no capitals, no punctuation at the end. */
function hurried(question: string): string {
  return question.toLowerCase().replace(/[?.!\s]+$/, "");
}

/** As a polite request; what is no question, such as a greeting, stays as it is. */
function polite(question: string): string {
  return question.endsWith("?") ? `Please tell me: ${question}` : question;
}

/** A conversation with its questions respelled, at most two copies; its answers stay the same. */
export function respellings(messages: readonly Message[]): Message[][] {
  return [hurried, polite]
    .map((spell) =>
      messages.map((message) => {
        if (message.role !== "user") return message;
        // A question of punctuation alone, such as "?", would be left empty.
        return { ...message, content: spell(message.content) || message.content };
      })
    )
    .filter((copy) => copy.some(({ content }, i) => content !== messages[i]!.content));
}
