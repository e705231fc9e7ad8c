// What eval finds, as lines for a terminal and as a page.

import { UserError } from "../errors.ts";
import type { TextFigures } from "../evaluation/mod.ts";
import type { Result, Thresholds } from "./eval.ts";
import { barChart, htmlPage, htmlTable, section } from "./report.ts";

const percent = (share: number | null) => share === null ? "-" : `${(100 * share).toFixed(1)} %`;

/** Rows of "name value". */
function figureRows(f: TextFigures): [string, string][] {
  return [
    [
      "distinct words, pairs, triples",
      [f.distinct_1, f.distinct_2, f.distinct_3].map(percent).join(", "),
    ],
    ["4 words said before in an answer", percent(f.seq_rep_4)],
    ["mean length", `${f.mean_words.toFixed(1)} words`],
    ["answers that end by themselves", percent(f.stopped)],
    ["answers copied word for word", percent(f.copied)],
  ];
}

function summaryRows(r: Result): [string, string][] {
  const { questions } = r;
  const judged = questions?.accuracy ?? null, baseline = questions?.baseline ?? null;
  return [
    ["weights", r.weights],
    ["tokens", `${r.tokens} in ${r.texts} texts`],
    ["cross-entropy", `${r.cross_entropy.toFixed(4)} nats a token`],
    ["perplexity", r.perplexity.toFixed(3)],
    ["bits per byte", r.bits_per_byte.toFixed(4)],
    ["next token", `${percent(r.next_token)} right`],
    ...(questions === null ? [] : figureRows(questions)),
    ...(judged === null ? [] : [
      [
        "right answers",
        `${percent(judged.known)} of ${judged.known_questions} questions` +
        (baseline === null ? "" : ` (TF-IDF lookup: ${percent(baseline.known)})`),
      ],
    ] as [string, string][]),
    ...(judged === null || judged.unknown === null ? [] : [
      [
        "says that it does not know",
        `${percent(judged.unknown)} of ${judged.unknown_questions} questions` +
        (baseline === null ? "" : ` (TF-IDF lookup: ${percent(baseline.unknown)})`),
      ],
    ] as [string, string][]),
  ];
}

/** What thresholds make of the answers; the best one among them. */
function thresholdTable({ some, best }: Thresholds): { head: string[]; rows: string[][] } {
  const figures = [...some.filter(({ threshold }) => threshold !== best.threshold), best]
    .sort((a, b) => a.threshold - b.threshold);
  const rows = figures.map((row) => [
    String(row.threshold),
    percent(row.right),
    percent(row.wrong),
    percent(row.honest) + (row === best ? " (most, with right ones)" : ""),
  ]);
  return { head: ["--unsure", "right", "wrong", "unknown declined"], rows };
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd());
}

/** Lines for a terminal. */
export function table(r: Result, wrong: boolean): string[] {
  const lines = aligned(summaryRows(r));
  if (r.truncated > 0) {
    lines.push(`${r.truncated} conversations were cut to the model's context`);
  }
  if (r.categories.length > 0) {
    const accuracy = r.questions?.accuracy?.categories ?? {};
    lines.push(
      "",
      ...aligned([
        ["category", "texts", "cross-entropy", "right"],
        ...r.categories.map((c) => [
          c.category,
          String(c.texts),
          c.cross_entropy.toFixed(4),
          percent(accuracy[c.category] ?? null),
        ]),
      ]),
    );
  }
  const thresholds = r.questions?.thresholds ?? null;
  if (thresholds !== null) {
    const { head, rows } = thresholdTable(thresholds);
    lines.push("", ...aligned([head, ...rows]));
  }
  if (r.probes !== null) {
    lines.push(
      "",
      ...aligned([
        ["temperature", "distinct-1", "distinct-3", "seq-rep-4", "words", "stopped", "copied"],
        ...r.probes.figures.map((f) => [
          String(f.temperature),
          percent(f.distinct_1),
          percent(f.distinct_3),
          percent(f.seq_rep_4),
          f.mean_words.toFixed(1),
          percent(f.stopped),
          percent(f.copied),
        ]),
      ]),
      "",
      ...r.probes.answers.filter(({ temperature }) => temperature === 0).map((p) =>
        `${p.prompt} (${p.format}) -> ${JSON.stringify(p.answer)}`
      ),
    );
  }
  if (wrong && r.questions !== null) {
    lines.push(
      "",
      ...r.questions.answered.filter(({ right }) => right === false).map((a) =>
        `${a.intent}: ${a.question} -> ${JSON.stringify(a.answer)}`
      ),
    );
  }
  return lines;
}

/** Writes a page of HTML. @throws UserError when it cannot */
export function writeReport(path: string, r: Result): void {
  const { questions, probes } = r;
  const thresholds = questions?.thresholds ? thresholdTable(questions.thresholds) : null;
  const accuracy = Object.entries(questions?.accuracy?.categories ?? {});
  const sections = [
    section("Summary", htmlTable(["figure", "value"], summaryRows(r))),
    r.categories.length === 0 ? "" : section(
      "Loss by category",
      barChart(
        "Cross-entropy by category",
        r.categories.map((c) => ({
          name: c.category,
          value: c.cross_entropy,
          label: c.cross_entropy.toFixed(3),
        })),
      ),
    ),
    accuracy.length === 0 ? "" : section(
      "Right answers by category",
      barChart(
        "Right answers by category",
        accuracy.map(([name, share]) => ({ name, value: share ?? 0, label: percent(share) })),
        1,
      ),
    ),
    thresholds === null ? "" : section(
      "Were it to be surer",
      htmlTable(thresholds.head, thresholds.rows),
    ),
    probes === null ? "" : section(
      "What it says at several temperatures",
      htmlTable(
        ["temperature", "topic", "format", "prompt", "answer"],
        probes.answers.map((p) => [p.temperature, p.topic, p.format, p.prompt, p.answer]),
      ),
    ),
    questions === null ? "" : section(
      "Answers",
      htmlTable(
        ["question", "answer", "expected", "right"],
        questions.answered.map((a) => [
          a.question,
          a.answer,
          a.expected,
          a.right === null ? "" : a.right ? "yes" : "no",
        ]),
      ),
    ),
  ];
  try {
    Deno.writeTextFileSync(path, htmlPage(`Evaluation of ${r.weights}`, sections));
  } catch (error) {
    throw new UserError(`${path}: cannot be written: ${(error as Error).message}`);
  }
}
