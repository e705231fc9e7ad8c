// The program from outside: what it prints where, and its exit codes.

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import project from "../../deno.json" with { type: "json" };

const MAIN = new URL("../../src/main.ts", import.meta.url).href;
const FILE = new URL("../../deno.json", import.meta.url).pathname;

async function run(args: string[], flags: string[] = []) {
  const { code, stdout, stderr } = await new Deno.Command("deno", {
    args: ["run", "--no-prompt", ...flags, MAIN, ...args],
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("main: without a command it lists them, on standard output", async () => {
  const overview = await run([]);
  assertEquals([overview.code, overview.stderr], [0, ""]);
  for (
    const name of [
      "train",
      "chat",
      "generate",
      "eval",
      "compare",
      "preferences",
      "check-data",
      "export",
      "import",
      "info",
      "bench",
    ]
  ) {
    assertMatch(overview.stdout, new RegExp(`deno task ${name} +\\w`));
  }
  assertEquals(await run(["--help"]), overview);
});

Deno.test("main: --version", async () => {
  assertEquals(await run(["--version"]), {
    code: 0,
    stdout: `${project.version}\n`,
    stderr: "",
  });
});

Deno.test("main: a user's mistake is one line on standard error and exit code 2", async () => {
  assertEquals(await run(["trian"]), {
    code: 2,
    stdout: "",
    stderr: "error: unknown command trian: did you mean train? " +
      "There are train, chat, generate, eval, compare, preferences, check-data, export, import, info, bench\n",
  });
  assertEquals(await run(["info", "--modle", "nano"]), {
    code: 2,
    stdout: "",
    stderr: "error: unknown option --modle: did you mean --model? See deno task info --help\n",
  });
});

Deno.test("main: every command has --help", async () => {
  for (
    const name of [
      "train",
      "chat",
      "generate",
      "eval",
      "compare",
      "preferences",
      "check-data",
      "export",
      "import",
      "info",
      "bench",
    ]
  ) {
    const { code, stdout, stderr } = await run([name, "--help"]);
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, `deno task ${name}`);
    assertStringIncludes(stdout, "--safe");
  }
});

Deno.test("main: --safe runs again without the flags and passes the exit code on", async () => {
  const flags = [
    "--v8-flags=--no-wasm-bounds-checks,--experimental-wasm-revectorize",
    "--allow-run=deno",
  ];
  const plain = await run(["info", "--model", "nano", "--json"]);
  assertEquals(plain.code, 0);
  assertEquals(await run(["info", "--safe", "--model", "nano", "--json"], flags), plain);
  assertEquals((await run(["info", "--safe", "--model", "huge"], flags)).code, 2);
});

Deno.test("main: --safe says what it lacks when it may not start a child", async () => {
  const { code, stderr } = await run(["info", "--safe"]);
  assertEquals(code, 2);
  assertMatch(stderr, /^error: --safe cannot start deno again: .*\n$/);
});

Deno.test("main: what the system refuses is told in one line", async () => {
  const long = "x".repeat(300);
  const mistakes: [string[], string][] = [
    [["train", "--recipe", "basic", "--out", long], "File name too long"],
    [["generate", "--prompt", "Hi", "--weights", `${FILE}/x`], "deno.json/x: holds no checkpoint"],
  ];
  for (const [args, message] of mistakes) {
    const { code, stdout, stderr } = await run(args, ["--allow-read"]);
    assertEquals([code, stdout, stderr.trim().split("\n").length], [2, "", 1], stderr);
    assertStringIncludes(stderr, message);
  }
});
