// deno task train: trains or fine-tunes a model, or goes on with a run.

import {
  type CheckpointInfo,
  checkpointOf,
  checkTokens,
  hasMoments,
  loadAdapter,
  loadMoments,
  loadParameters,
  loadStates,
  loadWeights,
  LOCK,
  lockRun,
  newestRun,
  readCheckpointInfo,
  readTraining,
  readWeightsInfo,
  tokenizerOf,
  WEIGHTS,
} from "../checkpoint/mod.ts";
import { UserError } from "../errors.ts";
import { Runtime } from "../kernels/mod.ts";
import {
  type Configuration,
  GPT,
  memoryEstimate,
  type Normalization,
  peakEstimate,
  type Preset,
  presets,
} from "../model/mod.ts";
import {
  checkState,
  type Corpus,
  largestBatch,
  learnsFromPairs,
  loadCorpus,
  needsReference,
  prepareTeaching,
  RATE_RANGE,
  type Recipe,
  type RecipeName,
  recipes,
  type RunState,
  SOFT_TARGETS,
  startOfRun,
  steepest,
  teachersMemory,
  teacherWarnings,
  testRates,
  train,
  trainedModel,
  type TrainingEvent,
} from "../training/mod.ts";
import { dataPath } from "./bundled.ts";
import { onInterrupt } from "./interrupt.ts";
import { threadsOption } from "./model_options.ts";
import {
  type CommandSpecification,
  invocation,
  type OptionTable,
  parseOptions,
  type Values,
} from "./options.ts";
import { Progress, streamOutput } from "./progress.ts";
import { givenOptions, overrideRecipe, RECIPE_OPTIONS } from "./recipe_options.ts";
import { jsonReporter, type Reporter, terminalReporter } from "./train_report.ts";

export const command = {
  name: "train",
  summary: "train or fine-tune a model on conversations",
  options: {
    recipe: {
      type: "string",
      placeholder: "NAME",
      choices: Object.keys(recipes),
      help:
        "the numbers to start from; if not given, quick, or with --preference dpo or grpo. All " +
        "below override one",
    },
    ...RECIPE_OPTIONS,
    out: { type: "string", placeholder: "DIR", help: "the run's directory" },
    resume: { type: "boolean", help: "go on with the newest run, or that of DIR" },
    init: {
      type: "string",
      placeholder: "DIR",
      help: "start from the weights of a checkpoint, of Hugging Face's GPT-2 or of a .gguf file",
    },
    "keep-moments": {
      type: "boolean",
      help: "go on with the optimiser's moments, too, that --init's checkpoint holds",
    },
    "find-rate": {
      type: "boolean",
      help: "do not train, but show the loss over rising learning rates",
    },
    "save-every": {
      type: "integer",
      minimum: 0,
      help: "epochs between two saves of last; 0, the default, saves it at the end",
    },
    keep: {
      type: "integer",
      minimum: 1,
      help: "also keep the weights of so many of the saves of last, as epoch-N",
    },
    "best-as": {
      type: "string",
      placeholder: "NAME",
      choices: ["f32", "bf16"],
      default: "f32",
      help: "number format of the best checkpoint; bf16 takes half the space",
    },
    "skip-bad-lines": { type: "boolean", help: "leave bad lines of data out instead of stopping" },
    threads: threadsOption,
    json: { type: "boolean", help: "print one JSON event a line" },
  },
  positional: "DIR",
} satisfies CommandSpecification<OptionTable>;

type Options = Values<typeof command.options> & { positional: string[] };

/** WebAssembly's address space. */
const ADDRESSABLE = 2 ** 32;

/** A run about to begin or to go on. */
export interface Run {
  readonly directory: string;
  readonly state: Omit<RunState, "fingerprint">;
  /** What a resumed run's data must still be; null for a new run. */
  readonly fingerprint: string | null;
  readonly history: string[];
  readonly configuration: Configuration;
  /** Where weights come from: nothing, a checkpoint, or the run itself. */
  readonly weights: string | null;
}

/** Paths of a recipe's files: those of ours lie in data/. */
function dataFiles(recipe: Recipe, own: readonly string[]): string[] {
  if (own.length > 0) return own.map(absolute);
  if (learnsFromPairs(recipe)) {
    throw new UserError(
      `--preference ${recipe.preference} needs --data FILE, lines of prompt, chosen and rejected; ` +
        `${invocation("preferences")} makes some`,
    );
  }
  return recipe.corpus.map(dataPath);
}

/** Paths of what a recipe sets aside as it is. */
function validationFiles(recipe: Recipe, own: readonly string[]): string[] {
  return own.length > 0 ? own.map(absolute) : recipe.validationData.map(dataPath);
}

function absolute(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path; // reading it says what is wrong
  }
}

function isRun(directory: string): boolean {
  try {
    const beforeRun = [LOCK, SOFT_TARGETS];
    return Array.from(Deno.readDirSync(directory)).some(({ name }) => !beforeRun.includes(name));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    if (error instanceof Deno.errors.NotADirectory) {
      throw new UserError(`--out ${directory}: is a file, not a directory`);
    }
    throw error;
  }
}

/** --out, or a name that no run has yet. */
function newDirectory(out: string | undefined, name: string): string {
  if (out !== undefined) {
    const directory = out.replace(/(?<=.)\/+$/, "");
    if (!isRun(directory)) return directory;
    throw new UserError(
      `--out ${directory}: is not empty; go on with ${
        invocation("train")
      } --resume ${directory}, ` +
        `or choose another --out`,
    );
  }
  for (let number = 1;; number++) {
    const directory = `${WEIGHTS}/${name}${number === 1 ? "" : `-${number}`}`;
    if (!isRun(directory)) return directory;
  }
}

function beginRun(options: Options): Run {
  const recipeName = (options.recipe ?? usualRecipe(options.preference)) as RecipeName;
  const named = recipes[recipeName];
  const init = options.init === undefined ? null : checkpointOf(options.init, "--init");
  if (init !== null && options.model !== undefined) {
    throw new UserError("--init brings its own size; leave --model out");
  }
  const changed = overrideRecipe(named, options);
  const preset = options.model as Preset | undefined ?? named.model;
  const base = init === null
    ? withNormalization(presets[preset], changed.normalization)
    : initialInfo(init).configuration;
  const teachers = changed.teachers.map((path) => checkpointOf(path, "--teacher"));
  const own = init === null ? {} : ofInit(base, options.normalization);
  const taught = { ...changed, teachers, ...own };
  const recipe = init === null ? taught : withInit(taught, init, options);
  if (recipe.preference !== "none" && init === null) {
    throw new UserError(
      `--preference ${recipe.preference} needs --init DIR, a model that can answer already`,
    );
  }
  checkFit(base, recipe);
  if (recipe.loraRank > 0 && init === null) {
    throw new UserError("--lora-rank needs --init DIR, the model that the adapters stand beside");
  }
  const { dropout } = recipe;
  return {
    directory: newDirectory(
      options.out,
      init === null ? `${recipeName}-${preset}` : recipeName,
    ),
    state: {
      version: 1,
      recipeName,
      recipe,
      init,
      momentSteps: options["keep-moments"] ? momentStepsOf(init, recipe) : 0,
      data: dataFiles(recipe, options.data),
      validationData: validationFiles(recipe, options["validation-data"]),
      skipBadLines: options["skip-bad-lines"],
      progress: startOfRun(),
    },
    fingerprint: null,
    history: [],
    configuration: { ...base, resid_pdrop: dropout, embd_pdrop: dropout, attn_pdrop: dropout },
    weights: init,
  };
}

/** A configuration with a normalisation, which GPT-2's own does not name. */
function withNormalization(c: Configuration, normalization: Normalization): Configuration {
  return normalization === "layernorm" ? c : { ...c, normalization };
}

/** What a run takes from --init instead of its recipe. @throws UserError when --normalization asks for another */
function ofInit({ normalization = "layernorm" }: Configuration, asked: string | undefined) {
  if (asked === undefined || asked === normalization) return { model: null, normalization };
  throw new UserError(`--init brings its own ${normalization}; leave --normalization out`);
}

/** The recipe for a method when none is named. */
function usualRecipe(preference: string | undefined): RecipeName {
  if (preference === undefined || preference === "none") return "quick";
  return preference === "grpo" ? "grpo" : "dpo";
}

/**
 * A recipe that starts from a checkpoint's weights. What learns from preferences speaks and doubts as the checkpoint
 * does, unless told otherwise.
 */
function withInit(recipe: Recipe, init: string, options: Options): Recipe {
  if (recipe.preference === "none") return { ...recipe, model: null };
  const { format, unsure } = initialInfo(init).metadata;
  return {
    ...recipe,
    model: null,
    formats: options.formats === undefined ? [{ name: format }] : recipe.formats,
    unsure: options.unsure ?? unsure?.probability ?? 0,
  };
}

/**
 * The steps behind the moments that --init's checkpoint holds.
 * @throws UserError when it holds none, or they are not those of what is to learn
 */
function momentStepsOf(init: string | null, recipe: Recipe): number {
  if (init === null) throw new UserError("--keep-moments needs --init DIR, whose moments they are");
  if (recipe.loraRank > 0) {
    throw new UserError("--keep-moments: adapters begin with moments of their own; leave it out");
  }
  if (!hasMoments(init)) {
    throw new UserError(
      `--keep-moments: ${init} holds no moments; a run's last does, and a .pth with an optimiser's state`,
    );
  }
  const { step, recipe: behind } = readCheckpointInfo(init).metadata;
  const { optimizer = "adamw" } = (behind ?? {}) as Partial<Recipe>;
  if (optimizer !== recipe.optimizer) {
    throw new UserError(
      `--keep-moments: ${init} holds the moments of ${optimizer}; use --optimizer ${optimizer}`,
    );
  }
  return Math.max(1, step);
}

/** What --init names. @throws UserError when its tokens are not those of its tokenizer */
function initialInfo(init: string): CheckpointInfo {
  const info = readWeightsInfo(init);
  checkTokens(info, `--init ${init}`);
  return info;
}

/** @throws UserError when a model cannot take the recipe's texts */
function checkFit(configuration: Configuration, recipe: Recipe): void {
  const { n_positions } = configuration;
  if (recipe.maxTokens > n_positions) {
    throw new UserError(
      `texts of ${recipe.maxTokens} tokens do not fit into the model's context; ` +
        `use --max-tokens ${n_positions} or less`,
    );
  }
}

function resumeRun(options: Options): Run {
  const given = givenOptions(options).filter((name) => name !== "epochs");
  const fixed = ["recipe", "init", "skip-bad-lines"] as const;
  const other = [...given, ...fixed.filter((name) => options[name])];
  if (other.length > 0) {
    throw new UserError(`--resume goes on as the run began; leave --${other.join(" and --")} out`);
  }
  if (options.positional.length > 0 && options.out !== undefined) {
    throw new UserError("--resume DIR and --out name the run twice; leave --out out");
  }
  const named = options.positional[0] ?? options.out;
  const directory = (named ?? newestRun() ?? "").replace(/(?<=.)\/(last\/?|best\/?)?$/, "");
  if (directory === "") {
    throw new UserError(
      `there is no run under ${WEIGHTS}/ to go on with; begin one with ${invocation("train")}`,
    );
  }
  const last = `${directory}/last`;
  if (!isRun(last)) throw new UserError(`${directory}: holds no run to go on with`);
  const { state, history } = readTraining(last);
  const { fingerprint, ...rest } = checkState(state, last);
  const recipe = { ...rest.recipe, epochs: options.epochs ?? rest.recipe.epochs };
  const { progress } = rest;
  if (options.epochs !== undefined && options.epochs <= progress.epoch) {
    throw new UserError(
      `${directory}: has ${progress.epoch} epochs behind it; --epochs must be larger`,
    );
  }
  if (progress.finished === "epochs" && progress.epoch < recipe.epochs) progress.finished = null;
  if (progress.finished !== null) {
    throw new UserError(
      `${directory}: is done after ${progress.epoch} epochs` +
        (progress.finished === "epochs"
          ? "; --epochs with a larger number goes on"
          : " (stopped early)"),
    );
  }
  return {
    directory,
    state: { ...rest, recipe },
    fingerprint,
    history: history.split("\n").filter((line) => line !== ""),
    configuration: readCheckpointInfo(last).configuration,
    weights: last,
  };
}

/** What the machine has, in bytes; null where the program may not ask. */
async function machineMemory(): Promise<{ total: number; available: number } | null> {
  const { state } = await Deno.permissions.query({ name: "sys", kind: "systemMemoryInfo" });
  return state === "granted" ? Deno.systemMemoryInfo() : null;
}

/**
 * Compares what a run needs, and of it within WebAssembly's memory, with what there is.
 * @returns a warning when the machine must push other programs aside
 * @throws UserError when the run cannot fit into WebAssembly's memory or the machine's
 */
export function checkMemory(
  needed: number,
  machine: { readonly total: number; readonly available: number } | null,
  addressed = needed,
): string | null {
  const mebibytes = (n: number) => `${Math.ceil(n / 2 ** 20).toLocaleString("en")} MiB`;
  const has = [
    [addressed, ADDRESSABLE, "WebAssembly can address"],
    [needed, machine?.total ?? Infinity, "this machine has"],
  ] as const;
  for (const [bytes, most, whose] of has) {
    if (bytes <= most) continue;
    throw new UserError(
      `training needs ${mebibytes(bytes)} of memory, ${whose} ${mebibytes(most)}; use ` +
        "--moments int8, --recompute on, a smaller --batch-size (with --accumulate for the same " +
        "step), --max-tokens or --model, --precision bf16, or --lora-rank",
    );
  }
  if (machine === null || needed <= machine.available) return null;
  return `training needs ${mebibytes(needed)} of memory, of which ${
    mebibytes(machine.available)
  } are free: it will be slow unless other programs are closed`;
}

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

/** A run's corpus, and its model with the weights that it begins or goes on with. */
interface Prepared {
  readonly corpus: Corpus;
  readonly configuration: Configuration;
  readonly model: GPT;
  /** The model as the run began, where the recipe holds to it. */
  readonly reference?: GPT;
  readonly runtime: Runtime;
}

/** Loads a run's corpus and model for `work`. */
async function prepare<T>(
  run: Run,
  threads: number | undefined,
  work: (prepared: Prepared) => Promise<T>,
): Promise<T> {
  const { state, fingerprint, configuration: base, weights } = run;
  const files = {
    training: state.data,
    validation: state.validationData,
    skipBadLines: state.skipBadLines,
  };
  const metadata = weights === null ? undefined : readWeightsInfo(weights).metadata;
  const corpus = loadCorpus(files, state.recipe, metadata && tokenizerOf(metadata));
  const isReferred = needsReference(state.recipe);
  const vocab_size = weights === null ? corpus.tokenizer.vocabularySize : base.vocab_size;
  const configuration = { ...base, vocab_size };
  if (fingerprint !== null && fingerprint !== corpus.fingerprint) {
    throw new UserError(
      `${state.data.join(", ")}: has changed since the run began; begin a new one`,
    );
  }
  const options = trainedModel(state.recipe), { lora } = options;
  const size = {
    ...options,
    tokens: largestBatch(corpus, state.recipe),
    reference: isReferred,
  };
  const training = memoryEstimate(configuration, size);
  // Those who have spoken are not asked again.
  const teachers = state.teaching === undefined ? state.recipe.teachers : [];
  const asking = memoryEstimate(configuration, { ...size, tokens: 0 }) +
    teachersMemory(teachers, vocab_size);
  const shared = Math.max(training, asking);
  const needed = peakEstimate(configuration, size) + shared - training;
  const addressed = Runtime.reserved(threads) + shared;
  const warning = checkMemory(needed, await machineMemory(), addressed);
  if (warning !== null) console.error(`warning: ${warning}`);
  const runtime = await Runtime.start({ threads });
  try {
    const model = new GPT(runtime, configuration, options);
    if (weights === null || lora !== undefined) model.initialize(state.recipe.seed);
    if (weights !== null && fingerprint === null) {
      await loadWeights(weights, model);
      if (state.momentSteps > 0) loadMoments(weights, model);
    } else if (weights !== null) {
      if (lora === undefined) loadParameters(weights, model);
      else {
        // Adapters stand beside the weights that the run began with.
        await loadWeights(state.init!, model);
        loadAdapter(weights, model);
      }
      loadStates(weights, model);
    }
    // A checkpoint's weights are those to be used; the others lie where the average would.
    if (state.progress.averaged > 0) model.learned.swapAverage();
    const reference = isReferred ? new GPT(runtime, configuration, { training: false }) : undefined;
    if (reference !== undefined) await loadWeights(state.init!, reference);
    return await work({
      corpus: state.recipe.preference === "none" || metadata?.unsure === undefined
        ? corpus
        : { ...corpus, doNotKnow: metadata.unsure.answer },
      configuration,
      model,
      reference,
      runtime,
    });
  } finally {
    runtime.close();
  }
}

/** Trains, and leaves the result in the run's directory. */
export function perform(
  run: Run,
  o: {
    readonly threads: number | undefined;
    readonly saveEvery: number;
    readonly keep?: number;
    readonly bestType?: "f32" | "bf16";
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
      saveEvery: o.saveEvery,
      keep: o.keep,
      bestType: o.bestType,
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
  const options = parseOptions(command, args);
  if (options.positional.length > (options.resume ? 1 : 0)) {
    throw new UserError(
      `unexpected argument ${options.positional.at(-1)}; data is given with --data`,
    );
  }
  return options.resume ? resumeRun(options) : beginRun(options);
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const planned = planRun(args);
  const report: Reporter = options.json ? jsonReporter() : terminalReporter();
  const signal = interruption(() => report.interrupted());
  const saveEvery = options["save-every"] ?? 0;
  const { threads, keep } = options;
  if (keep !== undefined && saveEvery === 0) {
    throw new UserError("--keep needs --save-every of at least 1");
  }
  if (options["find-rate"]) {
    if (planned.state.recipe.preference !== "none") {
      throw new UserError("--find-rate tests the plain loss; leave --preference out");
    }
    await findRate(planned, options, signal);
    return signal.aborted ? 130 : 0;
  }
  const bestType = options["best-as"] as "f32" | "bf16";
  await perform(planned, { threads, saveEvery, keep, bestType, report, signal });
  return signal.aborted && planned.state.progress.finished === null ? 130 : 0;
}
