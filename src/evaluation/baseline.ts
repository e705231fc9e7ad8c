// What a model has to beat: look up the most similar question by TF-IDF and give its answer.

import type { Entry } from "../data/mod.ts";
import { answerOf } from "./accuracy.ts";
import { wordsOf } from "./metrics.ts";

/** The questions that have a term, by their numbers, and its weight in each. */
interface Postings {
  readonly questions: number[];
  readonly weights: number[];
}

const NOWHERE: Postings = { questions: [], weights: [] };

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
  const index = new Map<string, Postings>();
  pairs.forEach(({ terms }, question) => {
    for (const [term, weight] of vector(terms)) {
      let postings = index.get(term);
      if (postings === undefined) index.set(term, postings = { questions: [], weights: [] });
      postings.questions.push(question);
      postings.weights.push(weight);
    }
  });
  const cosines = new Float64Array(pairs.length);
  return (question) => {
    cosines.fill(0);
    for (const [term, weight] of vector(terms(question))) {
      const { questions, weights } = index.get(term) ?? NOWHERE;
      questions.forEach((known, i) => cosines[known]! += weight * weights[i]!);
    }
    let best = 0;
    cosines.forEach((cosine, i) => {
      if (cosine > cosines[best]!) best = i;
    });
    return pairs[best]?.answer ?? "";
  };
}
