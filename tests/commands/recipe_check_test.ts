// What a damaged state.json claims is refused before anything is trained with it.

import { assertEquals, assertThrows } from "@std/assert";
import { checkRecipe } from "../../src/commands/recipe_check.ts";
import { planRun } from "../../src/commands/train.ts";
import { UserError } from "../../src/errors.ts";
import { checkState, type Recipe, recipes, startOfRun } from "../../src/training/mod.ts";

Deno.test("checkRecipe: every recipe of ours is one, and any that flags make", () => {
  for (const recipe of Object.values(recipes)) checkRecipe(recipe, "state.json");
  for (
    const flags of [
      ["--vocabulary", "corpus-bpe", "--formats", "q-a:10", "--augment", "on", "--clip", "0.5"],
      ["--recipe", "dpo", "--beta", "0.2", "--init", "weights/illuminator"],
      ["--recipe", "grpo", "--rewards", "stops=1", "--init", "weights/illuminator"],
      ["--folds", "5", "--fold", "2", "--samples", "Hi", "--moments", "f32", "--recompute", "on"],
    ]
  ) checkRecipe(planRun([...flags, "--out", "no-run", "--data", "a.jsonl"]).state.recipe, "");
});

Deno.test("checkRecipe: a field of another kind or beyond its option's bounds is named", () => {
  const damages: Record<string, unknown[]> = {
    batchSize: ["x", 1e9, 0, 1.5, null, undefined, NaN],
    learningRate: [-1, "1e-3"],
    optimizer: ["x", 3],
    schedule: ["x"],
    augment: ["on", 1],
    formats: [[], [{ name: "x" }], [null], "q-a"],
    samples: ["Hello"],
    rewards: [5],
  };
  for (const [field, values] of Object.entries(damages)) {
    for (const value of values) {
      const recipe = { ...recipes.basic, [field]: value } as Recipe;
      const complaint = `state.json: is damaged: recipe.${field} is ${JSON.stringify(value)}`;
      assertThrows(() => checkRecipe(recipe, "state.json"), UserError, complaint);
    }
  }
});

Deno.test("checkState: counts are whole and not below zero", () => {
  const state = { version: 1, recipe: recipes.basic, data: [], fingerprint: "0" };
  checkState({ ...state, progress: startOfRun() }, "run");
  for (const damage of [{ step: -5 }, { epoch: 0.5 }, { epochStep: 1e300 }, { step: "1" }]) {
    const progress = { ...startOfRun(), ...damage };
    assertThrows(() => checkState({ ...state, progress }, "run"), UserError, "is damaged");
  }
  for (const damage of [{ saveEvery: "x" }, { keep: -1 }, { bestType: "f64" }]) {
    const damaged = { ...state, ...damage, progress: startOfRun() };
    assertThrows(() => checkState(damaged, "run"), UserError, "is damaged");
  }
});

Deno.test("train --init: what the checkpoint brings itself is not asked for", () => {
  const init = ["--init", "weights/illuminator", "--out", "no-run"];
  for (const flag of [["--vocabulary", "gpt2"], ["--intent-tokens", "on"]]) {
    assertThrows(() => planRun([...init, ...flag]), UserError, "brings its own vocabulary");
  }
  const weights = "--init brings its own weights; leave --value-identity out";
  assertThrows(() => planRun([...init, "--value-identity", "0.7"]), UserError, weights);
  const message = "at most the model's 2 blocks, got 3";
  assertThrows(() => planRun([...init, "--freeze-layers", "3"]), UserError, message);
});

Deno.test("train --init: goes on in the checkpoint's format, unless told otherwise or the recipe mixes some", () => {
  const init = Deno.makeTempDirSync();
  try {
    const source = "weights/illuminator/best";
    Deno.symlinkSync(Deno.realPathSync(`${source}/model.safetensors`), `${init}/model.safetensors`);
    const config = JSON.parse(Deno.readTextFileSync(`${source}/config.json`));
    config.illuminator.format = "small-letters";
    Deno.writeTextFileSync(`${init}/config.json`, JSON.stringify(config));
    const formatsOf = (...args: string[]) =>
      planRun(["--init", init, "--out", "no-run", "--data", "x.jsonl", ...args])
        .state.recipe.formats.map(({ name }) => name);
    assertEquals(formatsOf(), ["small-letters"]);
    assertEquals(formatsOf("--formats", "user-ai"), ["user-ai"]);
    const mixed = recipes.improved.formats.map(({ name }) => name);
    assertEquals(formatsOf("--recipe", "improved"), mixed);
  } finally {
    Deno.removeSync(init, { recursive: true });
  }
});
