// deno task compare: trains several recipes or settings on the same data and seeds, in turn, and compares them.

import { readTraining } from "../checkpoint/mod.ts";
import { type Conversation, type Entry, makeExamples, readEntries } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import {
  acceptedAnswers,
  answerAll,
  answerOf,
  evaluateLoss,
  hasStopped,
  isRight,
  mean,
  sequenceRepetition,
  shareRight,
  splitKnown,
} from "../evaluation/mod.ts";
import { formats } from "../tokenizer/mod.ts";
import { checkState, type EpochEvent, learnsFromPairs } from "../training/mod.ts";
import { dataPath } from "./bundled.ts";
import { unsureOption } from "./decoding_options.ts";
import { onInterrupt } from "./interrupt.ts";
import { loadModel, threadsOption } from "./model_options.ts";
import {
  type CommandSpecification,
  type OptionTable,
  parseOptions,
  type Values,
} from "./options.ts";
import { htmlPage, htmlTable, lineChart, onWhite, section } from "./report.ts";
import { perform, planRun } from "./train.ts";
import { type Reporter, terminalReporter } from "./train_report.ts";

export const command = {
  name: "compare",
  summary: "train several recipes on the same data and seeds, and compare them",
  options: {
    run: {
      type: "strings",
      placeholder: "NAME=FLAGS",
      help:
        'flags of train, as in "ours=--recipe conversations --dropout 0"; may come several times',
    },
    common: {
      type: "string",
      placeholder: "FLAGS",
      help: "flags of train for every run, which its own override",
    },
    seeds: { type: "string", placeholder: "LIST", default: "1,2,3", help: "seeds of every run" },
    test: {
      type: "strings",
      placeholder: "FILE",
      help: "data that no run learns from, to judge by",
    },
    out: {
      type: "string",
      placeholder: "DIR",
      default: "weights/compare",
      help: "where the runs go; those that are done already are not trained again",
    },
    report: {
      type: "string",
      placeholder: "FILE",
      help: "write a page of HTML with charts, or one chart where FILE ends in .svg",
    },
    threads: threadsOption,
    json: { type: "boolean", help: "print JSON" },
  },
} satisfies CommandSpecification<OptionTable>;

/** The original experiment's four recipes and ours on the same conversations, in a size that a comparison can afford. */
const EXAMPLE = {
  common: `--data ${dataPath("conversations.jsonl")} --validation 0.2 --model tiny ` +
    "--vocabulary corpus --formats human-assistant,q-a --augment on --epochs 10 --batch-size 16 " +
    "--max-tokens 128 --sample-every 0 --stop-on never",
  runs: ["basic", "enhanced", "improved", "final", "conversations"]
    .map((name) => `${name}=--recipe ${name}`),
};

/** Questions of the training data that are asked again, to see whether answers are recited. */
const RECITED = 100;

/** What one run came to. */
interface Outcome {
  readonly name: string;
  readonly seed: number;
  readonly flags: string;
  readonly training_loss: number;
  readonly validation_loss: number | null;
  readonly test_loss: number | null;
  /** Validation loss less training loss, on the same footing. */
  readonly gap: number | null;
  /** Share of right answers to test questions whose data say what they want to know. */
  readonly accuracy: number | null;
  /** Share of test questions that nobody is to answer to which the model says so. */
  readonly honesty: number | null;
  /** Share of training answers that are given word for word. */
  readonly memorised: number;
  readonly repetition: number;
  readonly stopped: number;
  readonly seconds: number;
  readonly losses:
    readonly (readonly [epoch: number, training: number, validation: number | null])[];
}

type Options = Values<typeof command.options>;

/** Splits flags at white space; quotes keep it. */
function splitFlags(text: string): string[] {
  return [...text.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);
}

function parseRuns(given: readonly string[]): { name: string; flags: string }[] {
  return given.map((entry) => {
    const at = entry.indexOf("=");
    const name = entry.slice(0, at);
    if (at > 0 && /^[\w.-]+$/.test(name)) return { name, flags: entry.slice(at + 1) };
    throw new UserError(
      `--run must be NAME=FLAGS with a name of letters, digits, dots and dashes, got ${entry}`,
    );
  });
}

function parseSeeds(list: string): number[] {
  const seeds = list.split(",").map(Number);
  if (seeds.every((seed) => Number.isInteger(seed) && seed >= 0)) return seeds;
  throw new UserError(`--seeds must be whole numbers between commas, got ${list}`);
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const isExample = options.run.length === 0;
  const runs = parseRuns(isExample ? EXAMPLE.runs : options.run);
  const common = [isExample ? EXAMPLE.common : "", options.common ?? ""].join(" ");
  const seeds = parseSeeds(options.seeds);
  const stop = new AbortController();
  const release = onInterrupt(() => stop.abort());
  const outcomes: Outcome[] = [];
  for (const { name, flags } of runs) {
    for (const seed of seeds) {
      if (stop.signal.aborted) break;
      // What stands last counts.
      const all = `${common} ${flags} --seed ${seed}`;
      const outcome = await outcomeOf({ name, flags: all, seed }, options, stop.signal);
      if (outcome !== null) outcomes.push(outcome);
    }
  }
  release();
  if (options.json) console.log(JSON.stringify(outcomes, null, 2));
  else for (const line of table(outcomes)) console.log(line);
  if (options.report !== undefined) writeReport(options.report, outcomes);
  return stop.signal.aborted ? 130 : 0;
}

function readOutcome(path: string, flags: string): Outcome | null {
  try {
    const outcome: Outcome = JSON.parse(Deno.readTextFileSync(path));
    if (outcome.flags === flags) return outcome;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw new UserError(`${path}: cannot be read; remove it to train the run again`);
  }
  throw new UserError(`${path}: was made with other flags; choose another --out`);
}

/** Trains one run, or goes on with it, and measures it; null when interrupted. */
async function outcomeOf(
  { name, flags, seed }: { name: string; flags: string; seed: number },
  options: Options,
  signal: AbortSignal,
): Promise<Outcome | null> {
  const directory = `${options.out}/${name}-${seed}`, file = `${directory}/outcome.json`;
  const known = readOutcome(file, flags);
  if (known !== null) return known;
  if (!isTrained(directory)) await trainRun(directory, flags, options, signal);
  if (signal.aborted) return null;
  const { state, history } = readTraining(`${directory}/last`);
  const { data, progress, recipe } = checkState(state, directory);
  const epochs: EpochEvent[] = history.trim().split("\n").map((line) => JSON.parse(line))
    .filter(({ event }) => event === "epoch");
  const { learned_loss, validation_loss } = epochs.at(-1)!;
  const reading = { skipBadLines: true, pairs: learnsFromPairs(recipe) };
  const training = readEntries(data, reading).entries;
  const judged = await judge(directory, training, options, signal);
  if (judged === null) return null;
  const outcome: Outcome = {
    ...{ name, seed, flags },
    training_loss: learned_loss,
    validation_loss,
    gap: validation_loss === null ? null : validation_loss - learned_loss,
    ...judged,
    seconds: progress.seconds,
    losses: epochs.map((e) => [e.epoch, e.learned_loss, e.validation_loss] as const),
  };
  Deno.writeTextFileSync(file, JSON.stringify(outcome, null, 2) + "\n");
  return outcome;
}

/** Whether a run is done, though perhaps not yet measured. */
function isTrained(directory: string): boolean {
  if (!exists(`${directory}/last`)) return false;
  return checkState(readTraining(`${directory}/last`).state, directory).progress.finished !== null;
}

/**
 * Trains a run, or goes on with it. Each epoch is saved, so that a run that is killed loses one at most. `best`, which is
 * saved before `last`, may stand alone then: nothing goes on from it.
 */
async function trainRun(
  directory: string,
  flags: string,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const begun = exists(`${directory}/last`);
  if (!begun && exists(`${directory}/best`)) {
    Deno.removeSync(`${directory}/best`, { recursive: true });
  }
  const planned = planRun(
    begun
      ? ["--resume", directory]
      : ["--save-every", "1", ...splitFlags(flags), "--out", directory],
  );
  const shown = options.json ? null : terminalReporter();
  const report: Reporter = {
    start: (run) => shown?.start(run),
    event: (event) => shown?.event(event),
    interrupted: () => {},
  };
  await perform(planned, { threads: options.threads, report, signal });
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** What a finished run's model says about test and training questions. */
async function judge(
  directory: string,
  training: readonly Entry[],
  options: Options,
  signal: AbortSignal,
) {
  const loaded = await loadModel({ weights: directory, threads: options.threads });
  const { model, runtime, metadata, tokenizer } = loaded;
  try {
    const format = formats[metadata.format];
    const asking = { model, tokenizer, format, unsure: unsureOption(undefined, loaded), signal };
    const isPair = (entry: unknown): entry is Conversation =>
      (entry as Conversation).kind === "conversation" &&
      (entry as Conversation).messages[0]?.role === "user";
    const questions = (some: readonly Conversation[]) => some.map(({ messages }) => [messages[0]!]);
    const trained = training.filter(isPair);
    const every = Math.max(1, Math.ceil(trained.length / RECITED));
    const again = trained.filter((_, i) => i % every === 0);
    const recited = await answerAll(questions(again), asking);
    const test = options.test.length === 0 ? [] : readEntries(options.test).entries;
    const asked = test.filter(isPair);
    const answers = asked.length === 0 ? recited : await answerAll(questions(asked), asking);
    if (signal.aborted) return null;
    const accepted = acceptedAnswers([...training, ...test]);
    const judged = asked.flatMap(({ intent }, i) =>
      intent === undefined ? [] : [{ intent, right: isRight(accepted, intent, answers[i]!.text) }]
    );
    const { known, unknown } = splitKnown(judged);
    const { examples } = makeExamples(test, [...test.keys()], tokenizer, {
      formats: [{ name: metadata.format }],
      maxTokens: model.configuration.n_positions,
      endOfText: true,
      promptLossWeight: 0,
      augment: false,
    });
    return {
      test_loss: examples.length === 0 ? null : evaluateLoss(model, examples).cross_entropy,
      accuracy: shareRight(known),
      honesty: shareRight(unknown),
      memorised: mean(again.map((entry, i) => Number(recited[i]!.text === answerOf(entry)))),
      repetition: sequenceRepetition(answers.map(({ text }) => text)),
      stopped: mean(answers.map((answer) => Number(hasStopped(answer)))),
    };
  } finally {
    runtime.close();
  }
}

const COLUMNS = [
  ["training loss", "training_loss", 1, 3],
  ["validation", "validation_loss", 1, 3],
  ["test", "test_loss", 1, 3],
  ["gap", "gap", 1, 3],
  ["right, %", "accuracy", 100, 1],
  ["declined, %", "honesty", 100, 1],
  ["recited, %", "memorised", 100, 1],
  ["repetition, %", "repetition", 100, 1],
  ["stopped, %", "stopped", 100, 1],
  ["seconds", "seconds", 1, 0],
] as const;

/** A row a run: the mean over seeds, and the standard deviation behind "±". */
function rowsOf(outcomes: readonly Outcome[]): string[][] {
  return [...Map.groupBy(outcomes, ({ name }) => name)].map(([name, some]) => [
    name,
    ...COLUMNS.map(([, field, factor, digits]) => {
      const values = some.map((outcome) => outcome[field]).filter((value) => value !== null);
      if (values.length === 0) return "-";
      const average = mean(values);
      const spread = Math.sqrt(mean(values.map((value) => (value - average) ** 2)));
      const written = (factor * average).toFixed(digits);
      return values.length === 1 ? written : `${written} ±${(factor * spread).toFixed(digits)}`;
    }),
  ]);
}

const HEAD = ["run", ...COLUMNS.map(([title]) => title)];

function table(outcomes: readonly Outcome[]): string[] {
  const rows = [HEAD, ...rowsOf(outcomes)];
  const widths = HEAD.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd());
}

function writeReport(path: string, outcomes: readonly Outcome[]): void {
  const firsts = [...Map.groupBy(outcomes, ({ name }) => name).values()].map((some) => some[0]!);
  const chart = (title: string, column: 1 | 2) =>
    lineChart(
      title,
      "epoch",
      "nats a token",
      firsts.map(({ name, losses }) => ({
        name,
        points: losses.flatMap((loss) =>
          loss[column] === null ? [] : [[loss[0], loss[column]] as const]
        ),
      })),
    );
  const sections = [
    section(
      "Figures",
      `<p class="note">Mean and standard deviation over seeds. Losses are cross-entropies without ` +
        `dropout or label smoothing; the gap is validation less training.</p>`,
      htmlTable(HEAD, rowsOf(outcomes)),
    ),
    section("Validation loss", chart("Validation loss by epoch, first seed", 2)),
    section("Training loss", chart("Training loss by epoch, first seed", 1)),
    section(
      "Flags",
      htmlTable(["run", "seed", "flags"], outcomes.map((o) => [o.name, o.seed, o.flags])),
    ),
  ];
  const isPicture = path.endsWith(".svg");
  const picture = () => onWhite(chart("Validation loss by epoch, first seed", 2));
  try {
    Deno.writeTextFileSync(
      path,
      isPicture ? picture() : htmlPage("Comparison of runs", sections),
    );
  } catch (error) {
    throw new UserError(`${path}: cannot be written: ${(error as Error).message}`);
  }
}
