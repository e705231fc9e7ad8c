// deno task compare: what each run is trained with.

import { assertEquals } from "@std/assert";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;

Deno.test("compare: a run's own flags override the common ones, and the seed is each run's", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const { code, stdout, stderr } = await new Deno.Command("deno", {
      args: [
        ...[
          "run",
          "--quiet",
          "--no-prompt",
          "--allow-read",
          "--allow-write",
          "--allow-sys=systemMemoryInfo",
        ],
        ...[MAIN, "compare", "--json", "--out", directory, "--seeds", "5"],
        ...["--common", "--recipe basic --model nano --epochs 1 --sample-every 0 --clip 0.5"],
        ...["--run", "common=", "--run", "own=--clip 2"],
      ],
    }).output();
    const text = new TextDecoder();
    assertEquals(code, 0, text.decode(stderr));
    const flags = (JSON.parse(text.decode(stdout)) as { flags: string }[]).map((o) => o.flags);
    assertEquals(flags.map((all) => all.split(" ").slice(-2)), [["--seed", "5"], ["--seed", "5"]]);
    const recipes = ["common-5", "own-5"].map((name) =>
      JSON.parse(Deno.readTextFileSync(`${directory}/${name}/last/training/state.json`)).recipe
    );
    assertEquals(recipes.map(({ clip, seed }) => [clip, seed]), [[0.5, 5], [2, 5]]);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
