// What a model has to beat: look up the most similar question by TF-IDF and give its answer.

import type { Entry } from "../data/mod.ts";
import { answerOf } from "./accuracy.ts";
import { wordsOf } from "./metrics.ts";

interface Known {
  readonly weights: ReadonlyMap<string, number>;
  readonly answer: string;
}

/** Words and pairs of words. */
function terms(text: string): string[] {
  const words = wordsOf(text);
  return [...words, ...words.slice(1).map((word, i) => `${words[i]} ${word}`)];
}

function unit(weights: Map<string, number>): Map<string, number> {
  const length = Math.hypot(...weights.values()) || 1;
  for (const [term, weight] of weights) weights.set(term, weight / length);
  return weights;
}

/** A function from a question to the answer of the nearest known question, by the cosine of TF-IDF vectors. */
export function nearestQuestion(entries: readonly Entry[]): (question: string) => string {
  const pairs = entries.flatMap((entry) => {
    if (entry.kind !== "conversation") return [];
    const question = entry.messages.findLast(({ role }) => role === "user")?.content;
    return question === undefined ? [] : [{ terms: terms(question), answer: answerOf(entry) }];
  });
  const documents = new Map<string, number>();
  for (const { terms } of pairs) {
    for (const term of new Set(terms)) documents.set(term, (documents.get(term) ?? 0) + 1);
  }
  const vector = (terms: readonly string[]) => {
    const weights = new Map<string, number>();
    for (const term of terms) {
      const idf = Math.log((1 + pairs.length) / (1 + (documents.get(term) ?? 0))) + 1;
      weights.set(term, (weights.get(term) ?? 0) + idf);
    }
    return unit(weights);
  };
  const known: Known[] = pairs.map(({ terms, answer }) => ({ weights: vector(terms), answer }));
  return (question) => {
    const asked = vector(terms(question));
    let best = -1, answer = "";
    for (const candidate of known) {
      let cosine = 0;
      for (const [term, weight] of asked) cosine += weight * (candidate.weights.get(term) ?? 0);
      if (cosine > best) [best, answer] = [cosine, candidate.answer];
    }
    return answer;
  };
}
