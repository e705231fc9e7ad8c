// Learning from rewards (GRPO): each step samples several answers to each of its questions, and makes those likelier that
// are better than the others to the same question.

import { collate, type Conversation, type Example, type RaggedBatch } from "../../data/mod.ts";
import { UserError } from "../../errors.ts";
import type { Generated } from "../../generation/mod.ts";
import type { Weighed } from "../../model/mod.ts";
import { mixedSeed } from "../../random.ts";
import { type FormatName, formats, renderPrompt } from "../../tokenizer/mod.ts";
import { answerLoss, groupAdvantages } from "../objectives/grpo.ts";
import type {
  Lesson,
  PreferenceFigures,
  PreferenceLearning,
  PreferenceSetting,
} from "./setting.ts";
import { Judge, type Score, scoreOf } from "../rewards/mod.ts";
import { sampleAnswers } from "./samples.ts";

/** Keeps the seeds of answers apart from those of data order and dropout. */
const ANSWER_SEED = 0x67727030;

/** A question as it is put to the model. */
interface Question {
  readonly conversation: Conversation;
  readonly format: FormatName;
  readonly prompt: readonly number[];
}

/** A sampled answer with what it is worth. */
interface Answer {
  readonly question: Question;
  readonly generated: Generated;
  readonly score: Score;
}

/** What an answer came to. */
export interface Learned {
  readonly loss: number;
  readonly divergence: number;
  readonly tokens: number;
}

export class RewardLearning implements PreferenceLearning {
  readonly #setting: PreferenceSetting;
  readonly #judge: Judge;
  readonly #questions: ReadonlyMap<Example, Question>;
  #answers: Answer[] = [];
  #learned: Learned[] = [];

  /** @throws UserError for data that are no questions, or too long to be answered */
  constructor(setting: PreferenceSetting) {
    const { corpus, recipe } = setting;
    this.#setting = setting;
    this.#judge = new Judge(corpus.entries, recipe.answerWords);
    this.#questions = new Map(corpus.training.map((example) => [example, this.#ask(example)]));
  }

  #ask(example: Example): Question {
    const { model, tokenizer, corpus, recipe } = this.#setting;
    const entry = corpus.entries[example.entry]!;
    const { format } = example;
    const room = model.configuration.n_positions - recipe.answerTokens;
    if (entry.kind !== "conversation" || format === null) {
      throw new UserError(`${entry.source}: is plain text; --preference grpo needs questions`);
    }
    const last = entry.messages.findLastIndex(({ role }) => role === "user");
    const asked = entry.messages.slice(0, last + 1);
    const prompt = tokenizer.encode(renderPrompt(formats[format], asked));
    if (last >= 0 && prompt.length <= room) return { conversation: entry, format, prompt };
    throw new UserError(
      last < 0
        ? `${entry.source}: has no user's turn; --preference grpo needs questions`
        : `${entry.source}: leaves no room for an answer: ${prompt.length} tokens, and ` +
          `${recipe.answerTokens} of --answer-tokens, exceed the model's context`,
    );
  }

  async prepare(microBatches: readonly (readonly Example[])[], step: number): Promise<Lesson[]> {
    this.#answers = [];
    this.#learned = [];
    const lessons: Lesson[] = [];
    for (const [microStep, examples] of microBatches.entries()) {
      lessons.push(await this.#lesson(examples, step, microStep));
    }
    return lessons;
  }

  /** Samples answers to questions, side by side in one cache, and judges them. */
  async #lesson(examples: readonly Example[], step: number, microStep: number): Promise<Lesson> {
    const { model, tokenizer, recipe } = this.#setting;
    const questions = examples.flatMap((example) =>
      Array<Question>(recipe.groupSize).fill(this.#questions.get(example)!)
    );
    const requests = questions.map(({ prompt, format }, i) => ({
      prompt,
      format,
      seed: mixedSeed(recipe.seed, ANSWER_SEED, step, microStep, i),
    }));
    const said = await sampleAnswers(model, tokenizer, requests, {
      temperature: recipe.rolloutTemperature,
      maxTokens: recipe.answerTokens,
    });
    const answers = questions.map((question, i): Answer => {
      const generated = said[i]!;
      const { conversation } = question;
      const attempt = { answer: generated, question: conversation, judge: this.#judge };
      return { question, generated, score: scoreOf(attempt, recipe.rewards) };
    });
    this.#answers.push(...answers);
    const advantages = groupAdvantages(answers.map(({ score }) => score.total), recipe.groupSize);
    const batch = this.#batchOf(answers);
    const reference = this.#setting.reference?.logProbabilities(batch) ?? null;
    return {
      batch,
      terms: answers.length,
      objective: (logProbabilities) => {
        const { weighed, learned } = weighAnswers(batch, logProbabilities, reference, {
          advantages,
          beta: recipe.beta,
        });
        this.#learned.push(...learned);
        return weighed;
      },
    };
  }

  /** Questions with their answers as sequences, of which the answers' tokens are targets. */
  #batchOf(answers: readonly Answer[]): RaggedBatch {
    const { endOfText } = this.#setting.tokenizer.special;
    return collate(answers.map(({ question: { prompt, format }, generated }): Example => {
      const ended = generated.ending === "end-of-text" ? [endOfText] : [];
      const tokens = Int32Array.from([...prompt, ...generated.tokens, ...ended]);
      const weights = new Float32Array(tokens.length).fill(1, prompt.length);
      const user = new Uint8Array(tokens.length);
      return { tokens, weights, user, entry: -1, format, truncated: false };
    }));
  }

  figures(): PreferenceFigures {
    const answers = this.#answers;
    const mean = (values: readonly number[]) =>
      values.reduce((sum, value) => sum + value, 0) / values.length;
    const names = Object.keys(answers[0]!.score.parts) as (keyof Score["parts"])[];
    const { question, generated, score } = answers[0]!;
    return {
      rollouts: {
        reward: mean(answers.map(({ score }) => score.total)),
        parts: Object.fromEntries(
          names.map((name) => [name, mean(answers.map(({ score }) => score.parts[name]!))]),
        ),
        divergence: mean(this.#learned.map(({ divergence }) => divergence)),
        tokens: mean(this.#learned.map(({ tokens }) => tokens)),
        sample: {
          prompt: question.conversation.messages.findLast(({ role }) => role === "user")!.content,
          text: generated.text,
          reward: score.total,
        },
      },
    };
  }
}

/**
 * GRPO's loss of a batch whose targets are answers, one at the end of each sequence, and the weight that its slopes give
 * to each row [N].
 * @param reference log q of each target [N], or null without a reference
 */
export function weighAnswers(
  { offsets, targets }: RaggedBatch,
  logProbabilities: Float32Array,
  reference: Float32Array | null,
  { advantages, beta }: { readonly advantages: readonly number[]; readonly beta: number },
): { weighed: Weighed; learned: Learned[] } {
  const weights = new Float32Array(targets.length);
  let loss = 0;
  const learned = advantages.map((advantage, b): Learned => {
    const first = offsets[b]!, end = offsets[b + 1]!;
    const start = first + targets.subarray(first, end).findIndex((target) => target >= 0);
    const own = answerLoss(
      logProbabilities.subarray(start, end),
      reference?.subarray(start, end) ?? null,
      advantage,
      beta,
    );
    own.slopes.forEach((slope, t) => weights[start + t] = -slope);
    loss += own.loss;
    return { loss: own.loss, divergence: own.divergence, tokens: end - start };
  });
  return { weighed: { weights, loss, terms: advantages.length }, learned };
}
