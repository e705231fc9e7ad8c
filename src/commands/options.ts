// A command's options as one table, from which defaults, parsing, checks and --help derive.

import { parseArgs } from "@std/cli/parse-args";
import { UserError } from "../errors.ts";

interface Common {
  /** What it is for, with its unit; the limits, choices and default are added. */
  readonly help: string;
}

/** One option. Without a default its value is undefined when not given; booleans are false. */
export type OptionSpecification =
  & Common
  & (
    | { readonly type: "boolean" }
    | {
      readonly type: "string";
      readonly placeholder: string;
      readonly choices?: readonly string[];
      readonly default?: string;
    }
    | { readonly type: "strings"; readonly placeholder: string }
    | {
      readonly type: "number" | "integer";
      readonly placeholder?: string;
      readonly minimum?: number;
      readonly maximum?: number;
      /** The minimum itself is not allowed. */
      readonly above?: boolean;
      readonly default?: number;
    }
  );

export type OptionTable = Readonly<Record<string, OptionSpecification>>;

/** The type of an option's value. */
type ValueOf<S extends OptionSpecification> = S extends { type: "boolean" } ? boolean
  : S extends { type: "strings" } ? string[]
  : S extends { default: infer D } ? (D extends string ? string : number)
  : S extends { type: "string" } ? string | undefined
  : number | undefined;

export type Values<T extends OptionTable> = { -readonly [K in keyof T]: ValueOf<T[K]> };

/** A command's name, what it is for, and its options. */
export interface CommandSpecification<T extends OptionTable> {
  readonly name: string;
  readonly summary: string;
  readonly options: T;
  /** Takes no positional arguments unless named here, such as "FILE". */
  readonly positional?: string;
}

/** Options that every command has; main.ts deals with them. */
export const COMMON_OPTIONS = {
  safe: { type: "boolean", help: "keep V8's bounds checks: slower, and a bug cannot harm memory" },
  help: { type: "boolean", help: "show this text" },
} as const satisfies OptionTable;

/** How to call a command. */
export function invocation(name: string): string {
  return Deno.build.standalone ? `illuminator ${name}` : `deno task ${name}`;
}

/**
 * Parses arguments by a command's table.
 * @throws UserError for an unknown option, a missing or bad value
 */
export function parseOptions<T extends OptionTable>(
  command: CommandSpecification<T>,
  args: readonly string[],
): Values<T> & { positional: string[] } {
  const table: OptionTable = command.options;
  const names = Object.keys(table);
  const isBoolean = (name: string) => table[name]!.type === "boolean";
  const withValue = names.filter((name) => !isBoolean(name));
  const see = ` See ${invocation(command.name)} --help`;
  const parsed: Record<string, unknown> & { _: (string | number)[] } = parseArgs(
    joinValues(table, args),
    {
      boolean: names.filter(isBoolean),
      // "_": a positional argument that looks like a number stays as it was written.
      string: [...withValue, "_"],
      collect: withValue,
      unknown: (arg, key) => {
        if (key === undefined) return true;
        const option = arg.replace(/=.*/s, "");
        const known = [...names, ...Object.keys(COMMON_OPTIONS)];
        throw new UserError(`unknown option ${option}${suggestion(option, known) || "."}${see}`);
      },
    },
  );
  const positional = parsed._.map(String);
  if (positional.length > 0 && command.positional === undefined) {
    throw new UserError(`unexpected argument ${JSON.stringify(positional[0])}.${see}`);
  }
  const values: Record<string, unknown> = { positional };
  for (const name of names) {
    const given = parsed[name];
    values[name] = Array.isArray(given) ? parseValues(name, table[name]!, given) : given === true;
  }
  return values as Values<T> & { positional: string[] };
}

/**
 * Writes "--name value" as "--name=value", so that a value may begin with "-", and only an option's own
 * name ends the search for one.
 */
function joinValues(table: OptionTable, args: readonly string[]): string[] {
  const optionOf = (name: string) => {
    if (Object.hasOwn(table, name)) return table[name];
    return Object.hasOwn(COMMON_OPTIONS, name) ? (COMMON_OPTIONS as OptionTable)[name] : undefined;
  };
  const split = (arg: string) => /^--([^=]+)(?:=(.*))?$/s.exec(arg);
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") return [...joined, ...args.slice(i)];
    const [, name = "", inline] = split(arg) ?? [];
    const option = optionOf(name);
    if (option === undefined) {
      joined.push(arg);
    } else if (option.type === "boolean") {
      if (inline !== undefined && inline !== "true" && inline !== "false") {
        throw new UserError(`--${name} takes no value, got ${inline}`);
      }
      joined.push(arg);
    } else {
      const value = inline ?? args[++i] ?? "";
      const isOption = inline === undefined && optionOf(split(value)?.[1] ?? "") !== undefined;
      if (value === "" || isOption) {
        throw new UserError(`--${name} needs a value: ${usage(name, option)}`);
      }
      joined.push(`--${name}=${value}`);
    }
  }
  return joined;
}

function parseValues(name: string, option: OptionSpecification, given: string[]): unknown {
  if (option.type === "strings") return given;
  const last = given.at(-1);
  if (last === undefined) return "default" in option ? option.default : undefined;
  if (option.type === "string") return parseChoice(name, option.choices, last);
  return parseNumber(name, option, last);
}

function parseChoice(name: string, choices: readonly string[] | undefined, value: string): string {
  if (choices === undefined || choices.includes(value)) return value;
  throw new UserError(
    `--${name} must be one of ${choices.join(", ")}, got ${value}${suggestion(value, choices)}`,
  );
}

function parseNumber(name: string, option: OptionSpecification, text: string): number {
  if (option.type !== "number" && option.type !== "integer") throw new TypeError(option.type);
  const value = Number(text);
  const { minimum = -Infinity, maximum = Infinity, above = false } = option;
  const whole = option.type === "integer";
  const fits = (above ? value > minimum : value >= minimum) && value <= maximum;
  if (
    text.trim() !== "" && fits && Number.isFinite(value) && (!whole || Number.isSafeInteger(value))
  ) {
    return value;
  }
  const kind = whole ? "a whole number" : "a number";
  throw new UserError(`--${name} must be ${kind}${range(option)}, got ${text}`);
}

function range(
  { minimum, maximum, above }: { minimum?: number; maximum?: number; above?: boolean },
): string {
  if (minimum === undefined && maximum === undefined) return "";
  if (maximum === undefined) return above ? ` above ${minimum}` : ` of at least ${minimum}`;
  if (minimum === undefined) return ` of at most ${maximum}`;
  return above ? ` above ${minimum} and at most ${maximum}` : ` from ${minimum} to ${maximum}`;
}

/** "--name VALUE" */
function usage(name: string, option: OptionSpecification): string {
  if (option.type === "boolean") return `--${name}`;
  const placeholder = "placeholder" in option ? option.placeholder : undefined;
  return `--${name} ${placeholder ?? (option.type === "integer" ? "N" : "X")}`;
}

/** The text of --help. */
export function helpText<T extends OptionTable>(command: CommandSpecification<T>): string {
  const all = { ...command.options, ...COMMON_OPTIONS } as OptionTable;
  const rows = Object.entries(all).map(([name, option]) => [usage(name, option), detail(option)]);
  const width = Math.max(...rows.map(([left]) => left!.length)) + 2;
  const positional = command.positional === undefined ? "" : ` [${command.positional}]`;
  return [
    `${invocation(command.name)}${positional} [options]: ${command.summary}`,
    "",
    ...rows.map(([left, right]) => `  ${left!.padEnd(width)}${right}`),
  ].join("\n");
}

function detail(option: OptionSpecification): string {
  const notes: string[] = [];
  if (option.type === "string" && option.choices !== undefined) {
    notes.push(option.choices.join(", "));
  }
  if (option.type === "number" || option.type === "integer") notes.push(range(option).trim());
  if ("default" in option) notes.push(`default ${option.default}`);
  const written = notes.filter((note) => note !== "").join("; ");
  return written === "" ? option.help : `${option.help} (${written})`;
}

/** ": did you mean --x?" for the nearest name, when one is near. */
export function suggestion(given: string, names: readonly string[]): string {
  const prefix = given.startsWith("--") ? "--" : "";
  const word = given.slice(prefix.length);
  const ranked = names.map((name) => ({ name, distance: editDistance(word, name) }));
  ranked.sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  if (best === undefined || best.distance > Math.max(2, word.length / 3)) return "";
  return `: did you mean ${prefix}${best.name}?`;
}

/** Edits between two words: letters inserted, deleted, replaced, or swapped with their neighbour. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + Number(a[i - 1] !== b[j - 1]);
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = isSwapped ? before[j - 2]! + 1 : Infinity;
      next.push(Math.min(replaced, swapped, row[j]! + 1, next[j - 1]! + 1));
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}
