// deno task compare: what each run is trained with.

import { assertEquals } from "@std/assert";
import { run } from "./parrot.ts";

Deno.test("compare: a run's own flags override the common ones, and the seed is each run's", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const small = "--recipe basic --model nano --epochs 1 --sample-every 0 --clip 0.5";
    const runs = ["--run", "common=", "--run", "own=--clip 2", "--seeds", "5", "--out", "runs"];
    const { code, stdout, stderr } = await run(directory, [
      "compare",
      ...["--json", "--common", small],
      ...runs,
    ]);
    assertEquals(code, 0, stderr);
    const flags = (JSON.parse(stdout) as { flags: string }[]).map((o) => o.flags);
    assertEquals(flags.map((all) => all.split(" ").slice(-2)), [["--seed", "5"], ["--seed", "5"]]);
    const recipes = ["common-5", "own-5"].map((name) => {
      const path = `${directory}/runs/${name}/last/training/state.json`;
      return JSON.parse(Deno.readTextFileSync(path)).recipe;
    });
    assertEquals(recipes.map(({ clip, seed }) => [clip, seed]), [[0.5, 5], [2, 5]]);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
