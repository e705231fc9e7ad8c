// The flags of a recipe: one for every number, and what they refuse.

import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { parseOptions } from "../../src/commands/options.ts";
import { givenOptions, RECIPE_OPTIONS } from "../../src/commands/recipe_options.ts";
import { overrideRecipe } from "../../src/commands/recipe_override.ts";
import { type Recipe, recipes } from "../../src/training/mod.ts";

const command = { name: "train", summary: "", options: RECIPE_OPTIONS };

function override(recipe: Recipe, ...args: string[]): Recipe {
  return overrideRecipe(recipe, parseOptions(command, args));
}

Deno.test("every field of a recipe has a flag of its name, and every flag a field", () => {
  const others: Record<string, string> = { data: "corpus", teacher: "teachers" };
  const fields = Object.keys(RECIPE_OPTIONS).map((name) =>
    others[name] ?? name.replaceAll(/-(.)/g, (_, c) => c.toUpperCase())
  );
  for (const recipe of Object.values(recipes)) {
    assertEquals(Object.keys(recipe).sort(), fields.sort());
  }
});

Deno.test("a flag changes its own field and no other", () => {
  assertEquals(override(recipes.basic), recipes.basic);
  const changes: [string[], Partial<Recipe>][] = [
    [["--model", "nano"], { model: "nano" }],
    [["--data", "a.jsonl", "--data", "b.txt"], { corpus: ["a.jsonl", "b.txt"] }],
    [["--formats", "q-a,user-ai:10"], {
      formats: [{ name: "q-a" }, { name: "user-ai", first: 10 }],
    }],
    [["--end-of-text", "on"], { endOfText: true }],
    [["--augment", "on"], { augment: true }],
    [["--prompt-loss-weight", "0"], { promptLossWeight: 0 }],
    [["--validation", "0.2"], { validation: 0.2 }],
    [["--learning-rate", "1e-3"], { learningRate: 1e-3 }],
    [["--normalization", "rmsnorm"], { normalization: "rmsnorm" }],
    [["--optimizer", "muon", "--matrix-rate", "2", "--momentum", "0.9"], {
      optimizer: "muon",
      matrixRate: 2,
      momentum: 0.9,
    }],
    [["--embedding-decay", "0"], { embeddingDecay: 0 }],
    [["--value-identity", "0.5"], { valueIdentity: 0.5 }],
    [["--out-of-scope", "0.25"], { outOfScope: 0.25 }],
    [["--intent-weight", "8"], { intentWeight: 8 }],
    [
      ["--intent-tokens", "on", "--share", "0.5", "--embedding-rate", "3", "--answer-share", "0.2"],
      {
        intentTokens: true,
        share: 0.5,
        embeddingRate: 3,
        answerShare: 0.2,
      },
    ],
    [["--schedule", "linear", "--schedule-by", "step"], { schedule: "linear", scheduleBy: "step" }],
    [["--warmup-steps", "7"], { warmupSteps: 7 }],
    [["--stop-on", "training", "--patience", "2"], { stopOn: "training", patience: 2 }],
    [["--accumulate", "4", "--batch-size", "1"], { accumulate: 4, batchSize: 1 }],
    [["--samples", "Why?"], { samples: ["Why?"] }],
    [["--teacher", "a", "--teacher", "b", "--distill-weight", "1", "--distill-top-k", "9"], {
      teachers: ["a", "b"],
      distillWeight: 1,
      distillTopK: 9,
    }],
  ];
  for (const [args, change] of changes) {
    assertEquals(override(recipes.basic, ...args), { ...recipes.basic, ...change });
    assertEquals(givenOptions(parseOptions(command, args)).length, Object.keys(change).length);
  }
});

Deno.test("flags that contradict each other are refused", () => {
  const refused: [Recipe, string[], string][] = [
    [recipes.basic, ["--stop-on", "validation", "--patience", "2"], "needs --validation above 0"],
    [recipes.basic, ["--stop-on", "training"], "needs --patience of at least 1"],
    [recipes.basic, ["--patience", "2"], "--patience needs --stop-on"],
    [recipes.enhanced, ["--validation", "0"], "needs --validation above 0"],
    [recipes.basic, ["--distill-weight", "1"], "--distill-weight needs --teacher DIR"],
    [recipes.basic, ["--moments", "int8", "--optimizer", "lion"], "int8 is for --optimizer adamw"],
    [recipes.basic, ["--formats", "q-b"], "did you mean q-a?"],
    [recipes.basic, ["--formats", "q-a:0"], "how many conversations"],
  ];
  for (const [recipe, args, message] of refused) {
    assertThrows(() => override(recipe, ...args), UserError, message);
  }
});
