// A tokenizer as other tools' files have it: tokens spelled with a printable character for each byte,
// the merges in their order, and a conversation's format as a template.

import type { ChatFormat } from "./formats.ts";
import { gpt2Bytes } from "./encoder.ts";
import { special, specialText } from "./special.ts";
import { partsOf } from "./steps.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Bytes that stand for themselves; the others become characters from 256 on (GPT-2's bytes_to_unicode). */
const isPrintable = (byte: number) =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

const SPELLING: readonly string[] = (() => {
  let next = 256;
  return Array.from(
    { length: 256 },
    (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++),
  );
})();

function spell(bytes: ArrayLike<number>): string {
  return Array.from(bytes, (byte) => SPELLING[byte]!).join("");
}

const bytesOf = (spelling: string) => Array.from(spelling, (byte) => byte.charCodeAt(0));

/** How tokens of intents are spelled where they must be: as part of no text. */
const intentText = (name: string) => `<|intent:${name}|>`;

/** Tokens that are part of no text, by number, as they are written. */
export function addedTokens(tokenizer: Tokenizer): Map<number, string> {
  const { special, intents = new Map<string, number>() } = tokenizer;
  const ours = Object.values(special).map((token) =>
    [token, tokenizer.decode([token], { spellSpecial: true })] as const
  );
  return new Map([
    ...ours,
    ...[...intents].map(([name, token]) => [token, intentText(name)] as const),
  ]);
}

/** Every token's spelling, the added ones as they are written. */
export function spelledTokens(tokenizer: Tokenizer): string[] {
  const added = addedTokens(tokenizer);
  return Array.from(
    { length: tokenizer.vocabularySize },
    (_, token) => added.get(token) ?? spell(tokenizer.decodeBytes([token])),
  );
}

/**
 * "left right" for each token of two parts, in order of rank: what BPE merges last to make it.
 * @throws Error unless the vocabulary holds the steps to all its tokens
 */
export function spelledMerges(tokenizer: Tokenizer): string[] {
  const bytes = Array.from(
    { length: tokenizer.special.endOfText },
    (_, token) => String.fromCharCode(...tokenizer.decodeBytes([token])),
  );
  const ranks = new Map(bytes.map((spelling, token) => [spelling, token]));
  return bytes.filter(({ length }) => length > 1).map((token) => {
    const parts = partsOf(token, ranks);
    if (parts.length !== 2) throw new Error(`${token} is made of ${parts.length} parts`);
    return parts.map((part) => spell(bytesOf(bytes[part]!))).join(" ");
  });
}

/**
 * Takes tokens apart again into the kept tokens of GPT-2 and the intents' names: how they are numbered says the rest.
 * @returns null unless they are a compact vocabulary's
 */
export function readSpelledTokens(
  tokens: readonly unknown[],
): { vocabulary: number[]; intents: string[] } | null {
  const known = new Map(gpt2Bytes().map((bytes, token) => [spell(bytesOf(bytes)), token]));
  const end = tokens.indexOf(specialText.get(special.endOfText));
  const vocabulary = tokens.slice(0, end).map((token) => known.get(token as string) ?? NaN);
  const named = tokens.slice(end + specialText.size).map((token) =>
    /^<\|intent:(.*)\|>$/s.exec(String(token))?.[1]
  );
  const isOurs = [...specialText.values()].every((text, i) => tokens[end + i] === text) &&
    vocabulary.every(Number.isInteger) && named.every((name) => name !== undefined);
  return isOurs ? { vocabulary, intents: named as string[] } : null;
}

/** The format as a Jinja template of `messages`, for tools that take conversations. */
export function chatTemplate({ user, assistant, smallLetters = false }: ChatFormat): string {
  const labelled = (label: string, content = "message['content']") =>
    label === "" ? `{{ ${content} }}` : `{{ '${label} ' + ${content} }}`;
  const asked = smallLetters ? "(message['content'] | lower)" : undefined;
  return [
    "{% for message in messages %}",
    "{% if not loop.first %}{{ '\\n' }}{% endif %}",
    `{% if message['role'] == 'assistant' %}${labelled(assistant)}`,
    `{% elif message['role'] == 'user' %}${labelled(user, asked)}`,
    "{% else %}{{ message['content'] }}{% endif %}",
    "{% endfor %}",
    `{% if add_generation_prompt %}{{ '\\n${assistant}' }}{% endif %}`,
  ].join("");
}
