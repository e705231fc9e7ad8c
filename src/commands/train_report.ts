// What train shows: the recipe's numbers, a bar with the losses, lines that stay; or JSON events.

import type { Runtime } from "../kernels/mod.ts";
import { type Configuration, parameterCount } from "../model/mod.ts";
import {
  type Corpus,
  type DiagnosisEvent,
  type PairFigures,
  type RolloutFigures,
  type RunState,
  stepsPerEpoch,
  type TaughtEvent,
  type TrainingEvent,
} from "../training/mod.ts";
import { invocation } from "./options.ts";
import { duration, Progress, streamOutput } from "./progress.ts";

/** A run that is about to begin or to go on. */
export interface RunStart {
  readonly directory: string;
  readonly state: Omit<RunState, "fingerprint">;
  readonly corpus: Corpus;
  readonly configuration: Configuration;
  readonly runtime: Runtime;
}

/** Watches a run. */
export interface Reporter {
  start(run: RunStart): void;
  event(event: TrainingEvent): void;
  /** Ctrl-C came. */
  interrupted(): void;
}

/** One JSON event a line. */
export function jsonReporter(): Reporter {
  const print = (event: unknown) => console.log(JSON.stringify(event));
  return {
    start: ({ directory, state, corpus, configuration, runtime }) =>
      print({
        event: "start",
        directory,
        recipe: state.recipeName,
        init: state.init,
        ...state.recipe,
        parameters: parameterCount(configuration),
        training_texts: corpus.training.length,
        validation_texts: corpus.validation.length,
        truncated: corpus.truncated,
        skipped: corpus.skipped,
        threads: runtime.threads,
        kernel: runtime.kernel,
      }),
    event: print,
    interrupted: () => {},
  };
}

/** Recipe fields in groups of a line each. */
const GROUPS: readonly (readonly (keyof RunState["recipe"])[])[] = [
  ["epochs", "batchSize", "accumulate", "maxTokens", "validation", "seed"],
  [
    "learningRate",
    "embeddingRate",
    "matrixRate",
    "schedule",
    "scheduleBy",
    "warmupSteps",
    "scheduleMinimum",
    "scheduleEpochs",
    "scheduleFactor",
  ],
  ["optimizer", "beta1", "beta2", "epsilon", "weightDecay", "embeddingDecay", "clip"],
  [
    "normalization",
    "dropout",
    "labelSmoothing",
    "promptLossWeight",
    "endOfText",
    "augment",
    "stopOn",
    "patience",
  ],
  ["precision", "moments", "recompute"],
];

/** Those that only matter with teachers. */
const DISTILLATION = [
  "distillTemperature",
  "distillWeight",
  "distillDivergence",
  "distillTopK",
] as const;

function tokensOf(examples: Corpus["training"]): number {
  return examples.reduce((sum, { tokens }) => sum + tokens.length - 1, 0);
}

function describe({ directory, state, corpus, configuration, runtime }: RunStart): string[] {
  const { recipe, progress } = state;
  const c = configuration;
  const number = (n: number) => n.toLocaleString("en");
  const formats = recipe.formats.map(({ name, first }) => first ? `${name}:${first}` : name);
  const texts = (examples: Corpus["training"]) =>
    `${number(examples.length)} texts, ${number(tokensOf(examples))} tokens`;
  const begin = progress.step === 0
    ? state.init === null ? "" : `, starting from ${state.init}`
    : `, going on after step ${number(progress.step)}`;
  const { preference } = recipe;
  const learned: (keyof RunState["recipe"])[] = preference === "none"
    ? []
    : preference === "grpo"
    ? ["preference", "beta", "groupSize", "rolloutTemperature", "answerTokens"]
    : ["preference", "beta", "sftWeight", ...preference === "simpo" ? ["gamma" as const] : []];
  const rewards = Object.entries(recipe.rewards).map(([name, weight]) => `${name} ${weight}`);
  return [
    `recipe ${state.recipeName} -> ${directory}${begin}`,
    `  model    ${
      number(parameterCount(c))
    } parameters: ${c.n_layer} layers, ${c.n_embd} channels, ` +
    `${c.n_head} heads; ${runtime.threads} threads, kernel ${runtime.kernel}`,
    `  data     ${texts(corpus.training)} to learn` +
    (corpus.validation.length > 0 ? `; ${texts(corpus.validation)} set aside` : ""),
    `  formats  ${formats.join(", ")}`,
    ...[...GROUPS, ...learned.length > 0 ? [learned] : []].map((names) =>
      "  " + names.map((name) => `${words(name)} ${String(recipe[name])}`).join(", ")
    ),
    ...(recipe.teachers.length === 0 ? [] : [
      `  teachers ${recipe.teachers.join(", ")}: ` +
      DISTILLATION.map((name) => `${words(name)} ${recipe[name]}`).join(", "),
    ]),
    ...(preference === "grpo" ? [`  rewards  ${rewards.join(", ")}`] : []),
    ...corpus.skipped.map((line) => `warning: left out ${line}`),
    ...(corpus.truncated === 0
      ? []
      : [`warning: ${corpus.truncated} conversations were cut to ${recipe.maxTokens} tokens`]),
  ];
}

const percent = (value: number) => `${(100 * value).toFixed(0)} %`;

/** How a model ranks pairs. */
function pairFields({ accuracy, margin }: PairFigures): string[] {
  return [`${percent(accuracy)} ranked right`, `margin ${margin.toFixed(3)}`];
}

/** What sampled answers are worth, the sum first, then its parts. */
function rolloutFields({ reward, parts, divergence, tokens }: RolloutFigures): string[] {
  return [
    `reward ${reward.toFixed(3)}`,
    ...Object.entries(parts).map(([name, value]) => `${name} ${value.toFixed(2)}`),
    `divergence ${divergence.toFixed(4)}`,
    `${tokens.toFixed(0)} tokens`,
  ];
}

/** Steps between two sampled answers that stay on the screen. */
const SAMPLE_STEPS = 50;

/** What the model does with texts, in one line. */
function describeDiagnosis(d: DiagnosisEvent): string {
  const aside = d.accuracy === null || d.recited_aside === null
    ? ""
    : `; of texts set aside ${percent(d.recited_aside)} to the letter, ` +
      `${percent(d.accuracy)} nearly so`;
  return `recites ${percent(d.recited)} of its training texts${aside}; repeats itself ` +
    `${percent(d.seq_rep_4)}; calibration error ${percent(d.calibration_error)}`;
}

/** What teachers said, in one line. */
function describeTaught({ texts, targets, taught, listed, kept, seconds }: TaughtEvent): string {
  const number = (n: number) => n.toLocaleString("en", { maximumFractionDigits: 1 });
  const alone = taught === targets
    ? ""
    : `; ${number(100 * (1 - taught / targets))} % of the targets, which the teachers spell ` +
      `otherwise, are learned from the data alone`;
  const took = kept
    ? "as kept in the run's directory"
    : `${number(texts)} texts in ${duration(seconds)}, ${number(texts / seconds)} a second`;
  return `teachers: ${took}; ${
    number(listed / Math.max(1, taught))
  } tokens of each prediction${alone}`;
}

/** "batchSize" -> "batch size" */
function words(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** Text for a person: a bar on a terminal, plain lines elsewhere. */
export function terminalReporter(): Reporter {
  const output = streamOutput(Deno.stdout);
  let bar: Progress | null = null, teaching: Progress | null = null;
  let run: RunStart | null = null;
  let validation: number | null = null;
  const barOf = ({ state: { recipe, progress }, corpus }: RunStart) => {
    const total = recipe.epochs * stepsPerEpoch(recipe, corpus.training.length);
    return new Progress(total, output, progress.step);
  };
  const line = (text: string) => bar === null ? output.write(text + "\n") : bar.line(text);
  return {
    start(started) {
      run = started;
      describe(started).forEach(line);
      bar = barOf(started);
    },
    event(event) {
      switch (event.event) {
        case "teaching":
          teaching ??= new Progress(event.of, output);
          teaching.update(event.texts, ["texts read by the teachers"]);
          break;
        case "taught":
          teaching?.clear();
          line(`  ${describeTaught(event)}`);
          // The steps' time begins now.
          bar = barOf(run!);
          break;
        case "step": {
          const { step, rollouts } = event;
          if (rollouts !== undefined && step % SAMPLE_STEPS === 1) {
            const { prompt, text, reward } = rollouts.sample;
            line(`step ${step}: ${rolloutFields(rollouts).join(", ")}`);
            line(`  ${prompt} -> ${JSON.stringify(text)} (${reward.toFixed(2)})`);
          }
          bar!.update(event.step, [
            `epoch ${event.epoch}`,
            `loss ${event.loss.toFixed(3)}`,
            ...(event.cross_entropy === undefined || event.distillation === undefined ? [] : [
              `data ${event.cross_entropy.toFixed(3)}`,
              `teachers ${event.distillation.toFixed(3)}`,
            ]),
            ...(event.pairs === undefined ? [] : pairFields(event.pairs)),
            ...(event.rollouts === undefined ? [] : rolloutFields(event.rollouts)),
            ...(validation === null ? [] : [`validation ${validation.toFixed(3)}`]),
            `rate ${event.learning_rate.toExponential(1)}`,
            `${event.tokens_per_second.toFixed(0)} tokens/s`,
          ]);
          break;
        }
        case "epoch":
          validation = event.validation_loss;
          line(
            `epoch ${event.epoch}: loss ${event.train_loss.toFixed(4)}` +
              (event.train_distillation === undefined
                ? ""
                : ` (data ${event.train_cross_entropy.toFixed(4)}, teachers ${
                  event.train_distillation.toFixed(4)
                })`) +
              (validation === null
                ? ""
                : `, validation ${validation.toFixed(4)}, on the same footing training ` +
                  event.learned_loss.toFixed(4)) +
              (event.pairs === undefined ? "" : `; ${pairFields(event.pairs).join(", ")}`) +
              (event.best && validation !== null ? " (best)" : ""),
          );
          break;
        case "diagnosis":
          line(`  ${describeDiagnosis(event)}`);
          break;
        case "sample":
          line(`  ${event.prompt} -> ${JSON.stringify(event.text)}`);
          break;
        case "saved":
          break;
        case "done": {
          const { directory, state } = run!;
          bar!.clear();
          const took = `${event.steps} steps in ${duration(event.seconds)}, ` +
            `${Math.round(event.peak_rss_bytes / 2 ** 20).toLocaleString("en")} MiB at most`;
          if (event.reason === "interrupted") {
            line(
              `stopped after ${took}; saved. Go on with ${
                invocation("train")
              } --resume ${directory}`,
            );
            break;
          }
          const early = event.reason === "early-stop"
            ? `stopped early, no better since epoch ${event.best?.epoch}: `
            : "done: ";
          if (event.verdict !== null) {
            const { words, advice } = event.verdict;
            line(`verdict: ${words}${advice.length === 0 ? "" : `. Try ${advice.join(" or ")}`}`);
          }
          line(`${early}${took}. Talk to it with ${invocation("chat")} --weights ${directory}`);
          const { epoch } = state.progress, best = event.best?.epoch ?? epoch;
          if (validation !== null && best < epoch) {
            line(
              `That is what it knew after epoch ${best}, the best on what was set aside; ` +
                `what it knew after epoch ${epoch} is in ${directory}/last`,
            );
          }
        }
      }
    },
    interrupted() {
      line(
        "finishing this step, then saving; Ctrl-C again ends at once and loses the run's progress",
      );
    },
  };
}
