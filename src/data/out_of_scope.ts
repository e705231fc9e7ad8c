// Questions made up from known ones that nobody can answer: the words that tell what a question wants to know give
// way to others. A model that only ever met whole questions takes half of one for the whole; from these it learns
// that the way a question is put is not yet a question it knows (after Zheng et al. 2020, and Moon et al. 2021).

import { type Example, upToDecision } from "./examples.ts";
import { UNKNOWN } from "./entry.ts";

/** A token tells an intent when so much of its use is in questions of that intent, and it is used so often. */
const TELLING_SHARE = 0.2, TELLING_USES = 5;

/** What makes questions out of scope: which tokens tell which intents, learned from questions. */
export class OutOfScope {
  /** The intents, by their token, that a token tells. */
  readonly #told = new Map<number, Set<number>>();
  readonly #tokens: readonly number[];
  /** Running sums of the tokens' weights as replacements: the roots of their uses. */
  readonly #sums: Float64Array;

  /**
   * @param intents the tokens that name intents
   * @throws RangeError when the intent "unknown" is not among them, or no example has an intent
   */
  constructor(
    examples: readonly Example[],
    readonly intents: ReadonlyMap<string, number>,
  ) {
    if (!intents.has(UNKNOWN)) {
      throw new RangeError(`questions out of scope need an intent called "${UNKNOWN}"`);
    }
    const uses = new Map<number, Map<number, number>>();
    for (const example of examples) {
      if (example.decision === undefined) continue;
      const intent = example.tokens[example.decision]!;
      for (const token of new Set(example.tokens.filter((_, i) => example.user[i] === 1))) {
        if (!uses.has(token)) uses.set(token, new Map());
        const own = uses.get(token)!;
        own.set(intent, (own.get(intent) ?? 0) + 1);
      }
    }
    if (uses.size === 0) throw new RangeError("questions out of scope need data with intents");
    this.#tokens = [...uses.keys()];
    this.#sums = new Float64Array(uses.size);
    let sum = 0;
    [...uses].forEach(([token, own], i) => {
      const all = [...own.values()].reduce((a, b) => a + b);
      this.#sums[i] = sum += Math.sqrt(all);
      if (all < TELLING_USES) return;
      const told = [...own].filter(([, count]) => count > TELLING_SHARE * all);
      this.#told.set(token, new Set(told.map(([intent]) => intent)));
    });
  }

  /** The examples, each with probability p as a question that nobody can answer, where it can become one. */
  among(examples: readonly Example[], p: number, random: () => number): Example[] {
    return examples.map((example) => random() < p ? this.of(example, random) : example);
  }

  /**
   * The example with its telling tokens replaced and its intent "unknown", cut behind it; as it is when it has no
   * such tokens, or no intent that is known.
   */
  of(example: Example, random: () => number): Example {
    const { decision } = example, unknown = this.intents.get(UNKNOWN)!;
    if (decision === undefined) return example;
    const question = upToDecision(example, decision), intent = example.tokens[decision]!;
    const tells = (token: number, i: number) =>
      example.user[i] === 1 && this.#told.get(token)?.has(intent);
    if (intent === unknown || !question.tokens.some(tells)) return example;
    const tokens = question.tokens.map((token, i) => tells(token, i) ? this.#draw(random) : token);
    tokens[decision] = unknown;
    return { ...question, tokens };
  }

  /** A token, as likely as the root of how often questions use it. */
  #draw(random: () => number): number {
    const at = random() * this.#sums.at(-1)!;
    let low = 0, high = this.#sums.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#sums[middle]! > at) high = middle;
      else low = middle + 1;
    }
    return this.#tokens[low]!;
  }
}
