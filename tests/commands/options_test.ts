// A command's option table: values, defaults, limits, messages and help all come from it.

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  type CommandSpecification,
  helpText,
  type OptionTable,
  parseOptions,
  suggestion,
} from "../../src/commands/options.ts";
import { UserError } from "../../src/errors.ts";

const command = {
  name: "train",
  summary: "learn",
  options: {
    epochs: { type: "integer", minimum: 1, maximum: 100, default: 12, help: "times through" },
    rate: { type: "number", minimum: 0, above: true, help: "how fast" },
    model: { type: "string", placeholder: "NAME", choices: ["nano", "mini"], help: "size" },
    out: { type: "string", placeholder: "DIR", default: "weights", help: "where" },
    data: { type: "strings", placeholder: "FILE", help: "what" },
    json: { type: "boolean", help: "print JSON" },
  },
} as const satisfies CommandSpecification<OptionTable>;

const NOTHING = {
  epochs: 12,
  rate: undefined,
  model: undefined,
  out: "weights",
  data: [],
  json: false,
  positional: [],
};

/** The message for wrong arguments, without the hint at --help. */
function messageFor(...args: string[]): string {
  const { message } = assertThrows(() => parseOptions(command, args), UserError);
  return message.replace(/ See deno task train --help$/, "");
}

Deno.test("parseOptions: defaults where nothing is given", () => {
  assertEquals(parseOptions(command, []), NOTHING);
});

Deno.test("parseOptions: values in both spellings, the last of several, lists of all", () => {
  const args = ["--epochs=3", "--rate", "1e-4", "--model", "mini", "--epochs", "4", "--json"];
  assertEquals(parseOptions(command, [...args, "--data", "a", "--data=b=c"]), {
    ...NOTHING,
    epochs: 4,
    rate: 1e-4,
    model: "mini",
    data: ["a", "b=c"],
    json: true,
  });
});

Deno.test("parseOptions: a value may begin with - unless it is an option's name", () => {
  assertEquals(parseOptions(command, ["--out", "-x y"]).out, "-x y");
  assertEquals(parseOptions(command, ["--out", "--- a"]).out, "--- a");
  assertEquals(parseOptions(command, ["--out=--json"]).out, "--json");
  assertEquals(messageFor("--out", "--json"), "--out needs a value: --out DIR");
  assertEquals(messageFor("--out", "--help"), "--out needs a value: --out DIR");
});

Deno.test("parseOptions: positional arguments only where the command names them", () => {
  assertEquals(messageFor("x"), 'unexpected argument "x".');
  const positional = { ...command, positional: "DIR" };
  assertEquals(parseOptions(positional, ["007", "--", "--json"]), {
    ...NOTHING,
    positional: ["007", "--json"],
  });
});

Deno.test("parseOptions: an unknown option is refused, with the nearest name", () => {
  assertEquals(messageFor("--epoch", "3"), "unknown option --epoch: did you mean --epochs?");
  assertEquals(messageFor("--epoch=3"), "unknown option --epoch: did you mean --epochs?");
  assertEquals(messageFor("--saef"), "unknown option --saef: did you mean --safe?");
  assertEquals(messageFor("--quantise"), "unknown option --quantise.");
  assertEquals(messageFor("-e"), "unknown option -e.");
  assertEquals(messageFor("--no-json"), "unknown option --no-json.");
  assertEquals(messageFor("--toString"), "unknown option --toString.");
  assertStringIncludes(
    assertThrows(() => parseOptions(command, ["--x"]), UserError).message,
    "See deno task train --help",
  );
});

Deno.test("parseOptions: a missing value says so", () => {
  for (const args of [["--epochs"], ["--epochs="], ["--epochs", ""], ["--epochs", "--json"]]) {
    assertEquals(messageFor(...args), "--epochs needs a value: --epochs N");
  }
  assertEquals(messageFor("--json=yes"), "--json takes no value, got yes");
});

Deno.test("parseOptions: a number out of range says the range", () => {
  const epochs = "--epochs must be a whole number from 1 to 100, got";
  for (const value of ["0", "101", "-1", "1.5", "NaN", "Infinity", "ten", "3x", " "]) {
    assertEquals(messageFor("--epochs", value), `${epochs} ${value}`);
  }
  assertEquals(messageFor("--rate", "0"), "--rate must be a number above 0, got 0");
  assertEquals(messageFor("--rate", "NaN"), "--rate must be a number above 0, got NaN");
});

Deno.test("parseOptions: a choice is one of the choices", () => {
  assertEquals(
    messageFor("--model", "minni"),
    "--model must be one of nano, mini, got minni: did you mean mini?",
  );
});

Deno.test("helpText: every option with its placeholder, limits, choices and default", () => {
  assertEquals(helpText(command).split("\n").slice(0, 8), [
    "deno task train [options]: learn",
    "",
    "  --epochs N    times through (from 1 to 100; default 12)",
    "  --rate X      how fast (above 0)",
    "  --model NAME  size (nano, mini)",
    "  --out DIR     where (default weights)",
    "  --data FILE   what",
    "  --json        print JSON",
  ]);
});

Deno.test("suggestion: the nearest word, none when none is near", () => {
  assertEquals(suggestion("trian", ["chat", "train"]), ": did you mean train?");
  assertEquals(suggestion("--hlep", ["clip", "help"]), ": did you mean --help?");
  assertEquals(suggestion("dance", ["chat", "train"]), "");
  assertEquals(suggestion("x", []), "");
});
