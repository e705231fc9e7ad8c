// The teachers of a run: each is loaded and asked once what it would say behind every beginning of the training
// texts; then they are gone, and an epoch costs no pass of theirs.

import { checkTokens, loadWeights, readWeightsInfo, tokenizerOf } from "../checkpoint/mod.ts";
import { collate, type Example } from "../data/mod.ts";
import { UserError } from "../errors.ts";
import { addSoftened, type Runtime, type Tensor, topK } from "../kernels/mod.ts";
import {
  type Configuration,
  GPT,
  innerWidth,
  memoryEstimate,
  type SoftTargets,
} from "../model/mod.ts";
import {
  areAlike,
  mapTokens,
  type Tokenizer,
  type Translation,
  Translator,
} from "../tokenizer/mod.ts";
import type { Corpus } from "./corpus.ts";
import type { TrainingEvent } from "./events.ts";
import type { Recipe } from "./recipe.ts";
import {
  learnedTokens,
  placesOf,
  readSoftTargets,
  SOFT_TARGETS,
  Teaching,
  teachingIdentity,
  writeSoftTargets,
} from "./soft_targets.ts";

/** Tokens that teachers read at once: GEMM is at its speed from the fewest on. */
const FEWEST_TOKENS = 256, MOST_TOKENS = 2048;
/** What the activations of a reading, all layers of which are kept, and its predictions are to take at most. */
const READING_BYTES = 2 ** 25;
/** Probabilities below it are not listed: so small ones teach nothing, and would fill most of the file. */
const LEAST_LISTED = 1e-5;
/** Milliseconds between two signs of life. */
const SIGN = 1000;

export interface TeachingOptions {
  readonly runtime: Runtime;
  readonly corpus: Corpus;
  readonly recipe: Recipe;
  /** What the soft targets of a run that goes on belong to; null when it has none yet. */
  readonly identity: string | null;
  /** Where the soft targets are kept, or null not to keep them. */
  readonly directory: string | null;
  /** Ends the work, without a result. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: TrainingEvent) => void;
}

/**
 * What a recipe's teachers say of its training texts, from the run's directory or asked now.
 * @returns null for a recipe without teachers, or when the signal came
 * @throws UserError when a teacher or the kept file is damaged, or the file is of others
 */
export async function prepareTeaching(options: TeachingOptions): Promise<Teaching | null> {
  const { corpus, recipe, directory, onEvent } = options;
  if (recipe.teachers.length === 0) return null;
  const start = performance.now();
  // A run that goes on needs its teachers no more, as long as it has kept what they said.
  const identity = options.identity ?? teachingIdentity(corpus, recipe);
  const path = directory === null ? null : `${directory}/${SOFT_TARGETS}`;
  const rows = learnedTokens(corpus.training);
  const kept = path === null
    ? null
    : readSoftTargets(path, identity, rows, corpus.tokenizer.vocabularySize);
  if (kept === null && identity !== teachingIdentity(corpus, recipe)) {
    const names = recipe.teachers.join(", ");
    throw new UserError(
      `${names}: changed since the run began, and ${path} is gone; begin a new run`,
    );
  }
  const targets = kept ?? await ask(options);
  if (targets === null) return null;
  if (kept === null && path !== null) writeSoftTargets(path, targets, identity);
  onEvent({
    event: "taught",
    texts: corpus.training.length,
    targets: rows,
    taught: targets.rests.reduce(
      (sum, _, n) => sum + Number(targets.first[n + 1]! > targets.first[n]!),
      0,
    ),
    listed: targets.tokens.length,
    kept: kept !== null,
    seconds: (performance.now() - start) / 1000,
  });
  return new Teaching(identity, corpus.training, targets, recipe);
}

/** A teacher at work. */
interface Teacher {
  readonly model: GPT;
  /** [its V] its tokens in the student's vocabulary; null when they are the same. */
  readonly map: Int32Array | null;
  readonly mapTensor: Tensor | null;
  translate(tokens: Int32Array): Translation | null;
}

async function loadTeacher(path: string, { runtime, corpus }: TeachingOptions): Promise<Teacher> {
  const info = readWeightsInfo(path);
  checkTokens(info, `--teacher ${path}`);
  const tokenizer = tokenizerOf(info.metadata), student = corpus.tokenizer;
  const model = new GPT(runtime, info.configuration, { training: false });
  await loadWeights(path, model);
  if (areAlike(tokenizer, student)) {
    const same = (tokens: Int32Array) => ({ tokens, begins: tokens.map((_, i) => i) });
    return { model, map: null, mapTensor: null, translate: same };
  }
  const map = mapTokens(tokenizer, student), translator = new Translator(student, tokenizer);
  return {
    model,
    map,
    mapTensor: runtime.integers(map),
    translate: (tokens) => translator.translate(tokens),
  };
}

/** Bytes of a token of a reading: activations of all layers, and the mean over the student's V tokens. */
function bytesPerToken(c: Configuration, V: number): number {
  return 4 * (c.n_layer * (10 * c.n_embd + 2 * innerWidth(c)) + V + 1);
}

function tokensAtOnce(teachers: readonly Configuration[], V: number): number {
  const bytes = Math.max(...teachers.map((configuration) => bytesPerToken(configuration, V)));
  return Math.min(MOST_TOKENS, Math.max(FEWEST_TOKENS, Math.floor(READING_BYTES / bytes)));
}

/** Bytes that asking checkpoints takes, beside what training has allocated, for a student of V tokens. */
export function teachersMemory(paths: readonly string[], V: number): number {
  if (paths.length === 0) return 0;
  const all = paths.map((path) => readWeightsInfo(path).configuration);
  const weights = all.map((c) => memoryEstimate(c, { training: false, tokens: 0 }));
  const readings = all.map((c) => tokensAtOnce(all, V) * bytesPerToken(c, V));
  return weights.reduce((a, b) => a + b, 0) + Math.max(...readings);
}

/** What is unwise about a teacher, for the terminal. */
export function teacherWarnings(paths: readonly string[], student: Tokenizer): string[] {
  return paths.flatMap((path) => {
    const { metadata } = readWeightsInfo(path);
    const { labelSmoothing = 0 } = (metadata.recipe ?? {}) as Partial<Recipe>;
    const speaksIntents = (metadata.intents?.length ?? 0) > 0 && (student.intents?.size ?? 0) === 0;
    return [
      ...(labelSmoothing > 0
        ? [
          `--teacher ${path}: was trained with label smoothing ${labelSmoothing}, which hides what ` +
          `it knows of wrong answers (Müller et al. 2019): a student learns less from it`,
        ]
        : []),
      ...(speaksIntents
        ? [
          `--teacher ${path}: says an intent before its answer, and this model has none: use ` +
          `--vocabulary corpus --intent-tokens on`,
        ]
        : []),
    ];
  });
}

/** Loads the teachers, asks them, and gives their memory back. */
async function ask(options: TeachingOptions): Promise<SoftTargets | null> {
  const { runtime, corpus, recipe, signal, onEvent } = options;
  const { training } = corpus;
  const mark = runtime.arena.mark();
  try {
    const teachers: Teacher[] = [];
    for (const path of recipe.teachers) teachers.push(await loadTeacher(path, options));
    const lists = new Lists(learnedTokens(training), recipe.distillTopK);
    const start = performance.now();
    let sign = start, done = 0;
    const size = tokensAtOnce(
      teachers.map(({ model }) => model.configuration),
      corpus.tokenizer.vocabularySize,
    );
    for (const batch of inBatches(training, size)) {
      if (signal.aborted) return null;
      runtime.arena.scope(() => askBatch(teachers, batch, options, lists));
      done += batch.length;
      const now = performance.now();
      if (now - sign < SIGN) continue;
      sign = now;
      onEvent({
        event: "teaching",
        texts: done,
        of: training.length,
        seconds: (now - start) / 1000,
      });
      // Lets a signal arrive.
      await new Promise((turn) => setTimeout(turn, 0));
    }
    return lists.done();
  } finally {
    runtime.arena.release(mark);
  }
}

function* inBatches(examples: readonly Example[], most: number): Generator<Example[]> {
  let batch: Example[] = [], size = 0;
  for (const example of examples) {
    if (batch.length > 0 && size + example.tokens.length > most) {
      yield batch;
      [batch, size] = [[], 0];
    }
    batch.push(example);
    size += example.tokens.length;
  }
  if (batch.length > 0) yield batch;
}

/** The rows of a batch that a teacher can speak of: where they are in its reading, and which target each is. */
interface Reading {
  readonly examples: Example[];
  readonly rows: Int32Array;
  readonly to: Int32Array;
}

/** A teacher's reading of texts. A target that its own next token is not, in the student's vocabulary, is left out. */
function readingOf({ model, map, translate }: Teacher, examples: readonly Example[]): Reading {
  const read: Example[] = [], rows: number[] = [], to: number[] = [];
  const longest = model.configuration.n_positions + 1;
  let offset = 0, target = 0;
  for (const example of examples) {
    const places = placesOf(example), translation = translate(example.tokens);
    const tokens = translation?.tokens.subarray(0, longest) ?? new Int32Array();
    places.forEach((place, i) => {
      const at = translation?.begins[place] ?? -1;
      if (at < 1 || at >= tokens.length) return;
      const own = tokens[at]!;
      if ((map === null ? own : map[own]) !== example.tokens[place]) return;
      rows.push(offset + at - 1);
      to.push(target + i);
    });
    target += places.length;
    if (tokens.length < 2) continue;
    read.push({ ...example, tokens, weights: new Float32Array(tokens.length) });
    offset += tokens.length - 1;
  }
  return { examples: read, rows: Int32Array.from(rows), to: Int32Array.from(to) };
}

/** Adds the mean of the teachers' probabilities of the batch's targets: the largest, and the sum of the rest. */
function askBatch(
  teachers: readonly Teacher[],
  examples: readonly Example[],
  { runtime, corpus, recipe }: TeachingOptions,
  lists: Lists,
): void {
  const { distillTemperature: temperature, distillTopK: k } = recipe;
  const R = learnedTokens(examples);
  const V = corpus.tokenizer.vocabularySize;
  const readings = teachers.map((teacher) => readingOf(teacher, examples));
  const speakers = new Int32Array(R);
  for (const { to } of readings) to.forEach((row) => speakers[row]!++);
  const mean = runtime.arena.zeros([R, V + 1]);
  teachers.forEach(({ model, mapTensor }, i) => {
    const { examples, rows, to } = readings[i]!;
    if (rows.length === 0) return;
    model.predict(collate(examples), rows, (logits, first) => {
      const own = to.subarray(first, first + logits.shape[0]!);
      addSoftened(runtime, mean, logits, {
        to: runtime.integers(own),
        shares: runtime.floats(Float32Array.from(own, (row) => 1 / speakers[row]!)),
        map: mapTensor,
        V: model.configuration.vocab_size,
        temperature,
      });
    });
  });
  const result = {
    tokens: runtime.arena.allocate([R, k], "i32"),
    probabilities: runtime.arena.allocate([R, k]),
    rests: runtime.arena.allocate([R]),
  };
  topK(runtime, result, mean, LEAST_LISTED);
  lists.add(
    runtime.i32(result.tokens),
    runtime.f32(result.probabilities),
    runtime.f32(result.rests),
  );
}

/** Lists as they come, one batch behind the other. Memory that no list reaches is never touched. */
class Lists {
  readonly #first: Int32Array;
  readonly #tokens: Int32Array;
  readonly #probabilities: Float32Array;
  readonly #rests: Float32Array;
  #rows = 0;
  #entries = 0;

  constructor(rows: number, readonly k: number) {
    this.#first = new Int32Array(rows + 1);
    this.#tokens = new Int32Array(rows * k);
    this.#probabilities = new Float32Array(rows * k);
    this.#rests = new Float32Array(rows);
  }

  /** Adds lists [R, k], which end in -1 where they are shorter, without their ends. */
  add(tokens: Int32Array, probabilities: Float32Array, rests: Float32Array): void {
    const { k } = this;
    for (let row = 0; row < rests.length; row++) {
      const own = tokens.subarray(row * k, (row + 1) * k);
      const end = own.indexOf(-1), length = end < 0 ? k : end;
      this.#tokens.set(own.subarray(0, length), this.#entries);
      this.#probabilities.set(probabilities.subarray(row * k, row * k + length), this.#entries);
      this.#first[this.#rows + row + 1] = this.#entries += length;
    }
    this.#rests.set(rests, this.#rows);
    this.#rows += rests.length;
  }

  done(): SoftTargets {
    return {
      first: this.#first,
      tokens: this.#tokens.subarray(0, this.#entries),
      probabilities: this.#probabilities.subarray(0, this.#entries),
      rests: this.#rests,
    };
  }
}
