// Schedules, recipes and the bookkeeping of early stopping.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { learningRateAt, recipes, startOfRun, watch } from "../../src/training/mod.ts";
import { makeExamples, readEntries } from "../../src/data/mod.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";

const BASE = { ...recipes.basic, learningRate: 1, epochs: 10 };

Deno.test("warm-up rises in a straight line to the full rate", () => {
  const s = { ...BASE, warmupSteps: 4 };
  assertEquals([0, 1, 2, 3, 4].map((step) => learningRateAt(s, step, 5)), [0.25, 0.5, 0.75, 1, 1]);
});

Deno.test("step: times 0.8 every five epochs, as `improved` has it", () => {
  const rates = [0, 149, 150, 299, 300].map((step) => learningRateAt(recipes.improved, step, 30));
  const expected = [3e-4, 3e-4, 2.4e-4, 2.4e-4, 1.92e-4];
  rates.forEach((rate, i) => assertAlmostEquals(rate, expected[i]!, 1e-12));
});

Deno.test("cosine: half a cosine to the minimum at its last epoch, and no further", () => {
  const shape = { schedule: "cosine", scheduleBy: "step", scheduleMinimum: 0.1 } as const;
  const s = { ...BASE, ...shape, scheduleEpochs: 2 };
  assertEquals(learningRateAt(s, 0, 51), 1);
  assertAlmostEquals(learningRateAt(s, 50.5, 51), 0.55, 1e-12);
  assertAlmostEquals(learningRateAt(s, 101, 51), 0.1, 1e-12);
  assertAlmostEquals(learningRateAt(s, 500, 51), 0.1, 1e-12);
});

Deno.test("cosine by epoch: PyTorch's CosineAnnealingLR(T_max=50, eta_min=1e-6), as `enhanced` has it", () => {
  const rates = [0, 29, 30, 299, 30 * 50].map((step) => learningRateAt(recipes.enhanced, step, 30));
  // scheduler.get_last_lr() of torch 2.13 behind 0, 0, 1, 9 and 50 epochs.
  const expected = [5e-4, 5e-4, 4.995076687428538e-4, 4.611598174127527e-4, 1e-6];
  rates.forEach((rate, i) => assertAlmostEquals(rate, expected[i]!, 1e-15));
});

Deno.test("linear: a straight line to the minimum at the run's end, behind the warm-up", () => {
  const shape = { schedule: "linear", scheduleBy: "step", warmupSteps: 9 } as const;
  const s = { ...BASE, ...shape, epochs: 3 };
  assertEquals(learningRateAt(s, 9, 10), 1);
  assertAlmostEquals(learningRateAt(s, 19, 10), 0.5, 1e-12);
  assertAlmostEquals(learningRateAt(s, 29, 10), 0, 1e-12);
});

Deno.test("watch: patience counts from the best epoch; NaN is never better", () => {
  const progress = startOfRun();
  const after = (epoch: number, value: number) => {
    progress.epoch = epoch;
    return watch(progress, value, 2);
  };
  assertEquals(after(1, 5), { improved: true, exhausted: false });
  assertEquals(after(2, 5), { improved: false, exhausted: false });
  assertEquals(after(3, 4), { improved: true, exhausted: false });
  assertEquals(after(4, NaN), { improved: false, exhausted: false });
  assertEquals(after(5, 6), { improved: false, exhausted: true });
  assertEquals(progress.best, { value: 4, epoch: 3 });
});

/** Texts that a recipe makes of its whole corpus. */
function textsOf(name: keyof typeof recipes): string[] {
  const recipe = recipes[name];
  const tokenizer = loadTokenizer();
  const { entries } = readEntries(recipe.corpus.map((file) => `data/${file}`));
  const { examples, truncated } = makeExamples(entries, [...entries.keys()], tokenizer, recipe);
  assertEquals(truncated, 0, `${name}: a text is longer than ${recipe.maxTokens} tokens`);
  return examples.map(({ tokens }) => tokenizer.decode(tokens));
}

Deno.test("the corpora have the recipes' counts", () => {
  assertEquals(textsOf("basic").length, 20);
  assertEquals(textsOf("improved").length, 59);
  assertEquals(textsOf("final").length, 21);
  // 26 pairs in five formats and at most twice more respelled, 8 facts, 5 code samples.
  const enhanced = textsOf("enhanced").length;
  assert(enhanced > 26 * 6 + 13 && enhanced <= 26 * 7 + 13, String(enhanced));
});

Deno.test("improved holds the experiment's two answers in three formats", () => {
  const texts = textsOf("improved");
  const hello = "Hello! I'm iLLuMinator, your AI assistant. How can I help you today?";
  for (const start of ["Human: Hello\nAssistant: ", "User: Hello\nAI: ", "Q: Hello\nA: "]) {
    assert(texts.includes(start + hello), start);
  }
  assert(texts.includes(
    "Human: What is Python?\nAssistant: Python is a high-level programming language known for its " +
      "simplicity and readability.",
  ));
});
