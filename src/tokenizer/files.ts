// GPT-2's tokenizer as other tools' files have it: tokens spelled with a printable character for each byte,
// the merges in their order, and a conversation's format as a template.

import type { ChatFormat } from "./formats.ts";
import { mergeBytes } from "./merge.ts";
import { special, specialText, VOCABULARY_SIZE } from "./special.ts";
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

/** Every token's spelling, the special ones as they are written. */
export function gpt2Tokens(tokenizer: Tokenizer): string[] {
  return Array.from(
    { length: VOCABULARY_SIZE },
    (_, token) => specialText.get(token) ?? spell(tokenizer.decodeBytes([token])),
  );
}

/** "left right" for each token of two parts, in order of rank: what BPE merges last to make it. */
export function gpt2Merges(tokenizer: Tokenizer): string[] {
  const ranks = new Map<string, number>(), spellings: string[] = [], merges: string[] = [];
  for (let token = 0; token < special.endOfText; token++) {
    const bytes = String.fromCharCode(...tokenizer.decodeBytes([token]));
    if (bytes.length > 1) {
      // With the lower ranks alone, the token's bytes end as its two parts.
      const parts = mergeBytes(bytes, ranks);
      if (parts.length !== 2) throw new Error(`token ${token} is made of ${parts.length} parts`);
      merges.push(parts.map((part) => spellings[part]).join(" "));
    }
    ranks.set(bytes, token);
    spellings.push(spell(Array.from(bytes, (byte) => byte.charCodeAt(0))));
  }
  return merges;
}

/** The format as a Jinja template of `messages`, for tools that take conversations. */
export function chatTemplate({ user, assistant }: ChatFormat): string {
  const labelled = (label: string) =>
    label === "" ? "{{ message['content'] }}" : `{{ '${label} ' + message['content'] }}`;
  return [
    "{% for message in messages %}",
    "{% if not loop.first %}{{ '\\n' }}{% endif %}",
    `{% if message['role'] == 'assistant' %}${labelled(assistant)}`,
    `{% elif message['role'] == 'user' %}${labelled(user)}`,
    "{% else %}{{ message['content'] }}{% endif %}",
    "{% endfor %}",
    `{% if add_generation_prompt %}{{ '\\n${assistant}' }}{% endif %}`,
  ].join("");
}
