// What teachers say of the training texts: kept in a run's directory, and looked up batch by batch.

import { crc32 } from "node:zlib";
import {
  isFile,
  replaceFile,
  SafetensorsFile,
  weightsFingerprint,
  writeSafetensors,
} from "../checkpoint/mod.ts";
import type { Example } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import type { Distillation, SoftTargets } from "../model/mod.ts";
import { CompactTokenizer } from "../tokenizer/mod.ts";
import type { Corpus } from "./corpus.ts";
import type { Recipe } from "./recipe.ts";

/** The file in a run's directory. */
export const SOFT_TARGETS = "teachers.safetensors";

/** The header's entry that says what the file belongs to. */
const IDENTITY = "illuminator";

/** Places in an example's tokens that are learned; a token's place is never 0. */
export function placesOf({ tokens, weights }: Example): number[] {
  return Array.from(tokens.keys()).filter((i) => i > 0 && weights[i]! > 0);
}

/** How many tokens of examples are learned. */
export function learnedTokens(examples: readonly Example[]): number {
  return examples.reduce((sum, example) => sum + placesOf(example).length, 0);
}

/** A number for all that soft targets depend on: data, vocabulary, teachers, temperature and length of the lists. */
export function teachingIdentity(corpus: Corpus, recipe: Recipe): string {
  const { tokenizer, fingerprint } = corpus;
  const vocabulary = tokenizer instanceof CompactTokenizer
    ? [tokenizer.kept, [...tokenizer.intents.keys()]]
    : tokenizer.vocabularySize;
  const { teachers, distillTemperature, distillTopK } = recipe;
  const own = [fingerprint, vocabulary, distillTemperature, distillTopK];
  const sum = crc32(JSON.stringify([...own, teachers.map(weightsFingerprint)]));
  return `${fingerprint}-${sum.toString(16).padStart(8, "0")}`;
}

/** Writes soft targets beside their final name, flushed, then renamed. */
export function writeSoftTargets(path: string, targets: SoftTargets, identity: string): void {
  const integers = ["first", "tokens"] as const, floats = ["probabilities", "rests"] as const;
  const shape = (name: keyof SoftTargets) => ({ name, shape: [targets[name].length] });
  const tensors = [
    ...integers.map((name) => ({
      ...shape(name),
      integers: () => targets[name],
    })),
    ...floats.map((name) => ({ ...shape(name), values: () => targets[name] })),
  ];
  replaceFile(
    path,
    (temporary) => writeSafetensors(temporary, tensors, "F32", { [IDENTITY]: identity }),
  );
}

/**
 * Reads soft targets.
 * @param rows learned tokens of the training texts
 * @returns null when there is no such file
 * @throws UserError when it is damaged, or belongs to other teachers, data or settings
 */
export function readSoftTargets(
  path: string,
  identity: string,
  rows: number,
  vocabularySize: number,
): SoftTargets | null {
  if (!isFile(path)) return null;
  using file = new SafetensorsFile(path);
  if (file.metadata[IDENTITY] !== identity) {
    throw new UserError(
      `${path}: is of other teachers, data or settings than this run's; remove it, or choose another --out`,
    );
  }
  const entries = file.entries.get("tokens")?.shape[0] ?? 0;
  const first = file.readIntegers("first", [rows + 1]);
  const tokens = file.readIntegers("tokens", [entries]);
  const isSound = first[0] === 0 && first[rows] === entries &&
    first.every((at, n) => n === 0 || at >= first[n - 1]!) &&
    tokens.every((token) => token >= 0 && token < vocabularySize);
  if (!isSound) throw new UserError(`${path}: is damaged: its lists are no tokens; remove it`);
  return {
    first,
    tokens,
    probabilities: file.read("probabilities", [entries]),
    rests: file.read("rests", [rows]),
  };
}

/** Soft targets of a run's training texts, and how they count in the loss. */
export class Teaching {
  readonly #starts = new Map<Example, number>();

  /**
   * @param targets of each learned token of the examples, in their order
   * @param identity what they belong to; see teachingIdentity
   */
  constructor(
    readonly identity: string,
    examples: readonly Example[],
    readonly targets: SoftTargets,
    readonly recipe: Pick<Recipe, "distillTemperature" | "distillWeight" | "distillDivergence">,
  ) {
    let start = 0;
    for (const example of examples) {
      this.#starts.set(example, start);
      start += placesOf(example).length;
    }
    if (start !== targets.rests.length) {
      throw new RangeError(`${targets.rests.length} soft targets for ${start} learned tokens`);
    }
  }

  /**
   * What is said of the batch that is collated from these examples.
   * @param whole the texts that they are the beginnings of, where their ends were cut; of others nothing is said
   */
  of(examples: readonly Example[], whole = examples): Distillation {
    const { first, tokens, probabilities, rests } = this.targets;
    const N = examples.reduce((sum, example) => sum + example.tokens.length - 1, 0);
    /** The row of each of the batch's tokens, or -1. */
    const rows = new Int32Array(N).fill(-1);
    let offset = 0;
    examples.forEach((example, e) => {
      const start = this.#starts.get(whole[e]!);
      if (start !== undefined) {
        placesOf(example).forEach((place, i) => rows[offset + place - 1] = start + i);
      }
      offset += example.tokens.length - 1;
    });
    const own = new Int32Array(N + 1);
    rows.forEach((row, n) => own[n + 1] = own[n]! + (row < 0 ? 0 : first[row + 1]! - first[row]!));
    const targets = {
      first: own,
      tokens: new Int32Array(own[N]!),
      probabilities: new Float32Array(own[N]!),
      rests: Float32Array.from(rows, (row) => row < 0 ? 0 : rests[row]!),
    };
    rows.forEach((row, n) => {
      if (row < 0) return;
      targets.tokens.set(tokens.subarray(first[row]!, first[row + 1]!), own[n]!);
      targets.probabilities.set(probabilities.subarray(first[row]!, first[row + 1]!), own[n]!);
    });
    const { distillTemperature, distillWeight, distillDivergence } = this.recipe;
    return {
      targets,
      temperature: distillTemperature,
      weight: distillWeight,
      divergence: distillDivergence,
    };
  }
}
