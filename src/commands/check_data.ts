// deno task check-data: finds what spoils a corpus.

import { type Fault, findFaults, readEntries } from "../data/mod.ts";
import { loadTokenizer } from "../tokenizer/mod.ts";
import { dataPath } from "./bundled.ts";
import { type CommandSpecification, type OptionTable, parseOptions } from "./options.ts";

export const command = {
  name: "check-data",
  summary: "find duplicates, leaks between files, contradictions and faults in data",
  options: {
    data: {
      type: "strings",
      placeholder: "FILE",
      help: "data to check, each file a side of the split; our own corpus if not given",
    },
    "max-tokens": {
      type: "integer",
      minimum: 2,
      maximum: 4096,
      default: 128,
      help: "longest text",
    },
    threshold: {
      type: "number",
      minimum: 0.1,
      maximum: 1,
      default: 0.75,
      help: "likeness from which two questions count as the same",
    },
    json: { type: "boolean", help: "print JSON" },
  },
  positional: "FILE ...",
} satisfies CommandSpecification<OptionTable>;

const OWN = ["train.jsonl", "validation.jsonl", "test.jsonl"];
/** Faults of a kind that are listed. */
const LISTED = 20;

export function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const given = [...options.data, ...options.positional];
  const paths = given.length > 0 ? given : OWN.map((name) => dataPath(`illuminator/${name}`));
  const files = paths.map((path) => ({ path, entries: readEntries([path]).entries }));
  const faults = findFaults(files, {
    tokenizer: loadTokenizer(),
    maxTokens: options["max-tokens"],
    threshold: options.threshold,
  });
  const serious = faults.filter((fault) => fault.serious).length;
  const counts = files.map(({ path, entries }) => ({
    file: path,
    entries: entries.length,
    conversations: entries.filter(({ kind }) => kind === "conversation").length,
    intents: new Set(entries.flatMap(({ intent }) => intent === undefined ? [] : [intent])).size,
    categories: new Set(entries.flatMap(({ category }) => category ?? [])).size,
  }));
  if (options.json) console.log(JSON.stringify({ files: counts, serious, faults }, null, 2));
  else for (const line of report(counts, faults, serious)) console.log(line);
  return Promise.resolve(serious > 0 ? 1 : 0);
}

interface FileCounts {
  readonly file: string;
  readonly entries: number;
  readonly conversations: number;
  readonly intents: number;
  readonly categories: number;
}

function report(
  counts: readonly FileCounts[],
  faults: readonly Fault[],
  serious: number,
): string[] {
  const groups = Map.groupBy(faults, ({ kind }) => kind);
  return [
    ...counts.map((c) =>
      `${c.file}: ${c.entries} lines, ${c.conversations} conversations, ${c.intents} intents in ` +
      `${c.categories} categories`
    ),
    ...[...groups].flatMap(([kind, some]) => [
      `${kind}: ${some.length}`,
      ...some.slice(0, LISTED).map(({ message }) => `  ${message}`),
      ...(some.length > LISTED ? [`  and ${some.length - LISTED} more`] : []),
    ]),
    serious === 0 ? "nothing serious" : `${serious} serious faults`,
  ];
}
