// A local stand-in for the part of jsr:@std/cli/parse-args that the commands use, over node:util. The same
// names and signatures: without `links` in deno.json the real function takes its place.

import { parseArgs as nodeParseArgs } from "node:util";

/** The options of `parseArgs`, those in use. */
export interface ParseOptions {
  readonly boolean?: readonly string[];
  readonly string?: readonly string[];
  /** String options that may come several times; all are kept, in order. */
  readonly collect?: readonly string[];
  /** Called for every argument that no option is declared for; false leaves it out. */
  readonly unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** What was found: options by name, and positional arguments under `_`. */
export type Args = { _: (string | number)[] } & Record<string, unknown>;

/** Takes command line arguments apart. */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const { boolean = [], string = [], collect = [], unknown } = options;
  const declared = Object.fromEntries([
    ...boolean.map((name) => [name, { type: "boolean" as const }]),
    ...string.map((name) => [name, { type: "string" as const }]),
  ]);
  const { tokens } = nodeParseArgs({
    args: [...args],
    options: declared,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const result: Args = { _: [] };
  for (const name of boolean) result[name] = false;
  for (const name of collect) result[name] = [];
  for (const token of tokens) {
    if (token.kind === "positional") {
      if (unknown?.(token.value) !== false) result._.push(token.value);
      continue;
    }
    if (token.kind !== "option") continue;
    const { name } = token;
    const value = declaredValue(token.value, boolean.includes(name));
    if (declared[name] === undefined && unknown?.(token.rawName, name, value) === false) {
      continue;
    }
    if (collect.includes(name)) (result[name] as unknown[]).push(value);
    else result[name] = value;
  }
  return result;
}

function declaredValue(value: string | undefined, isBoolean: boolean): unknown {
  if (isBoolean) return value === undefined || value === "true";
  return value ?? "";
}
