// What --safe hands on to the program that it starts.

import { assertEquals } from "@std/assert";

/** Runs code with permissions of its own, and returns what permissionFlags() says there. */
async function flagsWith(...permissions: string[]): Promise<string[]> {
  const file = new URL("../../src/commands/safe_mode.ts", import.meta.url).href;
  const code = `const { permissionFlags } = await import(${JSON.stringify(file)});
    console.log(JSON.stringify(await permissionFlags()));`;
  const script = `data:application/javascript,${encodeURIComponent(code)}`;
  const { stdout } = await new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--allow-import", ...permissions, script],
  }).output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("permissionFlags: a task's own permissions, all of them and no others", async () => {
  assertEquals(await flagsWith("--allow-read", "--allow-write", "--allow-run=deno"), [
    "--allow-read",
    "--allow-write",
  ]);
  assertEquals(await flagsWith("--allow-read", "--allow-ffi"), ["--allow-read", "--allow-ffi"]);
  assertEquals(await flagsWith("--allow-write=/tmp"), []);
});
