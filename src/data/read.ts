// Reads data files: JSON lines, a JSON list, or plain text.

import { UserError } from "../errors.ts";
import type { Entry } from "./entry.ts";
import type { Message } from "../tokenizer/mod.ts";
import { entryOf, pairOf, promptOf, ShapeError } from "./shapes.ts";

export interface ReadOptions {
  /** Leave bad lines out and report them, instead of refusing the file. */
  readonly skipBadLines?: boolean;
  /** Every line is a question with two answers, a chosen and a rejected one. */
  readonly pairs?: boolean;
}

export interface ReadResult {
  readonly entries: Entry[];
  /** "file:line: reason" of every line left out. */
  readonly skipped: string[];
}

/** How many bad lines an error names. */
const NAMED = 3;
/** Far more than a small corpus, and few enough bytes to lie in memory as text too. */
const LARGEST_FILE = 2 ** 28, LONGEST_LINE = 2 ** 24;
const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toLocaleString("en")} MiB`;

/**
 * Entries of several files, in order.
 * @throws UserError for a file that cannot be read, a bad line unless they are skipped, or no entry at all
 */
export function readEntries(paths: readonly string[], options: ReadOptions = {}): ReadResult {
  const entries: Entry[] = [], bad: string[] = [];
  const shape = options.pairs ? pairOf : entryOf;
  for (const path of paths) readFile(path, entries, bad, shape);
  if (!options.skipBadLines) {
    refuseBadLines(bad, "Mend them, or leave them out with --skip-bad-lines");
  }
  if (entries.length === 0) throw new UserError(`${paths.join(", ")}: nothing to learn from`);
  return { entries, skipped: bad };
}

/** @throws UserError naming the first of them, when there are any */
function refuseBadLines(bad: readonly string[], advice: string): void {
  if (bad.length === 0) return;
  const more = bad.length > NAMED ? `; and ${bad.length - NAMED} more` : "";
  throw new UserError(`${bad.slice(0, NAMED).join("; ")}${more}. ${advice}`);
}

/** A line that asks for an answer. */
export interface PromptLine {
  /** Ends in a user's turn. */
  readonly messages: readonly Message[];
  /** The line as it was. */
  readonly source: Readonly<Record<string, unknown>>;
  /** "file:line" */
  readonly where: string;
}

/**
 * The prompts of a JSON lines file: {"prompt"} or {"messages"}.
 * @throws UserError for a file that cannot be read, a bad line, or no prompt at all
 */
export function readPrompts(path: string): PromptLine[] {
  const lines: PromptLine[] = [], bad: string[] = [];
  readLines(path, readBytes(path), (value, where) => {
    const messages = promptOf(value);
    lines.push({ messages, source: value as PromptLine["source"], where });
  }, bad);
  refuseBadLines(bad, "Mend them first");
  if (lines.length === 0) throw new UserError(`${path}: holds no prompt`);
  return lines;
}

/**
 * The last conversation of a JSON lines file, such as a chat saves.
 * @throws UserError for a file that cannot be read, or without a conversation
 */
export function readConversation(path: string): Message[] {
  let last: Message[] | null = null;
  const bad: string[] = [];
  readLines(path, readBytes(path), (value, source) => {
    const entry = entryOf(value, source);
    if (entry.kind === "conversation") last = [...entry.messages];
  }, bad);
  refuseBadLines(bad, "Mend them first");
  if (last === null) throw new UserError(`${path}: holds no conversation`);
  return last;
}

/** The entry of a parsed line. */
type Shape = (value: unknown, source: string) => Entry;

function readFile(path: string, entries: Entry[], bad: string[], shape: Shape): void {
  const bytes = readBytes(path);
  const keep = (value: unknown, source: string) => entries.push(shape(value, source));
  const extension = path.slice(path.lastIndexOf(".")).toLowerCase();
  if (extension === ".jsonl" || extension === ".ndjson") {
    return readLines(path, bytes, keep, bad);
  }
  const text = decode(bytes, path);
  if (extension === ".json") {
    // JSON lines under the name .json are common, and their first line is a value by itself.
    const lines = text.trim().split("\n");
    if (lines.length > 1 && isJson(lines[0]!)) return readLines(path, bytes, keep, bad);
    return readList(path, text, entries, bad, shape);
  }
  if (shape === pairOf) throw new UserError(`${path}: must end in .jsonl, .ndjson or .json`);
  if (extension !== ".txt" && extension !== ".md") {
    throw new UserError(`${path}: must end in .jsonl, .ndjson, .json, .txt or .md`);
  }
  const content = text.replaceAll("\r\n", "\n").trim();
  if (content !== "") entries.push({ kind: "text", text: content, source: path });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function readBytes(path: string): Uint8Array {
  try {
    const { isFile, size } = Deno.statSync(path);
    if (!isFile) throw new UserError(`${path}: is not a file`);
    if (size > LARGEST_FILE) {
      throw new UserError(
        `${path}: is larger than ${mebibytes(LARGEST_FILE)}; give a part of it`,
      );
    }
    return Deno.readFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new UserError(`${path}: there is no such file`);
    }
    if (
      error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable
    ) {
      throw new UserError(`${path}: there is no permission to read it`);
    }
    throw error;
  }
}

/** @throws UserError when the bytes are no UTF-8 */
function decode(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UserError(`${where}: is not UTF-8 text`);
  }
}

/** The parts of a file between line feeds. */
function* linesOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(10, start);
    yield bytes.subarray(start, end < 0 ? bytes.length : end);
    if (end < 0) return;
    start = end + 1;
  }
}

/** Gives every line's value to `keep`, whose complaints count as bad lines. */
function readLines(
  path: string,
  bytes: Uint8Array,
  keep: (value: unknown, source: string) => void,
  bad: string[],
): void {
  let number = 0;
  for (const line of linesOf(bytes)) {
    const source = `${path}:${++number}`;
    try {
      if (line.length > LONGEST_LINE) {
        throw new UserError(`${source}: is longer than ${mebibytes(LONGEST_LINE)}`);
      }
      const text = decode(line, source).trim();
      if (text !== "") keep(JSON.parse(text), source);
    } catch (error) {
      bad.push(reasonOf(error, source));
    }
  }
}

function readList(
  path: string,
  text: string,
  entries: Entry[],
  bad: string[],
  shape: Shape,
): void {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch (error) {
    throw new UserError(reasonOf(error, path));
  }
  (Array.isArray(list) ? list : [list]).forEach((value, i) => {
    const source = `${path}[${i}]`;
    try {
      entries.push(shape(value, source));
    } catch (error) {
      bad.push(reasonOf(error, source));
    }
  });
}

/** "where: what is wrong" for an error that the data cause. */
function reasonOf(error: unknown, source: string): string {
  if (error instanceof UserError) return error.message;
  if (error instanceof ShapeError) return `${source}: ${error.message}`;
  if (error instanceof SyntaxError) return `${source}: is not valid JSON (${error.message})`;
  throw error;
}
