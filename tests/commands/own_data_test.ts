// deno task train with somebody's own data: which recipe it takes, and what the model says afterwards.

import { assertEquals, assertThrows } from "@std/assert";
import { planRun } from "../../src/commands/train.ts";
import { UserError } from "../../src/errors.ts";
import { run } from "./parrot.ts";

const SHIPPED = new URL("../../weights/illuminator", import.meta.url).pathname;

Deno.test("train: without --recipe, own data and --init decide which it is", () => {
  const recipeOf = (...args: string[]) => planRun([...args, "--out", "no-run"]).state.recipeName;
  assertEquals(recipeOf(), "quick");
  assertEquals(recipeOf("--data", "x.jsonl"), "conversations");
  assertEquals(recipeOf("--data", "x.jsonl", "--init", SHIPPED), "finetune");
  assertEquals(recipeOf("--data", "x.jsonl", "--recipe", "basic"), "basic");
  assertThrows(() => recipeOf("--init", SHIPPED), UserError, "--init needs --data FILE");
  const nothing = () => recipeOf("--data", "x.jsonl", "--recipe", "finetune");
  assertThrows(nothing, UserError, "--recipe finetune needs --init DIR");
});

Deno.test("train --init: the shipped model learns answers that name no intent, and keeps its own", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const lines = ["When do you open?", "opening hours", "How late are you open?"]
      .map((prompt) => ({ prompt, completion: "We open at nine." }));
    const data = `${directory}/own.jsonl`;
    Deno.writeTextFileSync(data, lines.map((line) => JSON.stringify(line)).join("\n"));
    const short = ["--epochs", "120", "--validation", "0", "--sample-every", "0"];
    const trained = await run(directory, [
      ...["train", "--init", SHIPPED, "--data", data],
      ...short,
      ...["--out", "own"],
    ]);
    assertEquals([trained.code, trained.stderr], [0, ""]);
    const said = async (prompt: string) =>
      (await run(directory, ["generate", "--prompt", prompt, "--weights", "own"])).stdout.trim();
    assertEquals(await said("When do you open?"), "We open at nine.");
    assertEquals(
      await said("What is overfitting?"),
      "Overfitting means that a model memorises its training data and does badly on new data.",
    );
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
