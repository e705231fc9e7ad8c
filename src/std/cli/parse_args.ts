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
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const { boolean = [], string = [], collect = [], unknown } = options;
  const declared = Object.fromEntries([
    ...boolean.map((name) => [name, { type: "boolean" as const }]),
    ...string.filter((name) => name !== "_").map((name) => [name, { type: "string" as const }]),
  ]);
  const { tokens } = nodeParseArgs({
    args: attachValues(args, boolean, string),
    options: declared,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const result: Args = { _: [] };
  for (const name of boolean) result[name] = false;
  for (const name of collect) result[name] = [];
  const end = tokens.find(({ kind }) => kind === "option-terminator")?.index ?? Infinity;
  for (const token of tokens) {
    if (token.kind === "positional") {
      if (token.index > end) result._.push(token.value);
      else if (unknown?.(token.value) !== false) {
        result._.push(string.includes("_") ? token.value : numberIfNumeric(token.value));
      }
    } else if (token.kind === "option") {
      const { name } = token;
      const value = boolean.includes(name)
        ? token.value === undefined || token.value === "true"
        : token.value ?? true;
      if (!Object.hasOwn(declared, name) && unknown?.(token.rawName, name, value) === false) {
        continue;
      }
      if (collect.includes(name)) (result[name] as unknown[]).push(value);
      else result[name] = value;
    }
  }
  return result;
}

/**
 * Attaches to each option the value that @std/cli gives it, where node:util gives another: a string option
 * takes no word that begins with "-", a boolean one takes a "true" or "false" behind it.
 */
function attachValues(args: string[], boolean: readonly string[], string: readonly string[]) {
  const attached: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!, next = args[i + 1];
    if (arg === "--") return [...attached, ...args.slice(i)];
    const name = arg.startsWith("--") ? arg.slice(2) : "";
    if (string.includes(name) && (!next || next.startsWith("-"))) attached.push(`${arg}=`);
    else if (boolean.includes(name) && (next === "true" || next === "false")) {
      attached.push(`${arg}=${next}`);
      i++;
    } else attached.push(arg);
  }
  return attached;
}

function numberIfNumeric(text: string): string | number {
  const numeric = /^(0x[0-9a-f]+|[-+]?(?:\d+(?:\.\d*)?|\.\d+)(e[-+]?\d+)?)$/i.test(text);
  return numeric ? Number(text) : text;
}
