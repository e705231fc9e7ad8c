// Normalisations and optimisers from outside: trained, continued, used, and refused where nobody else reads them.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const MAIN = new URL("../../src/main.ts", import.meta.url).href;
const decoder = new TextDecoder();

async function run(directory: string, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--allow-read", "--allow-write", MAIN, ...args],
    cwd: directory,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("a model with another norm is trained, generates, and is not exported; --init keeps its norm and its moments' optimiser", async () => {
  const directory = Deno.makeTempDirSync();
  const fails = async (message: string, ...args: string[]) => {
    const { code, stderr } = await run(directory, ...args);
    assertEquals([code, stderr.trim().split("\n").length], [2, 1], stderr);
    assertStringIncludes(stderr, message);
  };
  try {
    const small = ["--recipe", "basic", "--max-tokens", "32", "--epochs", "1", "--threads", "1"];
    const first = await run(
      directory,
      ...["train", ...small, "--model", "nano", "--sample-every", "0", "--out", "run"],
      ...["--normalization", "batchnorm", "--optimizer", "lion", "--learning-rate", "1e-4"],
      ...["--precision", "bf16", "--recompute", "on"],
    );
    assertEquals([first.code, first.stderr], [0, ""]);
    for (
      const named of ["optimizer lion", "normalization batchnorm", "precision bf16, moments f32"]
    ) {
      assertStringIncludes(first.stdout, named);
    }
    const config = JSON.parse(Deno.readTextFileSync(`${directory}/run/last/config.json`));
    assertEquals([config.model_type, config.architectures], ["illuminator", undefined]);
    assertEquals(config.illuminator.normalization, "batchnorm");
    assertEquals(config.illuminator.recipe.optimizer, "lion");

    const said = await run(
      directory,
      "generate",
      "--weights",
      "run",
      "--prompt",
      "Hello",
      "--json",
      "--max-tokens",
      "4",
    );
    assertEquals([said.code, said.stderr], [0, ""]);
    const exported = "run/last: has batchnorm where other programs' GPT-2 has layernorm";
    for (const format of ["hf", "gguf"]) {
      await fails(exported, "export", "--weights", "run/last", "--format", format, "--out", "out");
    }
    const init = ["train", ...small, "--init", "run/last", "--out", "next"];
    await fails("--init brings its own batchnorm", ...init, "--normalization", "rmsnorm");
    await fails("holds the moments of lion; use --optimizer lion", ...init, "--keep-moments");
    await fails(
      "with --lora-rank use adamw or lion",
      ...init,
      "--lora-rank",
      "2",
      "--optimizer",
      "muon",
    );
    await fails("--momentum is Muon's", ...init, "--momentum", "0.9");
    const next = await run(
      directory,
      ...init,
      "--keep-moments",
      "--optimizer",
      "lion",
      "--sample-every",
      "0",
    );
    assertEquals([next.code, next.stderr], [0, ""]);
    const { recipe } = JSON.parse(
      Deno.readTextFileSync(`${directory}/next/last/training/state.json`),
    );
    assertEquals(recipe.normalization, "batchnorm");
    assert(!Object.hasOwn(config, "normalization"), "ours stand under illuminator");

    const damaged = { ...config, illuminator: { ...config.illuminator, normalization: "l2" } };
    Deno.writeTextFileSync(`${directory}/run/last/config.json`, JSON.stringify(damaged));
    await fails(
      'illuminator.normalization must be one of layernorm, rmsnorm, batchnorm, is "l2"',
      ...["generate", "--weights", "run/last", "--prompt", "Hello"],
    );
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
