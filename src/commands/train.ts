// deno task train: trains or fine-tunes a model, or goes on with a run.

import { lockRun } from "../checkpoint/mod.ts";
import { UserError } from "../errors.ts";
import {
  prepareTeaching,
  RATE_RANGE,
  steepest,
  teacherWarnings,
  testRates,
  train,
  type TrainingEvent,
} from "../training/mod.ts";
import { onInterrupt } from "./interrupt.ts";
import { type CommandSpecification, type OptionTable, parseOptions } from "./options.ts";
import { Progress, streamOutput } from "./progress.ts";
import { TRAIN_OPTIONS } from "./train_options.ts";
import { planOf, type Run } from "./train_plan.ts";
import { prepare } from "./train_prepare.ts";
import { jsonReporter, type Reporter, terminalReporter } from "./train_report.ts";

export const command = {
  name: "train",
  summary: "train or fine-tune a model on conversations",
  options: TRAIN_OPTIONS,
  positional: "DIR",
} satisfies CommandSpecification<OptionTable>;

/** Aborts on the first Ctrl-C; the second ends the program at once. */
function interruption(onFirst: () => void): AbortSignal {
  const controller = new AbortController();
  // What shuts a machine down asks in the same way, but only once.
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", () => controller.abort());
  onInterrupt(() => {
    if (controller.signal.aborted) Deno.exit(130);
    controller.abort();
    onFirst();
  });
  return controller.signal;
}

/** Trains, and leaves the result in the run's directory. */
export function perform(
  run: Run,
  o: {
    readonly threads: number | undefined;
    readonly report: Reporter;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { directory, state, history } = run;
  return prepare(run, o.threads, async ({ corpus, configuration, model, reference, runtime }) => {
    using _lock = lockRun(directory);
    o.report.start({ directory, state, corpus, configuration, runtime });
    const { recipe, progress } = state;
    if (progress.step === 0) {
      for (const warning of teacherWarnings(recipe.teachers, corpus.tokenizer)) {
        console.error(`warning: ${warning}`);
      }
    }
    const onEvent = (event: TrainingEvent) => o.report.event(event);
    const teaching = await prepareTeaching({
      ...{ runtime, corpus, recipe, directory, onEvent, signal: o.signal },
      identity: state.teaching ?? null,
    });
    await train({
      model,
      reference,
      tokenizer: corpus.tokenizer,
      corpus,
      teaching,
      state: {
        ...state,
        fingerprint: corpus.fingerprint,
        ...(teaching === null ? {} : { teaching: teaching.identity }),
      },
      directory,
      history,
      signal: o.signal,
      onEvent,
    });
  });
}

/** --find-rate: shows the loss over rising rates, and the rate at which it fell fastest. */
async function findRate(
  run: Run,
  { threads, json }: { readonly threads: number | undefined; readonly json: boolean },
  signal: AbortSignal,
): Promise<void> {
  const bar = new Progress(RATE_RANGE.steps, streamOutput(Deno.stderr));
  const points = await prepare(
    run,
    threads,
    async ({ corpus, model, runtime }) => {
      const { recipe } = run.state;
      const onEvent = () => {};
      const teaching = await prepareTeaching({
        ...{ runtime, corpus, recipe, signal, onEvent, identity: null, directory: null },
      });
      return await testRates(model, corpus, recipe, ({ rate, loss }, step) => {
        bar.update(step, [`rate ${rate.toExponential(1)}`, `loss ${loss.toFixed(3)}`]);
        return !signal.aborted;
      }, { teaching });
    },
  );
  bar.clear();
  const suggested = steepest(points);
  if (json) return console.log(JSON.stringify({ suggested, points }));
  console.log("rate      loss");
  for (const { rate, smooth } of points.filter((_, i) => i % 5 === 4)) {
    console.log(`${rate.toExponential(1).padEnd(8)}  ${smooth.toFixed(3)}`);
  }
  console.log(
    suggested === null
      ? "the loss never fell: try more data or another --model"
      : `the loss fell fastest at ${suggested.toExponential(1)}: --learning-rate ` +
        suggested.toExponential(0),
  );
}

/** The run that arguments of train ask for. */
export function planRun(args: readonly string[]): Run {
  return planOf(parseOptions(command, args));
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const planned = planOf(options);
  const report: Reporter = options.json ? jsonReporter() : terminalReporter();
  const signal = interruption(() => report.interrupted());
  const { threads } = options;
  if (options["find-rate"]) {
    if (planned.state.recipe.preference !== "none") {
      throw new UserError("--find-rate tests the plain loss; leave --preference out");
    }
    await findRate(planned, options, signal);
    return signal.aborted ? 130 : 0;
  }
  await perform(planned, { threads, report, signal });
  return signal.aborted && planned.state.progress.finished === null ? 130 : 0;
}
