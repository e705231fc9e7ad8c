// Figures about texts, by their words: how much they repeat, and how like another text they are.

/** A text's words in lower case, without punctuation. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+(?:['.+#][\p{L}\p{N}]+)*/gu) ?? [];
}

function ngrams(words: readonly string[], n: number): string[] {
  return Array.from(
    { length: Math.max(0, words.length - n + 1) },
    (_, i) => words.slice(i, i + n).join(" "),
  );
}

/** Distinct n-grams over all n-grams of the texts (Li et al. 2016); 1 when there are none. */
export function distinct(texts: readonly string[], n: number): number {
  const all = texts.flatMap((text) => ngrams(wordsOf(text), n));
  return all.length === 0 ? 1 : new Set(all).size / all.length;
}

/** Mean share of a text's 4-grams that it said before (Welleck et al. 2019, seq-rep-4). */
export function sequenceRepetition(texts: readonly string[], n = 4): number {
  const shares = texts.map((text) => {
    const all = ngrams(wordsOf(text), n);
    return all.length === 0 ? 0 : 1 - new Set(all).size / all.length;
  });
  return mean(shares);
}

/** 0 for an empty list. */
export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** F1 of two texts' words, each counted as often as it comes (Rajpurkar et al. 2016). */
export function tokenF1(a: string, b: string): number {
  const left = new Map<string, number>();
  const wordsA = wordsOf(a), wordsB = wordsOf(b);
  for (const word of wordsA) left.set(word, (left.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of wordsB) {
    const count = left.get(word) ?? 0;
    if (count === 0) continue;
    left.set(word, count - 1);
    common++;
  }
  return common === 0 ? 0 : 2 * common / (wordsA.length + wordsB.length);
}

/** Shortest answer, in words, of which it can be said that it was copied. */
const COPIED_WORDS = 5;

/** A test for texts that stand word for word in a corpus. */
export function copiedFrom(corpus: readonly string[]): (text: string) => boolean {
  const all = corpus.map((text) => ` ${wordsOf(text).join(" ")} `).join("\n");
  return (text) => {
    const words = wordsOf(text);
    return words.length >= COPIED_WORDS && all.includes(` ${words.join(" ")} `);
  };
}

/** A prediction's probability, and whether it came true. */
export interface Confidence {
  readonly sure: number;
  readonly right: boolean;
}

/** Mean distance between how sure predictions are and how often they are right, in bins of the former (Guo et al. 2017). */
export function expectedCalibrationError(predictions: readonly Confidence[], bins = 10): number {
  const groups = Map.groupBy(
    predictions,
    ({ sure }) => Math.min(bins - 1, Math.floor(sure * bins)),
  );
  const distances = [...groups.values()].map((group) => {
    const sure = mean(group.map((one) => one.sure));
    return group.length * Math.abs(sure - mean(group.map(({ right }) => Number(right))));
  });
  return distances.reduce((sum, distance) => sum + distance, 0) / Math.max(1, predictions.length);
}
