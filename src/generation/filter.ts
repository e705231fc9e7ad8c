// What a person sees of an answer. Each rule takes something away from its end, and knows, while the answer
// grows, which part of it no rule will ever take back: only that part is shown.

import { formats } from "../tokenizer/mod.ts";

/** The rules, in the order in which they are applied. */
export const ruleNames = ["speaker", "loop", "half-sentence"] as const;
export type RuleName = typeof ruleNames[number];

/** What a rule took away. */
export interface Removal {
  readonly rule: RuleName;
  readonly removed: string;
}

export interface FilterOptions {
  readonly rules: ReadonlySet<RuleName>;
}

/** All rules. */
export const ALL_RULES: FilterOptions = { rules: new Set(ruleNames) };

/** Where a text is to be cut, and how much of it is certain to stay while it grows. */
interface Cut {
  /** Characters to keep, or null to keep all. */
  readonly at: number | null;
  /** Characters that stay whatever comes. */
  readonly settled: number;
}

const LABELS = [
  ...new Set(
    Object.values(formats).flatMap(({ user, assistant }) => [user, assistant]).filter((label) =>
      label !== ""
    ),
  ),
];

/** Cuts before a line that begins another speaker's turn, in any of the formats. */
export function cutSpeaker(text: string): Cut {
  for (let line = text.indexOf("\n"); line >= 0; line = text.indexOf("\n", line + 1)) {
    const rest = text.slice(line + 1).trimStart();
    if (LABELS.some((label) => rest.startsWith(label))) return { at: line, settled: line };
    if (LABELS.some((label) => label.startsWith(rest))) return { at: null, settled: line };
  }
  return { at: null, settled: text.length };
}

/** Words of the longest unit whose repetition is noticed. */
const LONGEST_UNIT = 40;

/** Words that must repeat those one unit before, for a unit of so many words to be a loop. */
function loopLength(unit: number): number {
  if (unit === 1) return 4;
  return unit < 6 ? 2 * unit : unit;
}

/** What two words are compared by: letters and digits in lower case, or the word where it has none. */
function normalized(word: string): string {
  return word.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "") || word;
}

/**
 * Cuts behind the first occurrence of words that are said again and again: a word five times, up to five words
 * three times, more words twice. `complete`: nothing follows the last word.
 */
export function cutLoop(text: string, complete: boolean): Cut {
  const words = [...text.matchAll(/\S+/g)].map(({ 0: word, index }) => ({ word, start: index }));
  const keys = words.map(({ word }) => normalized(word));
  const runs = new Int32Array(LONGEST_UNIT + 1);
  for (let i = 0; i < words.length; i++) {
    const partial = !complete && i === words.length - 1 && !/\s$/.test(text);
    const open = partial && !/[\p{L}\p{N}]/u.test(words[i]!.word);
    for (let unit = 1; unit <= Math.min(i, LONGEST_UNIT); unit++) {
      const before = keys[i - unit]!;
      const same = partial ? open || before.startsWith(keys[i]!) : before === keys[i]!;
      runs[unit] = same ? runs[unit]! + 1 : 0;
      if (!partial && runs[unit]! >= loopLength(unit)) {
        const at = endOfWord(words[i - runs[unit]!]!);
        return { at, settled: at };
      }
    }
  }
  const longest = Math.max(0, ...runs);
  const first = words[words.length - longest];
  const settled = longest > 0 && first !== undefined ? first.start : text.length;
  return { at: null, settled: complete ? text.length : settled };
}

function endOfWord({ word, start }: { word: string; start: number }): number {
  return start + word.length;
}

/** The end of the last whole sentence, 0 when there is none. */
function lastSentenceEnd(text: string): number {
  let end = 0;
  for (const { 0: mark, index } of text.matchAll(/[.!?\u2026]+["')\]]*(?=\s|$)|\n/g)) {
    end = mark === "\n" ? index : index + mark.length;
  }
  return end;
}

/** An answer as it grows. */
export class ResponseFilter {
  #text = "";
  #shown = 0;
  readonly removals: Removal[] = [];

  constructor(readonly options: FilterOptions = ALL_RULES) {}

  /** The answer so far, as it is shown. */
  get text(): string {
    return this.#text.slice(0, this.#shown);
  }

  /** Takes a piece; returns what may be shown now, and whether a rule ends the answer. */
  push(piece: string, nearLimit: boolean): { readonly shown: string; readonly ended: boolean } {
    this.#text += piece;
    const { rules } = this.options;
    let settled = this.#text.length;
    for (const rule of ["speaker", "loop"] as const) {
      if (!rules.has(rule)) continue;
      const cut = rule === "speaker" ? cutSpeaker(this.#text) : cutLoop(this.#text, false);
      if (cut.at !== null) {
        this.#remove(rule, cut.at);
        return { shown: this.#show(this.#text.length), ended: true };
      }
      settled = Math.min(settled, cut.settled);
    }
    if (nearLimit && rules.has("half-sentence")) {
      settled = Math.min(settled, lastSentenceEnd(this.#text));
    }
    return { shown: this.#show(settled), ended: false };
  }

  /** Nothing more comes. `cut`: because of the length limit. */
  finish(cut: boolean): string {
    const { rules } = this.options;
    if (rules.has("loop")) {
      const { at } = cutLoop(this.#text, true);
      if (at !== null) this.#remove("loop", at);
    }
    if (cut && rules.has("half-sentence")) {
      const end = lastSentenceEnd(this.#text);
      if (end > 0 && end >= this.#shown && end < this.#text.trimEnd().length) {
        this.#remove("half-sentence", end);
      }
    }
    return this.#show(this.#text.length);
  }

  /** Whether a rule found the answer in a loop. */
  get looped(): boolean {
    return this.removals.some(({ rule }) => rule === "loop");
  }

  #remove(rule: RuleName, at: number): void {
    const keep = Math.max(at, this.#shown);
    this.removals.push({ rule, removed: this.#text.slice(keep) });
    this.#text = this.#text.slice(0, keep);
  }

  /** White space waits for what follows it: a cut behind it would have to take it back. */
  #show(end: number): string {
    const from = this.#shown;
    this.#shown = Math.max(from, this.#text.slice(0, end).trimEnd().length);
    return this.#text.slice(from, this.#shown);
  }
}

/** Whether an answer says nothing but the question. */
export function copies(question: string, answer: string): boolean {
  const words = (text: string) =>
    text.split(/\s+/).map(normalized).filter((word) => word !== "").join(" ");
  return words(answer) !== "" && words(question) === words(answer);
}
