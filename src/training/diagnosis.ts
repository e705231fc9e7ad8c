// What a model does with texts that it learns and with texts that were set aside: does it recite, is it right, does it
// repeat itself, and is it as sure as it should be?

import { collate, type Example } from "../data/mod.ts";
import {
  type Confidence,
  distinct,
  expectedCalibrationError,
  sequenceRepetition,
  tokenF1,
} from "../evaluation/mod.ts";
import { generateBatch, GREEDY, logSumExp } from "../generation/mod.ts";
import type { GPT } from "../model/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import type { Corpus } from "./corpus.ts";
import { evenly } from "./evenly.ts";

/** Shares and means over some texts, evenly spread; null where there are none. */
export interface Diagnosis {
  /** Share of training texts whose rest is given word for word, after their beginning. */
  readonly recited: number;
  /** The same of texts set aside. */
  readonly recited_aside: number | null;
  /** Share of texts set aside whose rest is given nearly so: token F1 of at least 0.6. */
  readonly accuracy: number | null;
  /** Of what is said to the texts set aside, or without such to the training texts. */
  readonly seq_rep_4: number;
  readonly distinct_2: number;
  /** Expected calibration error of the next token's probability (Guo et al. 2017), of the same texts. */
  readonly calibration_error: number;
}

/** Texts of each kind that are tried. */
const TRIED = 16;
/** Longest rest, in tokens. */
const REST_TOKENS = 48;
/** Tokens whose probabilities are looked at. */
const CALIBRATION_TOKENS = 512;
const LIKE_ENOUGH = 0.6;

/** An example's beginning, which is given, and its rest: the answer where only that is learned, else the second half. */
export function divide(
  { tokens, weights }: Example,
  endOfText: number,
): { beginning: number[]; rest: number[] } {
  const all = Array.from(tokens);
  if (all.at(-1) === endOfText) all.pop();
  const given = weights.findLastIndex((weight, i) => i > 0 && i < all.length && !(weight > 0)) + 1;
  const at = given > 1 && given < all.length ? given : Math.ceil(all.length / 2);
  return { beginning: all.slice(0, at), rest: all.slice(at, at + REST_TOKENS) };
}

interface Continued {
  readonly said: string;
  readonly meant: string;
  readonly recited: boolean;
}

async function continueAll(
  model: GPT,
  tokenizer: Tokenizer,
  examples: readonly Example[],
): Promise<Continued[]> {
  const divided = examples.map((example) => divide(example, tokenizer.special.endOfText))
    .filter(({ beginning, rest }) => beginning.length > 0 && rest.length > 0);
  const requests = divided.map(({ beginning, rest }) => ({
    prompt: beginning,
    options: {
      ...GREEDY,
      maxTokens: rest.length,
      stopTexts: [],
      filter: { rules: new Set<never>() },
    },
  }));
  const answers = await generateBatch(model, tokenizer, requests, { width: TRIED });
  return divided.map(({ rest }, i) => {
    const tokens = answers[i]!.tokens.slice(0, rest.length);
    return {
      said: tokenizer.decode(tokens),
      meant: tokenizer.decode(rest),
      recited: tokens.length === rest.length && rest.every((token, t) => tokens[t] === token),
    };
  });
}

/** How sure the model is of its next tokens, and whether it is right. */
function confidences(model: GPT, examples: readonly Example[]): Confidence[] {
  const V = model.configuration.vocab_size;
  const found: Confidence[] = [];
  for (const example of examples) {
    if (found.length >= CALIBRATION_TOKENS) break;
    const batch = collate([example]);
    const logits = model.logits(batch);
    batch.targets.forEach((target, n) => {
      if (!(batch.weights[n]! > 0)) return;
      const row = logits.subarray(n * V, (n + 1) * V);
      let best = 0;
      for (let i = 1; i < V; i++) if (row[i]! > row[best]!) best = i;
      found.push({ sure: Math.exp(row[best]! - logSumExp(row)), right: best === target });
    });
  }
  return found;
}

const share = (values: readonly boolean[]) =>
  values.length === 0 ? 0 : values.filter(Boolean).length / values.length;

/** Tries a model on its corpus. */
export async function diagnose(
  model: GPT,
  tokenizer: Tokenizer,
  corpus: Pick<Corpus, "training" | "validation">,
): Promise<Diagnosis> {
  const learned = evenly(corpus.training, TRIED), aside = evenly(corpus.validation, TRIED);
  const known = await continueAll(model, tokenizer, learned);
  const fresh = await continueAll(model, tokenizer, aside);
  const has = aside.length > 0;
  const said = (has ? fresh : known).map(({ said }) => said);
  return {
    recited: share(known.map(({ recited }) => recited)),
    recited_aside: has ? share(fresh.map(({ recited }) => recited)) : null,
    accuracy: has
      ? share(fresh.map(({ said, meant }) => tokenF1(said, meant) >= LIKE_ENOUGH))
      : null,
    seq_rep_4: sequenceRepetition(said),
    distinct_2: distinct(said, 2),
    calibration_error: expectedCalibrationError(confidences(model, has ? aside : learned)),
  };
}
