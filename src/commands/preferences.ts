// deno task preferences: pairs of a better and a worse answer, made of a model's own samples by rules.

import { type Conversation, type Entry, readEntries } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import type { Generated } from "../generation/mod.ts";
import { mixedSeed } from "../random.ts";
import {
  type FormatName,
  formatNames,
  formats,
  intentOf,
  renderPrompt,
  tokenOfIntent,
} from "../tokenizer/mod.ts";
import { Judge, recipes, type RewardWeights, sampleAnswers, scoreOf } from "../training/mod.ts";
import { onInterrupt } from "./interrupt.ts";
import { type LoadedModel, loadModel, MODEL_OPTIONS } from "./model_options.ts";
import {
  type CommandSpecification,
  invocation,
  type OptionTable,
  parseOptions,
  type Values,
} from "./options.ts";
import { parseRewards, parseWords, REWARD_OPTIONS } from "./preference_options.ts";
import { Progress, streamOutput } from "./progress.ts";

const usual = recipes.grpo;

export const command = {
  name: "preferences",
  summary: "make pairs of a better and a worse answer from a model's own samples",
  options: {
    data: {
      type: "strings",
      placeholder: "FILE",
      help: "questions, with their answers; may come several times",
    },
    out: { type: "string", placeholder: "FILE", help: "the pairs, JSON lines for train" },
    ...MODEL_OPTIONS,
    samples: {
      type: "integer",
      minimum: 2,
      maximum: 256,
      default: 8,
      help: "answers sampled to each question, of which the best and the worst make a pair",
    },
    temperature: {
      type: "number",
      minimum: 0,
      maximum: 10,
      above: true,
      default: 1,
      help: "how freely answers are sampled",
    },
    ...REWARD_OPTIONS,
    margin: {
      type: "number",
      minimum: 0,
      above: true,
      default: 0.5,
      help: "least difference of two answers' worth that makes a pair",
    },
    "own-answers": {
      type: "boolean",
      help: "let the data's own answer stand among the samples",
    },
    format: {
      type: "string",
      placeholder: "NAME",
      choices: formatNames,
      help: "how conversations are spelled; as the model was trained if not given",
    },
    questions: {
      type: "integer",
      minimum: 1,
      help: "only so many questions, evenly spread over the data",
    },
    seed: {
      type: "integer",
      minimum: 0,
      maximum: 2 ** 32 - 1,
      default: 0,
      help: "another seed, other samples",
    },
    "skip-bad-lines": { type: "boolean", help: "leave bad lines out instead of stopping" },
    json: { type: "boolean", help: "print the summary as JSON" },
  },
} satisfies CommandSpecification<OptionTable>;

type Options = Values<typeof command.options>;

/** Questions whose samples are written side by side. */
const TOGETHER = 8;

/** A line for train. */
interface Pair {
  readonly messages?: Conversation["messages"];
  readonly prompt?: string;
  readonly chosen: string;
  readonly rejected: string;
  readonly intent?: string;
  readonly category?: string;
  /** What each answer takes the question for, where the model has tokens to say so. */
  readonly chosen_intent?: string;
  readonly rejected_intent?: string;
  /** The rejected answer did not end by itself. */
  readonly rejected_open?: true;
  readonly chosen_score: number;
  readonly rejected_score: number;
}

/** An answer that may become half of a pair. */
interface Candidate {
  readonly text: string;
  readonly intent: string | undefined;
  readonly score: number;
  /** Whether the model said that it ends here. */
  readonly ended: boolean;
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const { out } = options;
  if (options.data.length === 0) throw new UserError("preferences needs questions: --data FILE");
  if (out === undefined) throw new UserError("preferences needs a file to write: --out FILE");
  const { entries } = readEntries(options.data, { skipBadLines: options["skip-bad-lines"] });
  const questions = spread(entries.filter(isQuestion), options.questions ?? Infinity);
  if (questions.length === 0) {
    throw new UserError(`${options.data.join(", ")}: holds no question with an answer`);
  }
  const rewards = options.rewards === undefined ? usual.rewards : parseRewards(options.rewards);
  const range = options["answer-words"];
  const judge = new Judge(entries, range === undefined ? usual.answerWords : parseWords(range));
  using file = create(out);
  const loaded = await loadModel(options);
  const stop = new AbortController();
  const release = onInterrupt(() => stop.abort());
  try {
    const made = await makePairs(questions, { loaded, options, rewards, judge }, {
      onPair: (pair) => writeLine(file, pair),
      signal: stop.signal,
    });
    const summary = { out, ...made };
    if (options.json) console.log(JSON.stringify(summary));
    else {
      console.log(
        `${made.pairs} pairs of ${made.questions} questions in ${out}; mean worth of a sample ` +
          `${made.mean_score.toFixed(3)}, of the chosen ${made.chosen_score.toFixed(3)}, of the ` +
          `rejected ${made.rejected_score.toFixed(3)}. Learn from them with ${
            invocation("train")
          } --init ${loaded.directory} --data ${out} --preference dpo`,
      );
    }
    return stop.signal.aborted ? 130 : 0;
  } finally {
    release();
    loaded.runtime.close();
  }
}

/** A conversation that ends in an answer to a user. */
function isQuestion(entry: Entry): entry is Conversation {
  return entry.kind === "conversation" && entry.messages.at(-1)?.role === "assistant" &&
    entry.messages.at(-2)?.role === "user";
}

function spread<T>(items: readonly T[], count: number): T[] {
  const every = Math.max(1, items.length / count);
  return Array.from(
    { length: Math.min(count, items.length) },
    (_, i) => items[Math.floor(i * every)]!,
  );
}

/** @throws UserError when the file is there already or cannot be written */
function create(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { createNew: true, write: true });
  } catch (error) {
    throw new UserError(
      error instanceof Deno.errors.AlreadyExists
        ? `--out ${path}: is there already; choose another`
        : `--out ${path}: cannot be written: ${(error as Error).message}`,
    );
  }
}

function writeLine(file: Deno.FsFile, pair: Pair): void {
  const bytes = new TextEncoder().encode(JSON.stringify(pair) + "\n");
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}

interface Setting {
  readonly loaded: LoadedModel;
  readonly options: Options;
  readonly rewards: RewardWeights;
  readonly judge: Judge;
}

/** Samples answers to questions in turn, and tells of every pair that they make. */
async function makePairs(
  questions: readonly Conversation[],
  setting: Setting,
  { onPair, signal }: { onPair: (pair: Pair) => void; signal: AbortSignal },
) {
  const progress = new Progress(questions.length, streamOutput(Deno.stderr));
  const sums = { pairs: 0, samples: 0, score: 0, chosen: 0, rejected: 0 };
  let done = 0;
  while (done < questions.length && !signal.aborted) {
    const some = questions.slice(done, done + TOGETHER);
    const samples = await sample(some, done, setting, signal);
    if (signal.aborted) break;
    some.forEach((question, i) => {
      const candidates = samples[i]!.map((answer) => candidateOf(question, answer, setting));
      sums.samples += candidates.length;
      sums.score += candidates.reduce((sum, { score }) => sum + score, 0);
      const own = setting.options["own-answers"] ? [ownAnswer(question, setting)] : [];
      // What is chosen is learned to its end, so it must have one; and a pair needs words.
      const spoken = candidates.filter(({ text }) => text !== "");
      const chosen = [...own, ...spoken].filter(({ ended }) => ended);
      if (chosen.length === 0 || spoken.length === 0) return;
      const best = chosen.reduce((a, b) => b.score > a.score ? b : a);
      const worst = spoken.reduce((a, b) => b.score < a.score ? b : a);
      if (!(best.score - worst.score >= setting.options.margin)) return;
      sums.pairs++;
      sums.chosen += best.score;
      sums.rejected += worst.score;
      onPair(pairOf(question, best, worst));
    });
    done += some.length;
    progress.update(done, [`${sums.pairs} pairs`]);
  }
  progress.clear();
  return {
    questions: done,
    pairs: sums.pairs,
    mean_score: sums.score / Math.max(1, sums.samples),
    chosen_score: sums.chosen / Math.max(1, sums.pairs),
    rejected_score: sums.rejected / Math.max(1, sums.pairs),
  };
}

/** Several answers to each question, unfiltered. */
async function sample(
  questions: readonly Conversation[],
  first: number,
  { loaded: { model, metadata, tokenizer }, options }: Setting,
  signal: AbortSignal,
): Promise<Generated[][]> {
  const format = (options.format ?? metadata.format) as FormatName;
  const { n_positions } = model.configuration;
  const maxTokens = Math.min(options["answer-tokens"] ?? usual.answerTokens, n_positions - 1);
  const requests = questions.flatMap(({ messages }, question) => {
    // A question that is too long loses its beginning.
    const prompt = tokenizer.encode(renderPrompt(formats[format], messages.slice(0, -1)))
      .slice(maxTokens - n_positions);
    return Array.from({ length: options.samples }, (_, i) => ({
      prompt,
      format,
      seed: mixedSeed(options.seed, first + question, i),
    }));
  });
  const { temperature, samples } = options;
  const said = await sampleAnswers(model, tokenizer, requests, { temperature, maxTokens, signal });
  const answers = said.filter((answer) => answer !== undefined);
  return questions.map((_, i) => answers.slice(i * samples, (i + 1) * samples));
}

function candidateOf(
  question: Conversation,
  answer: Generated,
  { loaded: { tokenizer }, rewards, judge }: Setting,
): Candidate {
  const { total } = scoreOf({ answer, question, judge }, rewards);
  const intent = intentOf(tokenizer, answer.tokens[0]);
  const ended = answer.ending === "end-of-text";
  return { text: answer.text, intent, score: total, ended };
}

/** The data's answer, as if the model had given it. */
function ownAnswer(question: Conversation, setting: Setting): Candidate {
  const { tokenizer } = setting.loaded, { intent } = question;
  const text = question.messages.at(-1)!.content;
  const named = tokenOfIntent(tokenizer, intent);
  const tokens = [...named === undefined ? [] : [named], ...tokenizer.encode(` ${text}`)];
  const answer: Generated = { text, tokens, ending: "end-of-text", removals: [] };
  return candidateOf(question, answer, setting);
}

function pairOf(question: Conversation, best: Candidate, worst: Candidate): Pair {
  const asked = question.messages.slice(0, -1);
  return {
    ...asked.length === 1 ? { prompt: asked[0]!.content } : { messages: asked },
    chosen: best.text,
    rejected: worst.text,
    ...question.intent === undefined ? {} : { intent: question.intent },
    ...question.category === undefined ? {} : { category: question.category },
    ...best.intent === undefined ? {} : { chosen_intent: best.intent },
    ...worst.intent === undefined ? {} : { rejected_intent: worst.intent },
    ...worst.ended ? {} : { rejected_open: true },
    chosen_score: best.score,
    rejected_score: worst.score,
  };
}
