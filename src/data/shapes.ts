// The shapes of JSON in which people keep conversations, each turned into an entry.

import type { Message } from "../tokenizer/mod.ts";
import type { Entry, Labels } from "./entry.ts";

/** Why a line is no entry. */
export class ShapeError extends Error {}

type Fields = Readonly<Record<string, unknown>>;

const ROLES: Readonly<Record<string, Message["role"]>> = {
  system: "system",
  user: "user",
  human: "user",
  prompter: "user",
  assistant: "assistant",
  gpt: "assistant",
  bot: "assistant",
  ai: "assistant",
  model: "assistant",
  chatgpt: "assistant",
};

/** A field's text, trimmed. */
function textOf(fields: Fields, name: string, where = ""): string {
  const value = fields[name];
  if (typeof value !== "string") {
    throw new ShapeError(`${where}"${name}" must be text, is ${kindOf(value)}`);
  }
  const text = value.trim();
  if (text === "") throw new ShapeError(`${where}"${name}" is empty`);
  return text;
}

function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  return Array.isArray(value) ? "a list" : `a ${typeof value}`;
}

/** Turns of a list whose items name a role and a content. */
function turns(list: unknown, name: string, role: string, content: string): Message[] {
  if (!Array.isArray(list)) throw new ShapeError(`"${name}" must be a list, is ${kindOf(list)}`);
  const messages = list.map((item: unknown, i): Message => {
    const where = `${name}[${i}] `;
    if (typeof item !== "object" || item === null) {
      throw new ShapeError(`${where}must be an object, is ${kindOf(item)}`);
    }
    const speaker = textOf(item as Fields, role, where);
    const known = Object.hasOwn(ROLES, speaker.toLowerCase()) && ROLES[speaker.toLowerCase()];
    if (!known) {
      throw new ShapeError(
        `${where}"${role}" must be system, user or assistant, is ${JSON.stringify(speaker)}`,
      );
    }
    return { role: known, content: textOf(item as Fields, content, where) };
  });
  return messages;
}

/** Turns of which at least one is the assistant's. */
function conversationTurns(list: unknown, name: string, role: string, content: string): Message[] {
  const messages = turns(list, name, role, content);
  if (messages.some((message) => message.role === "assistant")) return messages;
  throw new ShapeError(`"${name}" holds no assistant's turn to learn from`);
}

/**
 * The turns of a parsed line that asks for an answer: {"prompt"} or {"messages"}.
 * @throws ShapeError when it is neither, or does not end in a user's turn
 */
export function promptOf(value: unknown): Message[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ShapeError(`must be an object, is ${kindOf(value)}`);
  }
  const fields = value as Fields;
  if (!("messages" in fields)) return [{ role: "user", content: textOf(fields, "prompt") }];
  return askedIn(fields, "messages");
}

/** Turns that end in a user's. */
function askedIn(fields: Fields, name: string): Message[] {
  const messages = turns(fields[name], name, "role", "content");
  if (messages.at(-1)?.role === "user") return messages;
  throw new ShapeError(`"${name}" must end in a user's turn`);
}

/** A question and its answer. */
function pair(question: string, answer: string): Message[] {
  return [{ role: "user", content: question }, { role: "assistant", content: answer }];
}

/** What a line says about itself; other fields are left alone. */
function labelsOf({ intent, category }: Fields): Labels {
  return {
    ...(typeof intent === "string" ? { intent } : {}),
    ...(typeof category === "string" ? { category } : {}),
  };
}

/** The text of an answer: itself, or the last turn of a list. */
function saidIn(fields: Fields, name: string): string {
  if (!Array.isArray(fields[name])) return textOf(fields, name);
  const last = turns(fields[name], name, "role", "content").at(-1);
  if (last?.role === "assistant") return last.content;
  throw new ShapeError(`"${name}" must end in an assistant's turn`);
}

/**
 * The entry of a parsed line with two answers: {"prompt", "chosen", "rejected"}, where the prompt is text or turns, also
 * under the name "messages", and the answers are text or turns that end in one. `chosen_intent` and `rejected_intent`
 * say what each takes the question for, where that is not the line's `intent`; with `rejected_open` the rejected answer
 * did not end by itself.
 * @throws ShapeError when it has another shape, or both answers are the same
 */
export function pairOf(value: unknown, source: string): Entry {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ShapeError(`must be an object, is ${kindOf(value)}`);
  }
  const fields = value as Fields;
  const prompt = Array.isArray(fields.prompt) ? askedIn(fields, "prompt") : promptOf(fields);
  const chosen = saidIn(fields, "chosen"), content = saidIn(fields, "rejected");
  const intentOf = (name: string) => labelsOf({ intent: fields[name] ?? fields.intent });
  const open = fields.rejected_open === true ? { open: true } : {};
  const rejected = { content, ...intentOf("rejected_intent"), ...open };
  const label = { ...labelsOf(fields), ...intentOf("chosen_intent") };
  if (chosen === content && label.intent === rejected.intent) {
    throw new ShapeError('"chosen" and "rejected" are the same');
  }
  const messages: Message[] = [...prompt, { role: "assistant", content: chosen }];
  return { kind: "conversation", messages, rejected, source, ...label };
}

/**
 * The entry of a parsed line.
 * @throws ShapeError when it has none of the known shapes
 */
export function entryOf(value: unknown, source: string): Entry {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ShapeError(`must be an object, is ${kindOf(value)}`);
  }
  const fields = value as Fields;
  const labels = labelsOf(fields);
  const conversation = (messages: Message[]): Entry => ({
    kind: "conversation",
    messages,
    source,
    ...labels,
  });
  if ("messages" in fields) {
    return conversation(conversationTurns(fields.messages, "messages", "role", "content"));
  }
  if ("conversations" in fields) {
    return conversation(conversationTurns(fields.conversations, "conversations", "from", "value"));
  }
  if ("instruction" in fields) {
    const input = fields.input;
    const context = typeof input === "string" && input.trim() !== "" ? `\n${input.trim()}` : "";
    return conversation(pair(textOf(fields, "instruction") + context, textOf(fields, "output")));
  }
  if ("prompt" in fields) {
    if (!("completion" in fields) && "chosen" in fields) {
      throw new ShapeError("is a pair of answers; learn from it with --preference dpo");
    }
    return conversation(pair(textOf(fields, "prompt"), textOf(fields, "completion")));
  }
  if ("text" in fields) return { kind: "text", text: textOf(fields, "text"), source, ...labels };
  throw new ShapeError(
    "has none of the known shapes: messages, conversations, prompt and completion, " +
      "instruction and output, text",
  );
}
