// What arguments of train ask for: a run that begins, or one that goes on. Nothing is loaded or written yet.

import {
  type CheckpointInfo,
  checkpointOf,
  checkTokens,
  hasMoments,
  LOCK,
  newestRun,
  readCheckpointInfo,
  readTraining,
  readWeightsInfo,
  WEIGHTS,
} from "../checkpoint/mod.ts";
import { UserError } from "../errors.ts";
import { type Configuration, type Normalization, type Preset, presets } from "../model/mod.ts";
import {
  checkState,
  learnsFromPairs,
  type Recipe,
  type RecipeName,
  recipes,
  type RunState,
  type Saving,
  SOFT_TARGETS,
  startOfRun,
} from "../training/mod.ts";
import { dataPath } from "./bundled.ts";
import { invocation } from "./options.ts";
import { checkRecipe } from "./recipe_check.ts";
import { givenOptions } from "./recipe_options.ts";
import { overrideRecipe } from "./recipe_override.ts";
import type { TrainFlags } from "./train_options.ts";

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

/**
 * The run that flags ask for.
 * @throws UserError when they contradict each other, the recipe or what is there
 */
export function planOf(options: TrainFlags): Run {
  if (options.positional.length > (options.resume ? 1 : 0)) {
    throw new UserError(
      `unexpected argument ${options.positional.at(-1)}; data is given with --data`,
    );
  }
  return options.resume ? resumeRun(options) : beginRun(options);
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
  if (recipe.corpus.length === 0) {
    throw new UserError("--init needs --data FILE, or --recipe NAME with data of its own");
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
    const goOn = isRun(`${directory}/last`)
      ? `go on with ${invocation("train")} --resume ${directory}, or `
      : "";
    throw new UserError(`--out ${directory}: is not empty; ${goOn}choose another --out`);
  }
  for (let number = 1;; number++) {
    const directory = `${WEIGHTS}/${name}${number === 1 ? "" : `-${number}`}`;
    if (!isRun(directory)) return directory;
  }
}

/** What --init brings, and the flags that ask for another. */
const BROUGHT = [
  ["size", ["model"]],
  ["vocabulary and intents", ["vocabulary", "intent-tokens"]],
  ["weights", ["value-identity"]],
] as const;

/** @throws UserError when flags ask for what --init brings */
function checkInit(options: TrainFlags): void {
  for (const [what, flags] of BROUGHT) {
    if (flags.every((flag) => options[flag] === undefined)) continue;
    throw new UserError(`--init brings its own ${what}; leave --${flags.join(" and --")} out`);
  }
}

function beginRun(options: TrainFlags): Run {
  const recipeName = (options.recipe ?? usualRecipe(options)) as RecipeName;
  const named = recipes[recipeName];
  const init = options.init === undefined ? null : checkpointOf(options.init, "--init");
  if (init !== null) checkInit(options);
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
  if (recipeName === "finetune" && init === null) {
    throw new UserError("--recipe finetune needs --init DIR, the model that it goes on from");
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
      ...savingOf(options),
      progress: startOfRun(),
    },
    fingerprint: null,
    history: [],
    configuration: { ...base, resid_pdrop: dropout, embd_pdrop: dropout, attn_pdrop: dropout },
    weights: init,
  };
}

/** What a run leaves on disk: as flags say, or as before. @throws UserError when flags contradict each other */
function savingOf(options: TrainFlags, before: Saving = {}): Saving {
  const saveEvery = options["save-every"] ?? before.saveEvery;
  const keep = options.keep ?? before.keep;
  if (options.keep !== undefined && !saveEvery) {
    throw new UserError("--keep needs --save-every of at least 1");
  }
  return { saveEvery, keep, bestType: options["best-as"] as Saving["bestType"] ?? before.bestType };
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

/** The recipe when none is named: for a method, for going on from a model, for data of one's own, or for none of these. */
function usualRecipe({ preference = "none", init, data }: TrainFlags): RecipeName {
  if (preference !== "none") return preference === "grpo" ? "grpo" : "dpo";
  if (init !== undefined) return "finetune";
  return data.length > 0 ? "conversations" : "quick";
}

/**
 * A recipe that starts from a checkpoint's weights. They go on in the format that they know, unless told
 * otherwise; what learns from preferences doubts as the checkpoint does, too.
 */
function withInit(recipe: Recipe, init: string, options: TrainFlags): Recipe {
  const { format, unsure } = initialInfo(init).metadata;
  const keepsFormat = options.formats === undefined && recipe.formats.length === 1;
  const begun = {
    ...recipe,
    model: null,
    formats: keepsFormat ? [{ name: format }] : recipe.formats,
  };
  if (recipe.preference === "none") return begun;
  return {
    ...begun,
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

/** @throws UserError when a model cannot take the recipe's texts, or has fewer blocks than are to be frozen */
function checkFit(configuration: Configuration, recipe: Recipe): void {
  const { n_positions, n_layer } = configuration;
  if (recipe.freezeLayers > n_layer) {
    throw new UserError(
      `--freeze-layers must be at most the model's ${n_layer} blocks, got ${recipe.freezeLayers}`,
    );
  }
  if (recipe.maxTokens > n_positions) {
    throw new UserError(
      `texts of ${recipe.maxTokens} tokens do not fit into the model's context; ` +
        `use --max-tokens ${n_positions} or less`,
    );
  }
}

/** @throws UserError when one is no event */
function historyLines(history: string, directory: string): string[] {
  const lines = history.split("\n").filter((line) => line !== "");
  lines.forEach((line, i) => {
    try {
      if (typeof JSON.parse(line).event === "string") return;
    } catch {
      // No JSON, or null.
    }
    throw new UserError(
      `${directory}/training/history.jsonl: is damaged: line ${i + 1} is no event`,
    );
  });
  return lines;
}

function resumeRun(options: TrainFlags): Run {
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
  checkRecipe(rest.recipe, `${last}/training/state.json`);
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
    state: { ...rest, recipe, ...savingOf(options, rest) },
    fingerprint,
    history: historyLines(history, last),
    configuration: readCheckpointInfo(last).configuration,
    weights: last,
  };
}
