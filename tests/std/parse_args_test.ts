// The stand-in for @std/cli's parseArgs finds what the real function finds.

import { parseArgs } from "@std/cli/parse-args";
import { assertEquals } from "@std/assert";

const OPTIONS = { boolean: ["json"], string: ["name", "_"], collect: ["name"] };

Deno.test("parseArgs: names, values, positional arguments", () => {
  assertEquals(
    parseArgs(["--name", "a", "x", "--name=b=c", "--json", "007"], OPTIONS),
    { _: ["x", "007"], json: true, name: ["a", "b=c"] },
  );
  assertEquals(parseArgs([], OPTIONS), { _: [], json: false, name: [] });
});

Deno.test("parseArgs: a string option takes no word that begins with -", () => {
  assertEquals(parseArgs(["--name", "--json"], OPTIONS), { _: [], json: true, name: [""] });
  assertEquals(parseArgs(["--name=-1"], OPTIONS).name, ["-1"]);
});

Deno.test("parseArgs: a boolean option takes only true and false", () => {
  assertEquals(parseArgs(["--json", "x"], OPTIONS), { _: ["x"], json: true, name: [] });
  assertEquals(parseArgs(["--json=false"], OPTIONS).json, false);
  assertEquals(parseArgs(["--json", "false"], OPTIONS), { _: [], json: false, name: [] });
});

Deno.test("parseArgs: positional numbers are numbers unless declared as text", () => {
  assertEquals(parseArgs(["12", "1e3", "1x"])._, [12, 1000, "1x"]);
});

Deno.test("parseArgs: nothing behind -- is an option", () => {
  assertEquals(parseArgs(["--", "--json", "-"], OPTIONS), {
    _: ["--json", "-"],
    json: false,
    name: [],
  });
});

Deno.test("parseArgs: unknown hears of undeclared options and may drop them", () => {
  const heard: string[] = [];
  const unknown = (arg: string, key?: string) => {
    heard.push(`${arg.replace(/=.*/, "")} ${key}`);
    return key === undefined;
  };
  const parsed = parseArgs(["--nmae=a", "x", "-z", "--json"], { ...OPTIONS, unknown });
  assertEquals(parsed, { _: ["x"], json: true, name: [] });
  assertEquals(heard, ["--nmae nmae", "x undefined", "-z z"]);
});
