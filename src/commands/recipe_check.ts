// Whether what a file claims to be a recipe is one: each field of the kind, and within the bounds, of its option.

import { UserError } from "../errors.ts";
import { formatNames } from "../tokenizer/mod.ts";
import { type Recipe, recipes } from "../training/mod.ts";
import type { OptionSpecification } from "./options.ts";
import { fieldOf, ON_OFF_OPTIONS, RECIPE_OPTIONS } from "./recipe_options.ts";

/** @throws UserError with the file and the field that is wrong */
export function checkRecipe(recipe: Recipe, path: string): void {
  const fields = recipe as unknown as Readonly<Record<string, unknown>>;
  for (const [name, option] of Object.entries<OptionSpecification>(RECIPE_OPTIONS)) {
    const field = fieldOf(name), value = fields[field];
    const isUsual = Object.values(recipes).some((known) =>
      (known as unknown as typeof fields)[field] === value
    );
    if (!isUsual && !fits(value, name, option)) throw damaged(path, field, value);
  }
  const { formats } = recipe;
  if (formats.length === 0 || !formats.every((format) => formatNames.includes(format?.name))) {
    throw damaged(path, "formats", formats);
  }
}

function damaged(path: string, field: string, value: unknown): UserError {
  return new UserError(`${path}: is damaged: recipe.${field} is ${JSON.stringify(value)}`);
}

function fits(value: unknown, name: string, option: OptionSpecification): boolean {
  if (ON_OFF_OPTIONS.has(name)) return typeof value === "boolean";
  if (option.type === "integer" || option.type === "number") {
    const { minimum = -Infinity, maximum = Infinity } = option;
    return Number.isFinite(value) && (value as number) >= minimum && (value as number) <= maximum &&
      (option.type === "number" || Number.isInteger(value));
  }
  if (option.type === "string" && option.choices !== undefined) {
    // Weights to begin with bring their own size.
    return name === "model" && value === null || option.choices.includes(value as string);
  }
  return name === "rewards" ? typeof value === "object" : Array.isArray(value);
}
