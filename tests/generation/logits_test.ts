// Each change of the logits and each choice of candidates, by hand or against its formula.

import { assert, assertEquals } from "@std/assert";
import {
  atLeast,
  type Candidate,
  countPenalty,
  dry,
  forbid,
  GREEDY,
  logitBias,
  type LogitOptions,
  logitProcessor,
  minTokens,
  noRepeatNgram,
  nucleus,
  repetitionPenalty,
  sampler,
  typical,
} from "../../src/generation/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import { assertWithin } from "../kernels/helpers.ts";
import { randomIntegers, randomValues } from "../reference/kernels.ts";

const SPECIAL = { endOfText: 5, pad: 6, startOfText: 7, unknown: 8 };

/** What a processor makes of logits behind a prompt and an answer. */
function processed(
  process: ReturnType<typeof repetitionPenalty>,
  logits: readonly number[],
  prompt: readonly number[],
  answer: readonly number[] = [],
): number[] {
  const values = Float32Array.from(logits);
  process(values, { tokens: [...prompt, ...answer], promptLength: prompt.length });
  return [...values];
}

/** The tokens that a processor makes impossible. */
function forbidden(process: ReturnType<typeof noRepeatNgram>, tokens: readonly number[]): number[] {
  const values = processed(process, new Array(10).fill(1), tokens);
  return [...values.keys()].filter((token) => values[token] === -Infinity);
}

Deno.test("repetitionPenalty: divides positive logits and multiplies negative ones, each token once", () => {
  assertEquals(processed(repetitionPenalty(2), [4, -4, 3, 0], [0, 0, 1], [3]), [2, -8, 3, 0]);
  assertEquals(processed(repetitionPenalty(0.5), [4, -4, 3], [0, 1]), [8, -2, 3]);
});

Deno.test("countPenalty: frequency for each time, presence once, over the answer alone", () => {
  const answer = [1, 1, 1, 2];
  assertEquals(processed(countPenalty(0.5, 0), [9, 9, 9], [0, 1], answer), [9, 7.5, 8.5]);
  assertEquals(processed(countPenalty(0, 2), [9, 9, 9], [0, 1], answer), [9, 7, 7]);
  assertEquals(processed(countPenalty(0.5, 2), [9, 9, 9], [0, 1], answer), [9, 5.5, 6.5]);
});

Deno.test("noRepeatNgram: forbids what completed the same n - 1 tokens before", () => {
  assertEquals(forbidden(noRepeatNgram(3), [1, 2, 3, 1, 2, 4, 1, 2]), [3, 4]);
  assertEquals(forbidden(noRepeatNgram(3), [1, 2, 3, 2]), []);
  assertEquals(forbidden(noRepeatNgram(2), [1, 1]), [1]);
  assertEquals(forbidden(noRepeatNgram(1), [1, 4]), [1, 4]);
  assertEquals(forbidden(noRepeatNgram(3), [1]), []);
  assertEquals(forbidden(noRepeatNgram(3), []), []);
});

Deno.test("noRepeatNgram: random tokens against the list of all n-grams", () => {
  const random = randomNumbers(3);
  for (let round = 0; round < 200; round++) {
    const n = 1 + Math.floor(random() * 4);
    const tokens = [...randomIntegers(Math.floor(random() * 30), 3, round)];
    const said = new Set<string>();
    for (let at = 0; at + n <= tokens.length; at++) said.add(String(tokens.slice(at, at + n)));
    const tail = tokens.slice(tokens.length - (n - 1));
    const expected = tail.length < n - 1
      ? []
      : [0, 1, 2].filter((next) => said.has(String([...tail, next])));
    assertEquals(forbidden(noRepeatNgram(n), tokens), expected, `${n}: ${tokens}`);
  }
});

Deno.test("dry: multiplier * base ^ (length - allowedLength) for what lengthens a repetition", () => {
  const process = dry({ multiplier: 2, base: 3, allowedLength: 2 }, new Set());
  const zeros = [0, 0, 0, 0, 0, 0];
  // 1 2 was said before 3; 0 1 2 before 4.
  assertEquals(processed(process, zeros, [1, 2, 3, 0, 1, 2, 4], [0, 1, 2]), [0, 0, 0, -2, -6, 0]);
  // A repetition of one token goes unpunished.
  assertEquals(processed(process, zeros, [2, 3, 1, 2]), zeros);
  // The prompt counts too, and of several repetitions the longest.
  assertEquals(processed(process, zeros, [0, 1, 2, 3, 5, 1, 2, 3, 0, 1, 2]), [0, 0, 0, -6, 0, 0]);
  assertEquals(processed(process, zeros, []), zeros);
});

Deno.test("dry: a repetition does not reach across breakers", () => {
  const o = { multiplier: 2, base: 3, allowedLength: 2 };
  const tokens = [0, 1, 2, 3, 0, 1, 2], zeros = [0, 0, 0, 0];
  assertEquals(processed(dry(o, new Set()), zeros, tokens), [0, 0, 0, -6]);
  assertEquals(processed(dry(o, new Set([0])), zeros, tokens), [0, 0, 0, -2]);
  assertEquals(processed(dry(o, new Set([1])), zeros, tokens), zeros);
  assertEquals(processed(dry(o, new Set([2])), zeros, tokens), zeros);
});

Deno.test("dry: a long repetition is forbidden rather than broken arithmetic", () => {
  const process = dry({ multiplier: 100, base: 10, allowedLength: 1 }, new Set());
  const [again, other] = processed(process, [0, 0], new Array(400).fill(0));
  assert(again! < -1e30 && other === 0, `${again} ${other}`);
});

Deno.test("logitBias, minTokens, forbid: add, hold the end back, and know the vocabulary's end", () => {
  const bias = logitBias(new Map([[1, 2.5], [0, -100], [99, 1]]));
  assertEquals(processed(bias, [1, 1, 1], []), [-99, 3.5, 1]);
  const least = minTokens(2, 1);
  assertEquals(processed(least, [1, 1], [0, 0, 0], [0]), [1, -Infinity]);
  assertEquals(processed(least, [1, 1], [0, 0, 0], [0, 0]), [1, 1]);
  const logits = Float32Array.of(1, 2);
  forbid([1, 7], logits);
  assertEquals([...logits], [1, -Infinity]);
});

Deno.test("logitProcessor: only what was asked for, and never a token that no text holds", () => {
  const logits = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  const process = (o: Partial<LogitOptions>) =>
    processed(
      logitProcessor({ ...GREEDY, ...o }, { special: SPECIAL, breakers: new Set() }),
      logits,
      [1],
      [2],
    );
  const plain = [1, 2, 3, 4, 5, 6, -Infinity, -Infinity, -Infinity, 10];
  assertEquals(process({}), plain);
  // A bias does not bring them back.
  assertEquals(process({ logitBias: new Map([[6, 1000]]) }), plain);
  assertEquals(process({ minTokens: 2 }), plain.with(5, -Infinity));
  assertEquals(process({ minTokens: 1 }), plain);
  // The bias comes before the penalty: (3 + 1) / 2.
  assertEquals(
    process({ logitBias: new Map([[2, 1]]), repetitionPenalty: 2 }),
    plain.with(1, 1).with(2, 2),
  );
  assertEquals(process({ noRepeatNgram: 1 }), plain.with(1, -Infinity).with(2, -Infinity));
  assertEquals(process({ presencePenalty: 1, frequencyPenalty: 1 }), plain.with(2, 1));
});

function withProbabilities(...probabilities: number[]): Candidate[] {
  return probabilities.map((probability, token) => ({ token, probability }));
}

const tokensOf = (all: readonly Candidate[]) => all.map(({ token }) => token);

Deno.test("atLeast: those at least a share as likely as the likeliest", () => {
  const all = withProbabilities(0.5, 0.25, 0.15, 0.1);
  assertEquals(tokensOf(atLeast(all, 0.5)), [0, 1]);
  assertEquals(tokensOf(atLeast(all, 0.51)), [0]);
  assertEquals(tokensOf(atLeast(all, 1)), [0]);
  assertEquals(tokensOf(atLeast(all, 0)), [0, 1, 2, 3]);
});

Deno.test("typical: nearest to the mean surprise, until they have the probability", () => {
  // Mean surprise 1.26 nats; surprises 0.69, 1.20, 1.90, 3.00: 1 is nearest, then 0, then 2.
  const all = withProbabilities(0.5, 0.3, 0.15, 0.05);
  assertEquals(tokensOf(typical(all, 0.3)), [1]);
  assertEquals(tokensOf(typical(all, 0.31)), [0, 1]);
  assertEquals(tokensOf(typical(all, 0.81)), [0, 1, 2]);
  assertEquals(tokensOf(typical(all, 1)), [0, 1, 2, 3]);
});

Deno.test("typical: random candidates against the formula, whatever their sum", () => {
  const random = randomNumbers(9);
  for (let round = 0; round < 100; round++) {
    const weights = Array.from({ length: 8 }, () => random() ** 3 + 1e-3).sort((a, b) => b - a);
    const total = weights.reduce((a, b) => a + b), p = 0.05 + 0.9 * random();
    const q = weights.map((weight) => weight / total);
    const entropy = -q.reduce((sum, x) => sum + x * Math.log(x), 0);
    const order = [...q.keys()].sort((a, b) =>
      Math.abs(-Math.log(q[a]!) - entropy) - Math.abs(-Math.log(q[b]!) - entropy)
    );
    let sum = 0;
    const kept = order.filter((i) => {
      const before = sum;
      sum += q[i]!;
      return before < p;
    });
    assertEquals(tokensOf(typical(withProbabilities(...weights), p)), kept.sort((a, b) => a - b));
  }
});

Deno.test("nucleus: shares of what is left, where candidates were taken away before", () => {
  assertEquals(tokensOf(nucleus(withProbabilities(0.2, 0.1, 0.1), 0.5)), [0]);
  assertEquals(tokensOf(nucleus(withProbabilities(0.2, 0.1, 0.1), 0.51)), [0, 1]);
});

/** How often a sampler draws each of the logits' tokens, in 20,000 draws. */
function shares(logits: Float32Array, o: Partial<typeof GREEDY>): number[] {
  const draws = 20_000, counts = new Array(logits.length).fill(0);
  const next = sampler({ ...GREEDY, temperature: 1, seed: 4, ...o });
  for (let i = 0; i < draws; i++) counts[next(logits)]!++;
  return counts.map((count) => count / draws);
}

Deno.test("sampler: top-k, top-p, min-p and typical leave what they say, drawn by their shares", () => {
  const logits = Float32Array.from([0.05, 0.5, 0.15, 0.3], Math.log);
  // Four standard deviations of a share of one half: 4 * sqrt(0.25 / 20000).
  const bound = 0.0142;
  const cases: [Partial<typeof GREEDY>, number[]][] = [
    [{}, [0.05, 0.5, 0.15, 0.3]],
    [{ topK: 2 }, [0, 5 / 8, 0, 3 / 8]],
    [{ topP: 0.7 }, [0, 5 / 8, 0, 3 / 8]],
    [{ minP: 0.25 }, [0, 10 / 19, 3 / 19, 6 / 19]],
    [{ typicalP: 0.2 }, [0, 0, 0, 1]],
    // One after the other: what is left of 0.5, 0.3 and 0.15.
    [{ topK: 3, typicalP: 0.9 }, [0, 10 / 19, 3 / 19, 6 / 19]],
    [{ topK: 3, minP: 0.4 }, [0, 5 / 8, 0, 3 / 8]],
    [{ temperature: 0.5 }, [0.0025, 0.25, 0.0225, 0.09].map((share) => share / 0.365)],
  ];
  for (const [o, expected] of cases) {
    assertWithin(shares(logits, o), expected, bound, JSON.stringify(o));
  }
});

Deno.test("sampler: temperature 0 takes the likeliest, whatever else is asked for", () => {
  const logits = randomValues(50, 1);
  const best = logits.indexOf(Math.max(...logits));
  const next = sampler({ ...GREEDY, temperature: 0, topP: 0.1, minP: 0.5, typicalP: 0.1 });
  assertEquals(next(logits), best);
});
