// The losses of preferences: slopes by finite differences, and against PyTorch's by the fixtures of
// tests/reference/make_preference_fixtures.py, from the pair's log-probabilities to the gradients of a whole model.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { collate, type Example } from "../../src/data/mod.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT } from "../../src/model/mod.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";
import { answerLoss, groupAdvantages } from "../../src/training/objectives/grpo.ts";
import {
  pairLoss,
  type PairMethod,
  type PairOptions,
  type ScoredAnswer,
  softLoss,
} from "../../src/training/objectives/pairs.ts";
import { PairLearning } from "../../src/training/preference/pairs.ts";
import { weighAnswers } from "../../src/training/preference/rollouts.ts";
import { type Corpus, recipes, startOfRun } from "../../src/training/mod.ts";
import { assertClose, assertCloseInNorm, seededUniform } from "../reference/compare.ts";
import { readFixture, readTensors } from "../reference/fixtures.ts";

interface Sequence {
  readonly tokens: number[];
  readonly prompt: number;
}

interface PairCase {
  readonly method: PairMethod;
  readonly beta: number;
  readonly gamma: number;
  readonly sft_weight: number;
  readonly losses: number[];
  readonly margins: number[];
}

/** The file expected.json. */
interface Expected {
  readonly pairs: [Sequence, Sequence][];
  readonly pair_references: [number, number][];
  readonly cases: Record<string, PairCase>;
  readonly grpo: {
    readonly beta: number;
    readonly group: number;
    readonly answers: Sequence[];
    readonly rewards: number[];
    readonly advantages: number[];
    readonly references: number[][];
    readonly losses: number[];
    readonly divergences: number[];
  };
}

const FIXTURES = new URL("../reference/fixtures/preference/", import.meta.url);
const expected: Expected = JSON.parse(Deno.readTextFileSync(new URL("expected.json", FIXTURES)));
const gradients = readTensors(new URL("gradients.safetensors", FIXTURES));
const fixture = readFixture("gelu_new");

const METHODS: PairMethod[] = ["dpo", "ipo", "simpo"];

function example({ tokens, prompt }: Sequence): Example {
  return {
    tokens: Int32Array.from(tokens),
    weights: new Float32Array(tokens.length).fill(1, prompt),
    user: new Uint8Array(tokens.length),
    entry: 0,
    format: "human-assistant",
    truncated: false,
  };
}

/** The fixture's model, ready for gradients, on so many threads. */
async function withModel(threads: number, work: (model: GPT) => Promise<void>): Promise<void> {
  const runtime = await Runtime.start({ threads });
  try {
    const model = new GPT(runtime, fixture.configuration, { training: true });
    for (const [name, values] of fixture.parameters) {
      model.writeParameter(name, "parameter", values);
    }
    await work(model);
  } finally {
    runtime.close();
  }
}

const still = { labelSmoothing: 0, seed: 1, step: 0, microStep: 0 };

function assertGradients(model: GPT, name: string): void {
  const own = [...gradients].filter(([key]) => key.startsWith(`${name}.transformer`));
  assertEquals(own.length, 4);
  for (const [key, truth] of own) {
    const actual = model.readParameter(key.slice(name.length + 1), "gradient");
    assertCloseInNorm(actual, truth, 1e-4, key);
  }
}

Deno.test("softLoss is -log sigmoid with its slope, far out too", () => {
  for (const x of [-30, -2, -0.1, 0, 0.3, 5, 30]) {
    const { value, slope } = softLoss(x);
    assertClose([value], [Math.log(1 + Math.exp(-x))], 1e-12 * (1 + Math.abs(x)), `at ${x}`);
    assertClose([slope], [-1 / (1 + Math.exp(x))], 1e-12, `slope at ${x}`);
  }
  assertEquals(softLoss(-1e4).value, 1e4);
  assertEquals([softLoss(1e4).value, softLoss(1e4).slope], [0, -0]);
});

Deno.test("dpo, ipo, simpo: slopes within 1e-7 of central differences, whose error is 1e-8", () => {
  const random = seededUniform(5);
  for (const method of METHODS) {
    for (let trial = 0; trial < 20; trial++) {
      const answer = (): ScoredAnswer => ({
        logProbability: -40 * random(),
        reference: -40 * random(),
        tokens: 1 + Math.floor(20 * random()),
      });
      const chosen = answer(), rejected = answer();
      const options: PairOptions = { beta: 0.05 + random(), gamma: random(), sftWeight: random() };
      const { dchosen, drejected } = pairLoss(method, chosen, rejected, options);
      const h = 1e-4;
      const at = (moveChosen: number, moveRejected: number) =>
        pairLoss(
          method,
          { ...chosen, logProbability: chosen.logProbability + moveChosen },
          { ...rejected, logProbability: rejected.logProbability + moveRejected },
          options,
        ).loss;
      const slopes = [(at(h, 0) - at(-h, 0)) / (2 * h), (at(0, h) - at(0, -h)) / (2 * h)];
      assertClose([dchosen, drejected], slopes, 1e-7, `${method}, trial ${trial}`);
    }
  }
});

Deno.test("a pair that the model holds as it always did costs ln 2 in dpo and 1 / (4 beta^2) in ipo", () => {
  const same = { logProbability: -7, reference: -7, tokens: 4 };
  const options = { beta: 0.25, gamma: 1, sftWeight: 0 };
  assertClose([pairLoss("dpo", same, same, options).loss], [Math.LN2], 1e-15, "dpo");
  assertClose([pairLoss("ipo", same, same, options).loss], [4], 1e-12, "ipo");
  assertEquals(pairLoss("dpo", same, same, options).margin, 0);
});

Deno.test("grpo: advantages have mean 0 and deviation 1 in each group, and are 0 where all are alike", () => {
  const advantages = groupAdvantages([1, 2, 6, 5, 5, 5], 3);
  assertClose([advantages[0]! + advantages[1]! + advantages[2]!], [0], 1e-12, "sum");
  const deviation = Math.sqrt(advantages.slice(0, 3).reduce((sum, a) => sum + a * a, 0) / 2);
  assertClose([deviation], [1], 1e-4, "deviation");
  assertEquals(advantages.slice(3), [0, 0, 0]);
  assertThrows(() => groupAdvantages([1, 2, 3], 2), RangeError, "groups of 2");
  assertThrows(() => groupAdvantages([1, 2], 1), RangeError, "groups of 1");
});

Deno.test("grpo: slopes within 1e-7 of central differences of beta k3 - ratio advantage", () => {
  const random = seededUniform(6);
  const T = 5, beta = 0.3, advantage = -1.7;
  const old = Array.from({ length: T }, () => -4 * random());
  const reference = Array.from({ length: T }, () => -4 * random());
  const lossOf = (log: readonly number[]) =>
    log.reduce((sum, l, t) => {
      const q = reference[t]! - l;
      return sum + (beta * (Math.exp(q) - q - 1) - Math.exp(l - old[t]!) * advantage) / T;
    }, 0);
  const { loss, slopes, divergence } = answerLoss(old, reference, advantage, beta);
  assertClose([loss], [lossOf(old)], 1e-12, "loss");
  assert(divergence > 0);
  const h = 1e-5;
  const numeric = old.map((_, t) => {
    const moved = (by: number) => lossOf(old.map((l, i) => i === t ? l + by : l));
    return (moved(h) - moved(-h)) / (2 * h);
  });
  assertClose(slopes, numeric, 1e-7, "slopes");
  const free = answerLoss(old, null, advantage, beta);
  assertEquals([free.loss, free.divergence], [-advantage, 0]);
});

for (const threads of [1, 2]) {
  for (const [name, theirs] of Object.entries(expected.cases)) {
    Deno.test(`${name}, ${threads} threads: losses within 1e-4 of PyTorch, gradients within 1e-4 of their norm`, () =>
      withModel(threads, async (model) => {
        const training = expected.pairs.map(([chosen, rejected]): Example => ({
          ...example(chosen),
          rejected: example(rejected),
        }));
        const recipe = {
          ...recipes.dpo,
          preference: theirs.method,
          beta: theirs.beta,
          gamma: theirs.gamma,
          sftWeight: theirs.sft_weight,
        };
        const learning = new PairLearning({
          model,
          tokenizer: loadTokenizer(),
          corpus: { training, validation: [] } as unknown as Corpus,
          recipe,
          progress: { ...startOfRun(), references: expected.pair_references },
        });
        const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
        const [lesson] = await learning.prepare([training]);
        const { batch, terms: normalizer, objective } = lesson!;
        assertEquals(normalizer, training.length);
        const sums = model.accumulate(batch, { ...still, normalizer, objective });
        assertClose([sums.loss / sums.weight], [mean(theirs.losses)], 1e-4, "loss");
        const { pairs } = learning.figures();
        assertClose([pairs!.margin], [mean(theirs.margins)], 1e-4, "margin");
        const right = theirs.margins.filter((margin) => margin > 0).length / training.length;
        assertEquals(pairs!.accuracy, right);
        assertClose([learning.evaluate(training)!.loss], [mean(theirs.losses)], 1e-4, "evaluate");
        assertGradients(model, name);
      }));
  }

  Deno.test(`grpo, ${threads} threads: losses within 1e-4 of PyTorch, gradients within 1e-4 of their norm`, () =>
    withModel(threads, (model) => {
      const { answers, rewards, references, group, beta } = expected.grpo;
      const batch = collate(answers.map(example));
      const advantages = groupAdvantages(rewards, group);
      assertClose(advantages, expected.grpo.advantages, 1e-9, "advantages");
      const reference = new Float32Array(batch.targets.length);
      references.forEach((own, b) => reference.set(own, batch.offsets[b + 1]! - own.length));
      const losses: number[] = [], divergences: number[] = [];
      model.accumulate(batch, {
        ...still,
        normalizer: answers.length,
        objective: (logProbabilities) => {
          const found = weighAnswers(batch, logProbabilities, reference, { advantages, beta });
          losses.push(...found.learned.map(({ loss }) => loss));
          divergences.push(...found.learned.map(({ divergence }) => divergence));
          return found.weighed;
        },
      });
      assertClose(losses, expected.grpo.losses, 1e-4, "losses");
      assertClose(divergences, expected.grpo.divergences, 1e-4, "divergences");
      assertGradients(model, "grpo");
      return Promise.resolve();
    }));
}
