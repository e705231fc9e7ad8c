// Verdicts on planted curves.

import { assert, assertEquals } from "@std/assert";
import { recipes, type RunFacts, verdictOf } from "../../src/training/mod.ts";

const facts: RunFacts = { recipe: recipes.enhanced, trainingTexts: 500 };

/** Epochs of 100 steps with these losses on training and validation texts. */
function curve(...losses: [number, number | null][]) {
  return losses.map(([learned_loss, validation_loss], i) => ({
    epoch: i + 1,
    step: 100 * (i + 1),
    learned_loss,
    validation_loss,
  }));
}

Deno.test("memorising: since the epoch of the lowest validation loss, by how much, and two flags", () => {
  const epochs = curve([3, 3.2], [2, 2.5], [1.5, 2.29], [1.3, 2.2], [1.1, 2.3], [0.9, 2.41]);
  const { kind, words, advice } = verdictOf(epochs, facts);
  assertEquals(kind, "memorising");
  assertEquals(
    words,
    "memorising since epoch 4: validation rose 0.21 while training fell 0.40",
  );
  assertEquals(advice, ["--model mini", "--vocabulary corpus"]);
  const never = { ...facts, recipe: { ...recipes.enhanced, stopOn: "never" as const } };
  assertEquals(verdictOf(epochs, never).advice[0], "--stop-on validation --patience 3");
});

Deno.test("learning: validation falls with training; a wide gap is named", () => {
  assertEquals(verdictOf(curve([3, 3.1], [2, 2.2], [1.9, 2.18]), facts), {
    kind: "learning",
    words: "learning: validation fell to 2.18, training to 1.90",
    advice: [],
  });
  const wide = verdictOf(curve([3, 3.1], [0.2, 1.2], [0.1, 1.18]), facts);
  assert(wide.words.endsWith("the gap says that much of it was learned by heart"), wide.words);
  assertEquals(wide.advice.length, 2);
});

Deno.test("unfinished: validation still falls", () => {
  const { kind, words, advice } = verdictOf(curve([3, 3.1], [2.5, 2.7]), facts);
  assertEquals([kind, words], [
    "unfinished",
    "learning, and not done: validation still fell 0.40 in the last epoch",
  ]);
  assertEquals(advice[0], "--epochs 20");
  const single = verdictOf(curve([3, 3.1]), facts);
  assertEquals([single.kind, single.words], [
    "unfinished",
    "learning: validation is at 3.10 after the first epoch, and not done",
  ]);
});

Deno.test("too fast: few texts, few steps, a steep fall", () => {
  const few = { ...facts, trainingTexts: 20 };
  const epochs = [[10.8, 10], [6, 50], [1.8, 100], [1.7, 110]].map(([learned_loss, step], i) => ({
    epoch: i + 1,
    step: step!,
    learned_loss: learned_loss!,
    validation_loss: null,
  }));
  assertEquals(
    verdictOf(epochs, few).words,
    "the loss falls too fast: 10.80 to 1.80 in 100 steps on 20 texts, which are being learned by heart",
  );
  const advised = (model: "124m" | "nano" | null) =>
    verdictOf(epochs, { ...few, recipe: { ...facts.recipe, model } }).advice;
  assertEquals(advised("124m"), ["--data with more texts", "--model mini"]);
  // The smallest there is, and one that began with weights of its own.
  for (const model of ["nano", null] as const) {
    assertEquals(advised(model), ["--data with more texts"]);
  }
  assertEquals(verdictOf(epochs, facts).kind, "unknown");
  const refuted = epochs.map((epoch) => ({ ...epoch, validation_loss: 2 }));
  assertEquals(verdictOf(refuted, few).kind, "learning");
});

Deno.test("unknown: nothing was set aside, or nothing finished", () => {
  assertEquals(verdictOf(curve([3, null], [2, null]), facts).advice, ["--validation 0.1"]);
  assertEquals(verdictOf([], facts).kind, "unknown");
});
