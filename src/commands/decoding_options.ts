// The flags that decide how an answer is generated, and the options that result.

import { UserError } from "../errors.ts";
import {
  type DecodingOptions,
  DO_NOT_KNOW,
  type FilterOptions,
  GREEDY,
  type RuleName,
  ruleNames,
  type Unsure,
} from "../generation/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import type { LoadedModel } from "./model_options.ts";
import { type OptionTable, suggestion, type Values } from "./options.ts";

export const DECODING_OPTIONS = {
  temperature: {
    type: "number",
    minimum: 0,
    maximum: 10,
    help: "0 always takes the likeliest token, 1 samples as trained",
    default: 0,
  },
  "top-k": {
    type: "integer",
    minimum: 0,
    placeholder: "K",
    help: "sample among the K likeliest tokens; 0 for all",
    default: 0,
  },
  "top-p": {
    type: "number",
    minimum: 0,
    maximum: 1,
    above: true,
    placeholder: "P",
    help: "sample among the likeliest tokens that together have probability P",
    default: 1,
  },
  "min-p": {
    type: "number",
    minimum: 0,
    maximum: 1,
    placeholder: "P",
    help: "sample among tokens at least P times as likely as the likeliest",
    default: 0,
  },
  typical: {
    type: "number",
    minimum: 0,
    maximum: 1,
    above: true,
    placeholder: "P",
    help: "sample among the most typical tokens that together have probability P",
    default: 1,
  },
  seed: {
    type: "integer",
    minimum: 0,
    maximum: 2 ** 32 - 1,
    help: "another seed, another sample",
    default: 0,
  },
  "repetition-penalty": {
    type: "number",
    minimum: 0,
    maximum: 100,
    above: true,
    help: "divides the logits of tokens seen before; above 1 for less repetition",
    default: 1,
  },
  "frequency-penalty": {
    type: "number",
    minimum: -10,
    maximum: 10,
    help: "subtracted from a token's logit for each time that the answer holds it",
    default: 0,
  },
  "presence-penalty": {
    type: "number",
    minimum: -10,
    maximum: 10,
    help: "subtracted once from the logit of a token that the answer holds",
    default: 0,
  },
  "no-repeat-ngram": {
    type: "integer",
    minimum: 0,
    maximum: 100,
    help: "no run of N tokens comes twice; 0 allows all",
    default: 0,
  },
  dry: {
    type: "number",
    minimum: 0,
    maximum: 100,
    help: "DRY: penalty of a token that lengthens a repetition; 0 for none, 0.8 is usual",
    default: 0,
  },
  "dry-base": {
    type: "number",
    minimum: 1,
    maximum: 10,
    help: "DRY: factor for each further token",
    default: 1.75,
  },
  "dry-length": {
    type: "integer",
    minimum: 1,
    maximum: 100,
    help: "DRY: longest repetition that goes unpunished, in tokens",
    default: 2,
  },
  "logit-bias": {
    type: "strings",
    placeholder: "TEXT=N",
    help: "adds N to the logits of TEXT's tokens; may come several times",
  },
  beams: {
    type: "integer",
    minimum: 1,
    maximum: 64,
    help: "beam search: texts searched side by side",
    default: 1,
  },
  "length-penalty": {
    type: "number",
    minimum: -10,
    maximum: 10,
    help: "beam search: above 0 favours longer texts",
    default: 1,
  },
  "early-stopping": { type: "boolean", help: "beam search: end with as many texts as beams" },
  "beam-groups": {
    type: "integer",
    minimum: 1,
    maximum: 64,
    help: "beam search: groups that avoid each other's tokens",
    default: 1,
  },
  "diversity-penalty": {
    type: "number",
    minimum: 0,
    maximum: 100,
    help: "beam groups: how much they avoid each other",
    default: 0,
  },
  stop: {
    type: "strings",
    placeholder: "TEXT",
    help: "ends an answer before TEXT; may come several times",
  },
  "max-tokens": {
    type: "integer",
    minimum: 1,
    maximum: 4096,
    help: "longest answer",
    default: 256,
  },
  "min-tokens": { type: "integer", minimum: 0, maximum: 4096, help: "shortest answer", default: 0 },
} as const satisfies OptionTable;

export const FILTER_OPTIONS = {
  unsure: {
    type: "number",
    minimum: 0,
    maximum: 1,
    placeholder: "P",
    help:
      "says that it does not know when its answer as a whole (where it learned intents: the intent among them, " +
      "softened, and the less likely the less the question is like those of that intent) is less likely than P; " +
      "as the checkpoint says if not given, 0 for never",
  },
  "no-filter": {
    type: "string",
    placeholder: "RULES",
    help: `switches rules of the response filter off: all, or some of ${ruleNames.join(",")}`,
  },
  retries: {
    type: "integer",
    minimum: 0,
    maximum: 20,
    help: "tries again with another seed when an answer is empty, loops or copies the question",
    default: 0,
  },
  explain: { type: "boolean", help: "says on standard error what the filter did" },
} as const satisfies OptionTable;

/** The decoding options that flags ask for. */
export function decodingOptions(
  o: Values<typeof DECODING_OPTIONS>,
  tokenizer: Tokenizer,
): DecodingOptions {
  if (o.beams > 1 && o.temperature > 0) {
    throw new UserError("--beams searches for the likeliest text and goes without --temperature");
  }
  if (o.beams % o["beam-groups"] !== 0) {
    throw new UserError(`--beams must be a multiple of --beam-groups, got ${o.beams}`);
  }
  if (o["min-tokens"] > o["max-tokens"]) {
    throw new UserError("--min-tokens must not be above --max-tokens");
  }
  return {
    ...GREEDY,
    temperature: o.temperature,
    topK: o["top-k"],
    topP: o["top-p"],
    minP: o["min-p"],
    typicalP: o.typical,
    seed: o.seed,
    repetitionPenalty: o["repetition-penalty"],
    frequencyPenalty: o["frequency-penalty"],
    presencePenalty: o["presence-penalty"],
    noRepeatNgram: o["no-repeat-ngram"],
    dry: { multiplier: o.dry, base: o["dry-base"], allowedLength: o["dry-length"] },
    logitBias: parseBias(o["logit-bias"], tokenizer),
    beams: o.beams,
    lengthPenalty: o["length-penalty"],
    earlyStopping: o["early-stopping"],
    beamGroups: o["beam-groups"],
    diversityPenalty: o["diversity-penalty"],
    maxTokens: o["max-tokens"],
    minTokens: o["min-tokens"],
  };
}

function parseBias(given: readonly string[], tokenizer: Tokenizer): Map<number, number> {
  const bias = new Map<number, number>();
  for (const entry of given) {
    const at = entry.lastIndexOf("=");
    const value = Number(entry.slice(at + 1));
    if (at < 1 || entry.slice(at + 1).trim() === "" || !Number.isFinite(value)) {
      throw new UserError(`--logit-bias must be TEXT=NUMBER, got ${entry}`);
    }
    for (const token of tokenizer.encode(entry.slice(0, at))) {
      bias.set(token, (bias.get(token) ?? 0) + value);
    }
  }
  return bias;
}

/** The filter rules that flags leave on. */
export function filterOptions(o: Values<typeof FILTER_OPTIONS>): FilterOptions {
  const off = o["no-filter"]?.split(",").map((name) => name.trim()) ?? [];
  if (off.includes("all")) return { rules: new Set() };
  for (const name of off) {
    if (ruleNames.includes(name as RuleName)) continue;
    throw new UserError(
      `--no-filter: there is no rule ${name}${suggestion(name, ruleNames) || ";"} ` +
        `there are all, ${ruleNames.join(", ")}`,
    );
  }
  return { rules: new Set(ruleNames.filter((name) => !off.includes(name))) };
}

/** When to say that the model does not know: as flags say, or else the checkpoint. */
export function unsureOption(
  given: number | undefined,
  { metadata: { unsure, decides }, tokenizer, spread }: Pick<
    LoadedModel,
    "metadata" | "tokenizer" | "spread"
  >,
): Unsure | undefined {
  const probability = given ?? unsure?.probability ?? 0;
  const intents = decides === false ? [] : [...tokenizer.intents?.values() ?? []];
  // A model that knows intents is to choose one, however sure it is.
  if (probability === 0 && intents.length === 0) return undefined;
  return { probability, answer: unsure?.answer ?? DO_NOT_KNOW, intents, spread };
}

/** What the filter did, a line for each thing. */
export function explain(
  removals: readonly { readonly rule: RuleName; readonly removed: string }[],
  rejected: readonly string[],
): string[] {
  return [
    ...rejected.map((fault) => `filter: an answer was thrown away: ${fault}`),
    ...removals.map(({ rule, removed }) => `filter: ${rule} took away ${JSON.stringify(removed)}`),
  ];
}
