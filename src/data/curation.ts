// Looks for what spoils a corpus: duplicates, leaks between its files, answers that contradict each other, texts
// that are too long, broken encoding, words said twice in a row.

import type { Tokenizer } from "../tokenizer/mod.ts";
import type { Entry } from "./entry.ts";

/** Entries of one file; files are the sides of a split. */
export interface CorpusFile {
  readonly path: string;
  readonly entries: readonly Entry[];
}

export type FaultKind =
  | "duplicate"
  | "near duplicate"
  | "leak"
  | "contradiction"
  | "too long"
  | "encoding"
  | "repeated word";

export interface Fault {
  readonly kind: FaultKind;
  /** Whether the corpus must not be used like this. */
  readonly serious: boolean;
  readonly message: string;
}

export interface CurationOptions {
  readonly tokenizer: Tokenizer;
  readonly maxTokens: number;
  /** Likeness of two questions from which they are near duplicates, from 0 to 1. */
  readonly threshold: number;
}

interface Item {
  readonly file: string;
  readonly source: string;
  /** What is asked, or the whole text. */
  readonly text: string;
  /** null for a text without question. */
  readonly answer: string | null;
  readonly intent: string | undefined;
  /** Words and pairs of words. */
  readonly shingles: ReadonlySet<string>;
  readonly key: string;
}

/** Words and neighbouring pairs of words, in lower case without punctuation. */
export function shinglesOf(text: string): Set<string> {
  const words = text.toLowerCase().match(/[\p{L}\p{N}+#]+/gu) ?? [];
  return new Set([...words, ...words.slice(1).map((word, i) => `${words[i]} ${word}`)]);
}

/** Shared shingles over all shingles of two texts (Jaccard). */
export function likeness(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  const shared = a.intersection(b).size;
  return shared === 0 ? 0 : shared / (a.size + b.size - shared);
}

function itemOf(entry: Entry, file: string): Item {
  const conversation = entry.kind === "conversation";
  const text = conversation
    ? entry.messages.filter(({ role }) => role !== "assistant").map(({ content }) => content)
      .join("\n")
    : entry.text;
  const answer = conversation
    ? entry.messages.filter(({ role }) => role === "assistant").map(({ content }) => content)
      .join("\n")
    : null;
  const shingles = shinglesOf(text);
  const key = text.toLowerCase().replaceAll(/[^\p{L}\p{N}+#]+/gu, " ").trim();
  return { file, source: entry.source, text, answer, intent: entry.intent, shingles, key };
}

/** Everything that is wrong with a corpus, serious things first. */
export function findFaults(files: readonly CorpusFile[], o: CurationOptions): Fault[] {
  const items = files.flatMap(({ path, entries }) => entries.map((entry) => itemOf(entry, path)));
  return [...pairFaults(items, o.threshold), ...items.flatMap((item) => itemFaults(item, o))]
    .sort((a, b) => Number(b.serious) - Number(a.serious));
}

/** Marks of text that was decoded with the wrong encoding, or never was text. */
const BROKEN = /\uFFFD|(?![\n\r\t])\p{Cc}|\u00C3[\u0080-\u00BF]|\u00E2\u20AC/u;

/** A word twice in a row, which teaches a small model to say it again and again. */
const TWICE = /(?<!\p{L})(\p{L}+) \1(?!\p{L})/iu;

function itemFaults({ text, answer, source }: Item, o: CurationOptions): Fault[] {
  const whole = answer === null ? text : `${text}\n${answer}`;
  const faults: Fault[] = [];
  const broken = BROKEN.exec(whole);
  if (broken !== null) {
    const message = `${source}: holds ${JSON.stringify(broken[0])}, which no text should`;
    faults.push({ kind: "encoding", serious: true, message });
  } else if (whole.normalize("NFC") !== whole) {
    const message = `${source}: has letters with separate accents (not in NFC)`;
    faults.push({ kind: "encoding", serious: false, message });
  }
  const { length } = o.tokenizer.encode(whole);
  if (length > o.maxTokens) {
    const message = `${source}: has ${length} tokens, more than ${o.maxTokens}`;
    faults.push({ kind: "too long", serious: false, message });
  }
  const twice = TWICE.exec(answer ?? text);
  if (twice !== null) {
    const message = `${source}: says ${JSON.stringify(twice[0])}; a small model may loop there`;
    faults.push({ kind: "repeated word", serious: false, message });
  }
  return faults;
}

/** Faults between two items; only pairs that can be alike enough are compared. */
function pairFaults(items: readonly Item[], threshold: number): Fault[] {
  const faults: Fault[] = [];
  const counts = new Map<string, number>();
  for (const { shingles } of items) {
    for (const shingle of shingles) counts.set(shingle, (counts.get(shingle) ?? 0) + 1);
  }
  const rarity = (a: string, b: string) => counts.get(a)! - counts.get(b)! || (a < b ? -1 : 1);
  const holders = new Map<string, number[]>();
  items.forEach((item, i) => {
    // Prefix filtering (Chaudhuri et al. 2006): two sets as alike as the threshold share one of so many of
    // their rarest members.
    const { size } = item.shingles;
    const prefix = [...item.shingles].sort(rarity).slice(0, size - Math.ceil(threshold * size) + 1);
    const candidates = new Set<number>();
    for (const shingle of prefix) {
      const known = holders.get(shingle) ?? [];
      for (const other of known) candidates.add(other);
      known.push(i);
      holders.set(shingle, known);
    }
    for (const other of candidates) {
      const before = items[other]!;
      const smaller = Math.min(before.shingles.size, item.shingles.size);
      const larger = Math.max(before.shingles.size, item.shingles.size);
      if (smaller < threshold * larger) continue;
      const fault = compare(before, item, threshold);
      if (fault !== null) faults.push(fault);
    }
  });
  return faults;
}

function compare(a: Item, b: Item, threshold: number): Fault | null {
  const alike = a.key === b.key ? 1 : likeness(a.shingles, b.shingles);
  if (alike < threshold) return null;
  const where = `${a.source} and ${b.source}`;
  const said = `${JSON.stringify(a.text)}, ${JSON.stringify(b.text)}`;
  if (a.file !== b.file) {
    return { kind: "leak", serious: true, message: `${where}: the same question on both: ${said}` };
  }
  if (a.answer !== b.answer && a.intent !== undefined && a.intent !== b.intent) {
    const message = `${where}: alike questions with other answers: ${said}`;
    return { kind: "contradiction", serious: true, message };
  }
  const kind = a.key === b.key ? "duplicate" : "near duplicate";
  if (kind === "duplicate" && a.answer !== b.answer && a.intent === undefined) {
    const message = `${where}: one question with two answers: ${said}`;
    return { kind: "contradiction", serious: false, message };
  }
  return { kind, serious: kind === "duplicate", message: `${where}: ${said}` };
}
