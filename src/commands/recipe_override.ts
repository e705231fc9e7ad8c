// A recipe with options of the command line in place of its numbers.

import type { FormatChoice } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import { LORA_TARGETS, type LoraTarget } from "../model/mod.ts";
import { type FormatName, formatNames } from "../tokenizer/mod.ts";
import type { Recipe } from "../training/mod.ts";
import { checkMoments } from "./memory_options.ts";
import { suggestion } from "./options.ts";
import { checkPreference, parseRewards, parseWords } from "./preference_options.ts";
import { fieldOf, givenOptions, ON_OFF_OPTIONS, type RecipeValues } from "./recipe_options.ts";

/**
 * A recipe with the given options in place of its numbers.
 * @throws UserError when they contradict each other
 */
export function overrideRecipe(recipe: Recipe, values: RecipeValues): Recipe {
  const given = givenOptions(values);
  const changes = given.map((name) => [fieldOf(name), convert(name, values[name])]);
  // Own data are not judged by the recipe's validation files.
  const own = values.data.length > 0 ? { validationData: [] } : {};
  const changed: Recipe = { ...recipe, ...own, ...Object.fromEntries(changes) };
  const aside = changed.validation > 0 || changed.folds > 0 || changed.validationData.length > 0;
  if ((changed.stopOn === "validation" || changed.stopOn === "composite") && !aside) {
    throw new UserError(
      `--stop-on ${changed.stopOn} needs --validation above 0 or --validation-data`,
    );
  }
  const adapters = ["lora-alpha", "lora-targets", "lora-dropout"] as const;
  const alone = adapters.find((name) => values[name] !== undefined);
  if (changed.loraRank === 0 && alone !== undefined) {
    throw new UserError(`--${alone} needs --lora-rank of at least 1`);
  }
  if (changed.loraRank > 0 && changed.optimizer === "muon") {
    throw new UserError(
      "--optimizer muon orthogonalises whole matrices; with --lora-rank use adamw or lion",
    );
  }
  if (changed.optimizer !== "muon" && values.momentum !== undefined) {
    throw new UserError(`--momentum is Muon's; ${changed.optimizer} has --beta1 and --beta2`);
  }
  checkMoments(changed);
  if (changed.loraRank > 0 && changed.freezeLayers > 0) {
    throw new UserError("with --lora-rank no layer learns anyway; leave --freeze-layers out");
  }
  const distilling = given.find((name) => name.startsWith("distill-"));
  if (changed.teachers.length === 0 && distilling !== undefined) {
    throw new UserError(`--${distilling} needs --teacher DIR`);
  }
  checkPreference(changed, given);
  if (changed.folds === 1 || changed.folds > 0 && changed.fold > changed.folds) {
    throw new UserError(`--fold must be from 1 to --folds, which is at least 2`);
  }
  if (changed.stopOn !== "never" && changed.patience < 1) {
    throw new UserError(`--stop-on ${changed.stopOn} needs --patience of at least 1`);
  }
  if (changed.stopOn === "never" && values.patience !== undefined) {
    throw new UserError("--patience needs --stop-on validation, training or composite");
  }
  return changed;
}

function convert(name: keyof RecipeValues, value: unknown): unknown {
  if (ON_OFF_OPTIONS.has(name)) return value === "on";
  if (name === "formats") return parseFormats(value as string);
  if (name === "rewards") return parseRewards(value as string);
  if (name === "answer-words") return parseWords(value as string);
  if (name === "lora-targets") return parseTargets(value as string);
  return value;
}

/** "c_attn,c_proj" */
function parseTargets(list: string): LoraTarget[] {
  return list.split(",").map((item) => {
    const target = LORA_TARGETS.find((name) => name === item.trim());
    if (target !== undefined) return target;
    throw new UserError(
      `--lora-targets: there is no ${JSON.stringify(item.trim())}${
        suggestion(item.trim(), LORA_TARGETS) || "."
      } There are ${LORA_TARGETS.join(", ")}`,
    );
  });
}

/** "human-assistant,q-a:10" */
function parseFormats(list: string): FormatChoice[] {
  return list.split(",").map((item) => {
    const [name = "", first] = item.trim().split(":");
    if (!formatNames.includes(name as FormatName)) {
      throw new UserError(
        `--formats: there is no format ${JSON.stringify(name)}${
          suggestion(name, formatNames) || "."
        } ` +
          `There are ${formatNames.join(", ")}`,
      );
    }
    if (first === undefined) return { name: name as FormatName };
    if (/^[1-9]\d{0,8}$/.test(first)) return { name: name as FormatName, first: Number(first) };
    throw new UserError(`--formats: ${item}: behind the colon stands how many conversations`);
  });
}
