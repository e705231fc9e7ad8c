// deno task eval: how well a checkpoint predicts data, what it answers, and whether that is right.

import { type Conversation, type Entry, makeExamples, readEntries, UNKNOWN } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import {
  acceptedAnswers,
  answerAll,
  answerOf,
  bestThreshold,
  copiedFrom,
  evaluateLoss,
  figuresAt,
  isRight,
  nearestQuestion,
  PROBE_TEMPERATURES,
  PROBES,
  shareRight,
  splitKnown,
  type TextFigures,
  textFigures,
  type Tried,
} from "../evaluation/mod.ts";
import { DO_NOT_KNOW, type Generated } from "../generation/mod.ts";
import { type FormatName, formatNames, formats, type Message } from "../tokenizer/mod.ts";
import { bundledData } from "./bundled.ts";
import { FILTER_OPTIONS, unsureOption } from "./decoding_options.ts";
import { table, writeReport } from "./eval_report.ts";
import { onInterrupt } from "./interrupt.ts";
import { type LoadedModel, loadModel, MODEL_OPTIONS, PRECISION_OPTION } from "./model_options.ts";
import {
  type CommandSpecification,
  type OptionTable,
  parseOptions,
  type Values,
} from "./options.ts";
import { Progress, streamOutput } from "./progress.ts";

export const command = {
  name: "eval",
  summary: "measure a model on data: loss, answers, accuracy",
  options: {
    data: { type: "strings", placeholder: "FILE", help: "data to measure; may come several times" },
    training: {
      type: "strings",
      placeholder: "FILE",
      help: "data that the model learned from, to tell what it copies, and for the baseline; " +
        "those of its recipe if not given",
    },
    ...MODEL_OPTIONS,
    precision: { ...PRECISION_OPTION.precision, default: "f32" },
    format: {
      type: "string",
      placeholder: "NAME",
      choices: formatNames,
      help: "how conversations are spelled; as the model was trained if not given",
    },
    unsure: FILTER_OPTIONS.unsure,
    "answers-only": { type: "boolean", help: "count only what the assistant says" },
    "no-answers": { type: "boolean", help: "only the loss; nothing is generated" },
    "skip-bad-lines": { type: "boolean", help: "leave bad lines out instead of stopping" },
    report: { type: "string", placeholder: "FILE", help: "write a page of HTML with charts" },
    wrong: { type: "boolean", help: "list the questions that were answered wrongly" },
    json: { type: "boolean", help: "print JSON" },
  },
  positional: "FILE ...",
} satisfies CommandSpecification<OptionTable>;

type Options = Values<typeof command.options> & { positional: string[] };

/** A question with its answer. */
interface Answered {
  readonly question: string;
  readonly expected: string;
  readonly answer: string;
  readonly intent: string | undefined;
  readonly category: string | undefined;
  /** null where the data do not say what the question wants to know. */
  readonly right: boolean | null;
  /** How probable the model held its answer. */
  readonly sure: number;
}

/** A prompt of the built-in tests. */
interface Probe {
  readonly topic: string;
  readonly format: FormatName;
  readonly temperature: number;
  readonly prompt: string;
  readonly answer: string;
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const files = [...options.data, ...options.positional];
  if (files.length === 0) throw new UserError("eval needs data: --data FILE");
  const { entries } = readEntries(files, { skipBadLines: options["skip-bad-lines"] });
  const loaded = await loadModel(options);
  const stop = new AbortController();
  const release = onInterrupt(() => stop.abort());
  try {
    const result = await measure(entries, loaded, options, stop.signal);
    if (stop.signal.aborted) return 130;
    if (options.json) console.log(JSON.stringify(result, null, 2));
    else for (const line of table(result, options.wrong)) console.log(line);
    if (options.report !== undefined) writeReport(options.report, result);
    return 0;
  } finally {
    release();
    loaded.runtime.close();
  }
}

function trainingEntries(options: Options, { metadata }: LoadedModel): Entry[] | null {
  const files = options.training.length > 0 ? options.training : bundledData(metadata.recipe);
  return files === null ? null : readEntries(files).entries;
}

/** What eval finds. */
export type Result = Awaited<ReturnType<typeof measure>>;

async function measure(
  entries: readonly Entry[],
  loaded: LoadedModel,
  options: Options,
  signal: AbortSignal,
) {
  const { model, metadata, directory, tokenizer } = loaded;
  const progress = new Progress(1, streamOutput(Deno.stderr));
  const show = (what: string) => (done: number, of: number) => {
    if (progress.output.isTerminal) progress.update(done / of, [`${what} ${done}/${of}`]);
  };
  const formatName = (options.format ?? metadata.format) as FormatName;
  const lossOf = (chosen: readonly Entry[]) => {
    const { examples, truncated } = makeExamples(chosen, [...chosen.keys()], tokenizer, {
      formats: [{ name: formatName }],
      maxTokens: model.configuration.n_positions,
      endOfText: true,
      promptLossWeight: options["answers-only"] ? 0 : 1,
      augment: false,
    });
    if (examples.length === 0) throw new UserError("the data hold no token to predict");
    const figures = evaluateLoss(model, examples, show("loss"));
    const bytes = examples.reduce((sum, { tokens, weights }) => {
      const counted = tokens.filter((_, i) => i > 0 && weights[i]! > 0);
      return sum + tokenizer.decodeBytes(counted).length;
    }, 0);
    const bits_per_byte = figures.cross_entropy * figures.tokens / Math.LN2 / Math.max(1, bytes);
    return { texts: examples.length, truncated, ...figures, bits_per_byte };
  };
  const loss = lossOf(entries);
  const groups = Map.groupBy(entries, ({ category }) => category);
  const categories = groups.size < 2 ? [] : [...groups].map(([category, group]) => ({
    category: category ?? "(none)",
    ...lossOf(group),
  }));
  const base = { weights: directory, ...loss, categories };
  if (options["no-answers"]) {
    progress.clear();
    return { ...base, questions: null, probes: null };
  }
  const training = trainingEntries(options, loaded);
  const isCopied = training === null ? null : copiedFrom(training.flatMap(textsOf));
  const setting = { model, tokenizer, signal, unsure: unsureOption(options.unsure, loaded) };
  const questions = await answerQuestions(entries, training, isCopied, {
    ...setting,
    format: formats[formatName],
    onAnswer: show("answers"),
  });
  const probes = await answerProbes(formatName, isCopied, { ...setting, onAnswer: show("tests") });
  progress.clear();
  return { ...base, questions, probes };
}

/** What thresholds make of the answers. */
export type Thresholds = NonNullable<ReturnType<typeof thresholdsOf>>;

type Asking = Parameters<typeof answerAll>[1];

/** Answers every conversation's last question, and judges the answers where the data allow it. */
async function answerQuestions(
  entries: readonly Entry[],
  training: readonly Entry[] | null,
  isCopied: ((text: string) => boolean) | null,
  asking: Asking,
) {
  const conversations = entries.filter((entry): entry is Conversation =>
    entry.kind === "conversation" && entry.messages.some(({ role }) => role === "user")
  );
  if (conversations.length === 0) return null;
  const prompts = conversations.map(({ messages }) =>
    messages.slice(0, messages.findLastIndex(({ role }) => role === "user") + 1)
  );
  // However unsure the model is: what thresholds make of its answers is seen afterwards.
  const unsure = asking.unsure ?? { probability: 0, answer: DO_NOT_KNOW, intents: [] };
  const { probability, answer: doNotKnow } = unsure;
  const tried = await answerAll(prompts, {
    ...asking,
    unsure: { ...unsure, probability: 0 },
  });
  if (asking.signal?.aborted) return null;
  const accepted = acceptedAnswers([...training ?? [], ...entries]);
  const judge = (i: number, text: string) => {
    const { intent } = conversations[i]!;
    return intent === undefined ? null : isRight(accepted, intent, text);
  };
  const generated = tried.map((answer): Generated =>
    answer.sure! < probability ? { ...answer, text: doNotKnow, ending: "unsure" } : answer
  );
  const tries = tried.map(({ text }, i) => judge(i, text));
  const answered = generated.map(({ text }, i): Answered => ({
    question: prompts[i]!.at(-1)!.content,
    expected: answerOf(conversations[i]!),
    answer: text,
    intent: conversations[i]!.intent,
    category: conversations[i]!.category,
    right: text === tried[i]!.text ? tries[i]! : judge(i, text),
    sure: tried[i]!.sure!,
  }));
  const baseline = training === null ? null : nearestQuestion(training);
  return {
    ...textFigures(generated, isCopied),
    accuracy: accuracyOf(answered),
    thresholds: thresholdsOf(tried.flatMap(({ text, sure }, i): Tried[] => {
      const right = tries[i]!, known = conversations[i]!.intent !== UNKNOWN;
      return right === null ? [] : [{ known, right, declined: text === doNotKnow, sure: sure! }];
    })),
    baseline: baseline === null ? null : accuracyOf(answered.map((a, i) => ({
      ...a,
      right: judge(i, baseline(a.question)),
    }))),
    answered,
  };
}

/** What other thresholds make of the answers, and the best one; null where nothing tells which is good. */
function thresholdsOf(tried: readonly Tried[]) {
  if (!tried.some(({ known }) => known) || tried.every(({ known }) => known)) return null;
  const some = Array.from({ length: 10 }, (_, i) => figuresAt(tried, i / 10));
  return { some, best: bestThreshold(tried) };
}

/** Shares of right answers: to questions that the model should know, and to those that it should not. */
function accuracyOf(answered: readonly Answered[]) {
  const judged = answered.filter(({ right }) => right !== null);
  if (judged.length === 0) return null;
  const { known, unknown } = splitKnown(judged);
  const categories = Map.groupBy(known, ({ category }) => category ?? "(none)");
  return {
    known_questions: known.length,
    known: shareRight(known),
    unknown_questions: unknown.length,
    unknown: shareRight(unknown),
    categories: Object.fromEntries([...categories].map(([name, some]) => [name, shareRight(some)])),
  };
}

/** The built-in tests, in the checkpoint's format and another one. */
async function answerProbes(
  format: FormatName,
  isCopied: ((text: string) => boolean) | null,
  asking: Omit<Asking, "format">,
) {
  const spelled = [format, format === "q-a" ? "human-assistant" : "q-a"] as const;
  const answers: Probe[] = [], figures: (TextFigures & { temperature: number })[] = [];
  const asked = Object.entries(PROBES).flatMap(([topic, prompts]) =>
    prompts.map((prompt) => ({ topic, prompt }))
  );
  for (const temperature of PROBE_TEMPERATURES) {
    const all: Generated[] = [];
    for (const name of spelled) {
      const prompts = asked.map(({ prompt }): Message[] => [{ role: "user", content: prompt }]);
      const said = await answerAll(prompts, {
        ...asking,
        format: formats[name],
        decoding: { temperature, seed: 1 },
      });
      if (asking.signal?.aborted) return null;
      all.push(...said);
      said.forEach(({ text }, i) => {
        answers.push({ ...asked[i]!, format: name, temperature, answer: text });
      });
    }
    figures.push({ temperature, ...textFigures(all, isCopied) });
  }
  return { figures, answers };
}

function textsOf(entry: Entry): string[] {
  if (entry.kind === "text") return [entry.text];
  return entry.messages.filter(({ role }) => role === "assistant").map(({ content }) => content);
}
