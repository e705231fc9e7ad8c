// deno task compare: what each run is trained with, and what becomes of one that was killed.

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

Deno.test("compare: a run that was killed before it could be gone on with is trained anew", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const flags = "--recipe basic --model nano --epochs 1 --sample-every 0 --validation 0.2";
    const out = ["--seed", "5", "--out", "runs/a-5"];
    const killed = await run(directory, ["train", ...flags.split(" "), ...out]);
    assertEquals(killed.code, 0, killed.stderr);
    Deno.removeSync(`${directory}/runs/a-5/last`, { recursive: true });
    const options = ["--json", "--run", `a=${flags}`, "--seeds", "5", "--out", "runs"];
    const { code, stdout, stderr } = await run(directory, ["compare", ...options]);
    assertEquals(code, 0, stderr);
    const [{ seed }] = JSON.parse(stdout);
    assertEquals(seed, 5);
    Deno.statSync(`${directory}/runs/a-5/last`);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
