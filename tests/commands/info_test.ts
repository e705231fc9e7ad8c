// What info prints, as a person and as a program read it.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { presets } from "../../src/model/mod.ts";
import { run } from "../../src/commands/info.ts";

/** What the command prints. */
async function printed(args: string[]): Promise<string> {
  const lines: string[] = [];
  const log = console.log;
  console.log = (text: string) => void lines.push(text);
  try {
    assertEquals(await run(args), 0);
  } finally {
    console.log = log;
  }
  return lines.join("\n");
}

Deno.test("info --json: 124m has 124,442,112 parameters, its sizes and its configuration", async () => {
  const figures = JSON.parse(await printed(["--model", "124m", "--json"]));
  assertEquals(figures.parameters, 124_442_112);
  assertEquals({ ...figures, ...presets["124m"] }, figures);
  // Training holds parameters, gradients and two moments, generation the parameters, 4 bytes each.
  assert(figures.shared_bytes > 16 * figures.parameters);
  assert(figures.training_bytes > 16 * figures.parameters);
  assert(figures.training_bytes < 2.9e9);
  assert(figures.generation_bytes > 4 * figures.parameters);
  assert(figures.generation_bytes < figures.training_bytes / 3);
});

Deno.test("info: more tokens need more memory", async () => {
  const few = JSON.parse(await printed(["--model", "nano", "--tokens", "64", "--json"]));
  const many = JSON.parse(await printed(["--model", "nano", "--tokens", "1024", "--json"]));
  assert(many.training_bytes > few.training_bytes);
  assert(many.generation_bytes > few.generation_bytes);
});

Deno.test("info: each way to need less memory is foretold, and 355m fits WebAssembly's 4 GiB with all of them", async () => {
  // So many tokens that a pass needs more than saving.
  const tokens = 4096, parameters = 124_442_112, activations = tokens * 12 * 72 * 768;
  const bytes = async (...flags: string[]) => {
    const args = ["--model", "124m", "--tokens", String(tokens), ...flags, "--json"];
    return JSON.parse(await printed(args)).shared_bytes;
  };
  const full = await bytes();
  const saved = async (...flags: string[]) => full - await bytes(...flags);
  const assertNear = (actual: number, expected: number, share: number) =>
    assert(Math.abs(actual - expected) <= share * expected, `${actual} instead of ${expected}`);
  // Two moments of 4 bytes become 2, and 1 with 4 for every 256.
  assertNear(await saved("--moments", "bf16"), 4 * parameters, 0.001);
  assertNear(await saved("--moments", "int8"), 5.97 * parameters, 0.002);
  // 34 of 72 bytes are kept for a channel, or 4.
  assertNear(await saved("--precision", "bf16"), 38 / 72 * activations, 0.15);
  assertNear(await saved("--recompute", "on"), 68 / 72 * activations, 0.1);
  const least = ["--model", "355m", "--moments", "int8", "--recompute", "on", "--json"];
  const medium = JSON.parse(await printed(least));
  assertEquals([medium.parameters, medium.moments, medium.recompute], [354_826_240, "int8", true]);
  assert(medium.shared_bytes < 2 ** 32 - 16 * 20 * 2 ** 20, `${medium.shared_bytes}`);
});

Deno.test("info: lion keeps a moment less than adamw, muon one less of the matrices", async () => {
  const needed = async (optimizer: string) =>
    JSON.parse(await printed(["--model", "124m", "--optimizer", optimizer, "--json"]));
  const adamw = await needed("adamw"), lion = await needed("lion"), muon = await needed("muon");
  const saved = adamw.training_bytes - lion.training_bytes;
  assert(saved >= 4 * adamw.parameters && saved < 4.01 * adamw.parameters);
  assertEquals(adamw.training_bytes - muon.training_bytes, 4 * 12 * 12 * 768 ** 2);
  assertThrows(
    () => run(["--optimizer", "muon", "--moments", "bf16"]),
    UserError,
    "--moments bf16 is for --optimizer adamw; with muon leave --moments out",
  );
});

Deno.test("info: a table of all presets", async () => {
  const rows = (await printed([])).split("\n");
  for (const name of Object.keys(presets)) {
    assert(rows.some((row) => row.startsWith(`${name} `)), name);
  }
  assert(rows.some((row) => row.includes("124,442,112")));
});
