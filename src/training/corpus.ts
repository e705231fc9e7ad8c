// From a recipe's files to the examples that a run trains and validates on.

import {
  type Entry,
  type Example,
  foldOf,
  keywordQuestions,
  makeExamples,
  OutOfScope,
  readEntries,
  splitEntries,
  UNKNOWN,
} from "../data/mod.ts";
import { UserError } from "../errors.ts";
import { shuffled } from "../random.ts";
import {
  CompactTokenizer,
  formats,
  loadTokenizer,
  render,
  type Tokenizer,
  tokenOfIntent,
  vocabularyOf,
  withSteps,
} from "../tokenizer/mod.ts";
import { learnsFromPairs } from "./preference/setting.ts";
import type { Recipe } from "./recipe.ts";

export interface Corpus {
  /** The tokenizer of the examples. */
  readonly tokenizer: Tokenizer;
  readonly training: readonly Example[];
  readonly validation: readonly Example[];
  /** What the training examples come from. */
  readonly entries: readonly Entry[];
  /** Questions with their answers that nine in ten conversations stay within: what a chat may rely on. */
  readonly turns: number;
  /** What the data answer to questions of the intent "unknown", or null. */
  readonly doNotKnow: string | null;
  /** Whether every conversation names an intent, where the tokenizer has some. */
  readonly decides: boolean;
  /** What makes questions that nobody can answer, where the recipe wants some and the data know the intent. */
  readonly outOfScope: OutOfScope | null;
  /** Texts that were cut to the recipe's length. */
  readonly truncated: number;
  /** Lines left out of the files. */
  readonly skipped: readonly string[];
  /** Changes with any token, weight or order: a run can only be resumed on the same data. */
  readonly fingerprint: string;
}

/** What a corpus is made from. */
export interface CorpusFiles {
  readonly training: readonly string[];
  /** Set aside as they are. */
  readonly validation: readonly string[];
  readonly skipBadLines: boolean;
}

/**
 * Reads, splits and tokenises.
 * @param given the tokenizer to use; without one the recipe's vocabulary decides
 * @throws UserError for bad data, or data from which nothing can be learned
 */
export function loadCorpus(files: CorpusFiles, recipe: Recipe, given?: Tokenizer): Corpus {
  const { training: paths, skipBadLines } = files;
  const reading = { skipBadLines, pairs: learnsFromPairs(recipe) };
  const { entries: own, skipped } = readEntries(paths, reading);
  const aside = files.validation.length === 0
    ? { entries: [], skipped: [] }
    : readEntries(files.validation, reading);
  const entries = [...own, ...aside.entries];
  const leaks = recipe.splitBy === "text";
  const split = recipe.folds > 0
    ? foldOf(own, recipe.folds, recipe.fold, recipe.seed)
    : splitEntries(own, leaks ? 0 : recipe.validation, recipe.seed);
  const taken = draw(split.training, recipe.share, recipe.seed).map((i) => entries[i]!);
  split.validation.push(...aside.entries.map((_, i) => own.length + i));
  const tokenizer = given ?? tokenizerFor(recipe, taken);
  if (!leaks && recipe.validation > 0 && split.validation.length === aside.entries.length) {
    throw new UserError(
      `${
        paths.join(", ")
      }: only one question, none can be set aside; add data or use --validation 0`,
    );
  }
  const learned = [...taken, ...keywordQuestions(taken, recipe.keywordQuestions, recipe.seed)];
  const training = makeExamples(learned, [...learned.keys()], tokenizer, recipe);
  const validation = makeExamples(entries, split.validation, tokenizer, {
    ...recipe,
    augment: false,
  });
  if (leaks) moveTexts(training.examples, validation.examples, recipe);
  if (!training.examples.some(isLearnable)) {
    throw new UserError(`${paths.join(", ")}: no text has a token to learn`);
  }
  return {
    training: training.examples.filter(isLearnable),
    validation: validation.examples.filter(isLearnable),
    entries: learned,
    tokenizer,
    turns: usualTurns(own),
    // The chosen of two answers to what nobody knows need not say so.
    doNotKnow: reading.pairs ? null : doNotKnow(own),
    decides: !tokenizer.intents?.size ||
      taken.every(({ kind, intent }) =>
        kind === "text" || tokenOfIntent(tokenizer, intent) !== undefined
      ),
    outOfScope: outOfScopeOf(training.examples, tokenizer, recipe),
    truncated: training.truncated + validation.truncated,
    skipped: [...skipped, ...aside.skipped],
    fingerprint: fingerprintOf([...training.examples, ...validation.examples]),
  };
}

function outOfScopeOf(
  examples: readonly Example[],
  { intents }: Tokenizer,
  recipe: Recipe,
): OutOfScope | null {
  if (recipe.outOfScope === 0 || !intents?.has(UNKNOWN)) return null;
  // A model that knows intents may go on with data that name none.
  if (examples.every(({ decision }) => decision === undefined)) return null;
  return new OutOfScope(examples, intents);
}

/** A share of the entries, in their order. */
function draw(indices: readonly number[], share: number, seed: number): number[] {
  const kept = Math.max(1, Math.round(share * indices.length));
  return Array.from(shuffled(indices.length, seed, 0).slice(0, kept)).sort((a, b) => a - b)
    .map((i) => indices[i]!);
}

/** Sets texts aside after they were formatted, as the original experiment did: other spellings stay behind. */
function moveTexts(from: Example[], to: Example[], { validation, seed }: Recipe): void {
  const moved = new Set(
    shuffled(from.length, seed, 0).slice(0, Math.round(validation * from.length)),
  );
  to.push(...from.filter((_, i) => moved.has(i)));
  const rest = from.filter((_, i) => !moved.has(i));
  from.splice(0, from.length, ...rest);
}

function doNotKnow(entries: readonly Entry[]): string | null {
  for (const entry of entries) {
    if (entry.kind !== "conversation" || entry.intent !== UNKNOWN) continue;
    return entry.messages.findLast(({ role }) => role === "assistant")?.content ?? null;
  }
  return null;
}

/** GPT-2's tokenizer, or one for what the model learns from. */
function tokenizerFor(recipe: Recipe, entries: readonly Entry[]): Tokenizer {
  const gpt2 = loadTokenizer();
  if (recipe.vocabulary === "gpt2") return gpt2;
  const texts = entries.flatMap((entry) =>
    entry.kind === "text" ? [entry.text] : recipe.formats.flatMap(({ name }) =>
      // Runs are encoded one by one, as examples are.
      render(formats[name], entry.messages).map(({ text }) => text)
    )
  );
  const intents = recipe.intentTokens
    ? new Set(entries.flatMap(({ intent }) => intent === undefined ? [] : [intent]))
    : [];
  const used = vocabularyOf(texts, gpt2);
  const kept = recipe.vocabulary === "corpus-bpe" ? withSteps(used) : used;
  return new CompactTokenizer(gpt2, kept, [...intents].sort());
}

/** The 90th percentile of the conversations' answers; 1 without conversations. */
function usualTurns(entries: readonly Entry[]): number {
  const turns = entries.filter((entry) => entry.kind === "conversation")
    .map(({ messages }) => messages.filter(({ role }) => role === "assistant").length)
    .sort((a, b) => a - b);
  return turns[Math.floor(0.9 * turns.length)] ?? 1;
}

/** Whether any token counts in the loss, of both answers where there are two. */
function isLearnable({ weights, rejected }: Example): boolean {
  return weights.subarray(1).some((weight) => weight > 0) &&
    (rejected === undefined || isLearnable(rejected));
}

/** A 64-bit FNV-1a hash over tokens and weights. */
function fingerprintOf(examples: readonly Example[]): string {
  let low = 0x811c9dc5, high = 0xcbf29ce4;
  const add = (value: number) => {
    low = Math.imul(low ^ value, 0x01000193) >>> 0;
    high = Math.imul(high ^ value ^ (low >>> 16), 0x01000193) >>> 0;
  };
  const addExample = ({ tokens, weights, rejected }: Example) => {
    add(tokens.length);
    tokens.forEach(add);
    weights.forEach((weight) => add(Math.round(weight * 1e6)));
    if (rejected !== undefined) addExample(rejected);
  };
  examples.forEach(addExample);
  return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
}
