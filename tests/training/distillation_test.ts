// Learning from teachers: what they say, in any vocabulary; that it is kept, found again and refused; and that a run
// with them is as exact as one without.

import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { loadParameters, readCheckpointInfo, saveCheckpoint } from "../../src/checkpoint/mod.ts";
import { collate, type Example } from "../../src/data/mod.ts";
import { UserError } from "../../src/errors.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, presets, type SoftTargets } from "../../src/model/mod.ts";
import { HEAD_ROWS } from "../../src/model/head.ts";
import { CompactTokenizer, loadTokenizer, vocabularyOf } from "../../src/tokenizer/mod.ts";
import {
  type Corpus,
  loadCorpus,
  prepareTeaching,
  type Recipe,
  type TaughtEvent,
  teacherWarnings,
} from "../../src/training/mod.ts";
import { softmax } from "../reference/kernels.ts";
import { readSoftTargets, writeSoftTargets } from "../../src/training/soft_targets.ts";
import { RECIPE, runTraining, type TestRun, withDirectory, writeData } from "./helpers.ts";

const SMALL = { ...presets.nano, n_embd: 16, n_head: 2, n_positions: 64 };

/** A teacher with random weights, large enough to have opinions. */
async function makeTeacher(
  directory: string,
  seed: number,
  tokenizer = loadTokenizer(),
  recipe: Partial<Recipe> = {},
): Promise<string> {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const configuration = { ...SMALL, vocab_size: tokenizer.vocabularySize };
    const model = new GPT(runtime, configuration, { training: false });
    model.initialize(seed);
    const wte = model.readParameter("transformer.wte.weight");
    model.writeParameter("transformer.wte.weight", "parameter", wte.map((w) => 40 * w));
    const compact = tokenizer instanceof CompactTokenizer
      ? { vocabulary: tokenizer.kept, intents: [...tokenizer.intents.keys()] }
      : {};
    const metadata = {
      format: "human-assistant",
      ...{ turns: 1, step: 1, epoch: 1, recipe },
      ...compact,
    } as const;
    saveCheckpoint(directory, model, { metadata });
    return directory;
  } finally {
    runtime.close();
  }
}

function corpusOf(directory: string, recipe: Recipe, tokenizer = loadTokenizer()): Corpus {
  const files = { training: [writeData(directory)], validation: [], skipBadLines: false };
  return loadCorpus(files, recipe, tokenizer);
}

/** What teachers say of a corpus, and the event that tells of it. */
async function ask(corpus: Corpus, recipe: Recipe, directory: string | null = null) {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const before = runtime.arena.used;
    const told: TaughtEvent[] = [];
    const teaching = await prepareTeaching({
      ...{ runtime, corpus, recipe, directory, identity: null },
      signal: new AbortController().signal,
      onEvent: (event) => event.event === "taught" && told.push(event),
    });
    assertEquals(runtime.arena.used, before, "the teachers' memory is given back");
    return { teaching: teaching!, taught: told[0]! };
  } finally {
    runtime.close();
  }
}

/** A checkpoint's probabilities at a temperature behind each of an example's tokens but the last. */
async function probabilities(path: string, tokens: Int32Array, temperature: number) {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const { configuration } = readCheckpointInfo(path);
    const model = new GPT(runtime, configuration, { training: false });
    loadParameters(path, model);
    const example = { tokens, weights: new Float32Array(tokens.length) } as Example;
    const logits = model.logits(collate([example])), V = configuration.vocab_size;
    return Array.from(
      { length: tokens.length - 1 },
      (_, n) => softmax(Array.from(logits.subarray(n * V, (n + 1) * V), (z) => z / temperature)),
    );
  } finally {
    runtime.close();
  }
}

Deno.test("soft targets are the mean of the teachers' softened probabilities: the largest and their rest, within 1e-5", () =>
  withDirectory(async (directory) => {
    const teachers = [
      await makeTeacher(`${directory}/a`, 1),
      await makeTeacher(`${directory}/b`, 2),
    ];
    const recipe: Recipe = { ...RECIPE, teachers, distillTemperature: 4, distillTopK: 20 };
    const corpus = corpusOf(directory, recipe);
    const { teaching, taught } = await ask(corpus, recipe);
    const learned = (example: Example) => example.weights.subarray(1).filter((w) => w > 0).length;
    assertEquals(taught.targets, corpus.training.reduce((sum, e) => sum + learned(e), 0));
    assertEquals(taught.taught, taught.targets);
    // Two examples as one batch: the second's rows lie behind the first's.
    const examples = [corpus.training[3]!, corpus.training[1]!];
    const { targets } = teaching.of(examples);
    let n = 0;
    for (const { tokens, weights } of examples) {
      const [a, b] = await Promise.all(teachers.map((path) => probabilities(path, tokens, 4)));
      for (let i = 0; i < tokens.length - 1; i++, n++) {
        const from = targets.first[n]!, to = targets.first[n + 1]!;
        if (weights[i + 1] === 0) {
          assertEquals([from, targets.rests[n]], [to, 0]);
          continue;
        }
        const mean = a![i]!.map((p, token) => (p + b![i]![token]!) / 2);
        const largest = [...mean].sort((p, q) => q - p).slice(0, 20);
        assertEquals(to - from, 20);
        for (let j = from; j < to; j++) {
          assertAlmostEquals(targets.probabilities[j]!, largest[j - from]!, 1e-5);
          assertAlmostEquals(mean[targets.tokens[j]!]!, targets.probabilities[j]!, 1e-5);
        }
        assertAlmostEquals(targets.rests[n]!, 1 - largest.reduce((p, q) => p + q, 0), 1e-5);
      }
    }
  }));

Deno.test("a teacher of another vocabulary: its words in the student's tokens; what it spells otherwise is left to the data", () =>
  withDirectory(async (directory) => {
    const gpt2 = loadTokenizer();
    // It knows the answers' words but one, and none of the questions'.
    const known = [
      " A colour named red. green blue white black brown pink gold",
      "Human:Assistant",
    ];
    const narrow = new CompactTokenizer(gpt2, vocabularyOf(known, gpt2));
    const teachers = [await makeTeacher(`${directory}/narrow`, 1, narrow)];
    const recipe: Recipe = { ...RECIPE, teachers, distillTopK: 20, validation: 0 };
    const corpus = corpusOf(directory, recipe);
    const { teaching, taught } = await ask(corpus, recipe);
    assert(taught.taught < taught.targets, JSON.stringify(taught));
    assert(taught.taught > 0.8 * taught.targets, JSON.stringify(taught));
    for (const example of corpus.training) {
      const { tokens, weights } = example;
      const { targets } = teaching.of([example]);
      const theirs = narrow.encode(gpt2.decode(tokens.subarray(0, -1)));
      const end = narrow.special.endOfText;
      const said = await probabilities(teachers[0]!, Int32Array.from([...theirs, end]), 2);
      for (let i = 1; i < tokens.length; i++) {
        if (weights[i] === 0) continue;
        const from = targets.first[i - 1]!, to = targets.first[i]!;
        const isKnown = i === tokens.length - 1 || narrow.kept.includes(tokens[i]!);
        assertEquals(to > from, isKnown, gpt2.decode([tokens[i]!]));
        if (!isKnown) continue;
        // Their row: behind as many bytes as ours.
        const before = narrow.encode(gpt2.decode(tokens.subarray(0, i))).length;
        const token = targets.tokens[from]!, own = narrow.kept.indexOf(token);
        assertAlmostEquals(
          targets.probabilities[from]!,
          said[before - 1]![own < 0 ? end : own]!,
          1e-5,
        );
      }
    }
  }));

Deno.test("a batch of more targets than logits are made at once: every text's lists are those that it gets alone", () =>
  withDirectory(async (directory) => {
    const gpt2 = loadTokenizer();
    const words = Deno.readTextFileSync(writeData(directory));
    const tokenizer = new CompactTokenizer(gpt2, vocabularyOf([words], gpt2));
    const teachers = [await makeTeacher(`${directory}/a`, 1, tokenizer)];
    const formats = ["human-assistant", "q-a", "user-ai"].map((name) => ({ name })) as Recipe[
      "formats"
    ];
    const recipe = { ...RECIPE, teachers, formats, promptLossWeight: 0.5, validation: 0 };
    const corpus = corpusOf(directory, recipe, tokenizer);
    const { teaching, taught } = await ask(corpus, recipe);
    assert(taught.targets > HEAD_ROWS, `${taught.targets}`);
    for (const example of [corpus.training[0]!, corpus.training.at(-1)!]) {
      const { targets } = teaching.of([example]);
      const said = await probabilities(teachers[0]!, example.tokens, 2);
      said.forEach((p, n) => {
        for (let j = targets.first[n]!; j < targets.first[n + 1]!; j++) {
          assertAlmostEquals(targets.probabilities[j]!, p[targets.tokens[j]!]!, 1e-5);
        }
        assert(targets.first[n + 1]! > targets.first[n]!);
      });
      // R-Drop's copies hear the same.
      const twice = teaching.of([example, example]).targets;
      const entries = targets.tokens.length;
      assertEquals(twice.tokens.subarray(entries), targets.tokens);
      assertEquals(twice.rests.subarray(said.length), targets.rests);
      // Nothing is said of a text that nobody was asked about.
      const mixed = teaching.of([{ ...example }, example]).targets;
      assertEquals(mixed.first[said.length], 0);
      assertEquals(mixed.tokens, targets.tokens);
    }
  }));

function assertSameRun(actual: TestRun, expected: TestRun): void {
  assertEquals(actual.history, expected.history);
  for (const [name, values] of expected.arrays) {
    assert(values.every((value, i) => value === actual.arrays.get(name)![i]), `${name} differs`);
  }
}

Deno.test("with teachers, noise, R-Drop and accumulation: stopped and resumed without the teachers, on any threads, the same bytes", () =>
  withDirectory(async (root) => {
    const teachers = [await makeTeacher(`${root}/a`, 1), await makeTeacher(`${root}/b`, 2)];
    const recipe: Partial<Recipe> = {
      ...{ teachers, distillWeight: 0.7, distillDivergence: "reverse", distillTopK: 8 },
      ...{ wordDropout: 0.3, embeddingNoise: 5, rDrop: 1, accumulate: 2, stopOn: "never" },
    };
    const whole = await withDirectory((directory) => runTraining(directory, { recipe }));
    const two = await withDirectory((directory) => runTraining(directory, { recipe, threads: 2 }));
    assertSameRun(two, whole);
    const parts = await withDirectory(async (directory) => {
      await runTraining(directory, { recipe, stopAfter: 1 });
      for (const path of teachers) Deno.removeSync(path, { recursive: true });
      return await runTraining(directory, { recipe, resume: true });
    });
    assertSameRun(parts, whole);
    // Where what they said is gone, too, only the same teachers can be asked again.
    for (const seed of [1, 3]) {
      await withDirectory(async (directory) => {
        await makeTeacher(teachers[0]!, 1);
        await makeTeacher(teachers[1]!, 2);
        await runTraining(directory, { recipe, stopAfter: 1 });
        Deno.removeSync(`${directory}/run/teachers.safetensors`);
        await makeTeacher(teachers[0]!, seed);
        const resumed = runTraining(directory, { recipe, resume: true });
        if (seed === 1) return assertSameRun(await resumed, whole);
        const error = await resumed.catch((e) => e);
        assert(error instanceof UserError, String(error));
        assert(/changed since the run began, and .* is gone/.test(error.message), error.message);
      });
    }
    const kept = (run: TestRun) => run.events.flatMap((e) => e.event === "taught" ? [e.kept] : []);
    assertEquals([kept(whole), kept(parts)], [[false], [true]]);
    const [step] = whole.events.filter((e) => e.event === "step");
    assert(step!.distillation! > 0 && step!.cross_entropy! > 0, JSON.stringify(step));
    const [epoch] = whole.events.filter((e) => e.event === "epoch");
    assert(epoch!.train_distillation! > 0, JSON.stringify(epoch));
  }));

Deno.test("losses: without their weight teachers change no weight; with all of it the data count for nothing", () =>
  withDirectory(async (root) => {
    const teachers = [await makeTeacher(`${root}/a`, 1)];
    const common: Partial<Recipe> = { labelSmoothing: 0, epochs: 1 };
    const run = (recipe: Partial<Recipe>) =>
      withDirectory((directory) => runTraining(directory, { recipe: { ...common, ...recipe } }));
    const plain = await run({});
    const silent = await run({ teachers, distillWeight: 0 });
    for (const [name, values] of plain.arrays) {
      assert(values.every((value, i) => value === silent.arrays.get(name)![i]), name);
    }
    const alone = await run({ teachers, distillWeight: 1 });
    for (const event of alone.events) {
      if (event.event === "step") assertAlmostEquals(event.loss, event.distillation!, 1e-6);
    }
    const half = await run({ teachers, distillWeight: 0.25 });
    for (const event of half.events) {
      if (event.event !== "step") continue;
      const { loss, cross_entropy, distillation } = event;
      assertAlmostEquals(loss, 0.75 * cross_entropy! + 0.25 * distillation!, 1e-5);
    }
    for (const event of plain.events) {
      assert(!("distillation" in event) && !("train_distillation" in event));
    }
  }));

Deno.test("the file of soft targets: found again, refused when damaged or of other teachers, data or settings", () =>
  withDirectory(async (directory) => {
    const teachers = [await makeTeacher(`${directory}/a`, 1)];
    const recipe: Recipe = { ...RECIPE, teachers, distillTopK: 5 };
    const corpus = corpusOf(directory, recipe);
    const first = await ask(corpus, recipe, directory);
    const again = await ask(corpus, recipe, directory);
    assertEquals([first.taught.kept, again.taught.kept], [false, true]);
    assertEquals(again.teaching.targets, first.teaching.targets);

    const path = `${directory}/teachers.safetensors`;
    const refused = async (change: Partial<Recipe>, message: RegExp, data = corpus) => {
      const error = await ask(data, { ...recipe, ...change }, directory).catch((e) => e);
      assert(error instanceof UserError, String(error));
      assert(message.test(error.message), error.message);
    };
    const others = /teachers.safetensors: is of other teachers, data or settings/;
    await refused({ distillTemperature: 3 }, others);
    await refused({ distillTopK: 6 }, others);
    await refused({}, others, corpusOf(directory, { ...recipe, seed: 7 }));
    await refused({ teachers: [await makeTeacher(`${directory}/b`, 2)] }, others);
    // The share and the direction only matter later.
    assert((await ask(corpus, { ...recipe, distillWeight: 0.1 }, directory)).taught.kept);

    const bytes = Deno.readFileSync(path);
    bytes[bytes.length - 9]! ^= 1;
    Deno.writeFileSync(path, bytes);
    await refused({}, /teachers.safetensors: is damaged: the bytes of rests have changed/);
  }));

Deno.test("readSoftTargets: lists that are no tokens are refused, a missing file is none", () =>
  withDirectory((directory) => {
    const path = `${directory}/x.safetensors`;
    const sound: SoftTargets = {
      first: Int32Array.of(0, 2, 2),
      tokens: Int32Array.of(7, 3),
      probabilities: Float32Array.of(0.6, 0.3),
      rests: Float32Array.of(0.1, 0),
    };
    assertEquals(readSoftTargets(path, "id", 2, 10), null);
    writeSoftTargets(path, sound, "id");
    assertEquals(readSoftTargets(path, "id", 2, 10), sound);
    assertThrows(() => readSoftTargets(path, "id", 2, 7), UserError, "is damaged: its lists");
    assertThrows(() => readSoftTargets(path, "id", 3, 10), UserError, "first has shape [3]");
    writeSoftTargets(path, { ...sound, first: Int32Array.of(0, 1, 1) }, "id");
    assertThrows(() => readSoftTargets(path, "id", 2, 10), UserError, "is damaged: its lists");
    assertEquals(Array.from(Deno.readDirSync(directory)).length, 1);
    return Promise.resolve();
  }));

Deno.test("a teacher with label smoothing, or with intents that the student lacks, is warned about in a line each", () =>
  withDirectory(async (directory) => {
    const gpt2 = loadTokenizer();
    const smooth = await makeTeacher(`${directory}/a`, 1, gpt2, { labelSmoothing: 0.1 });
    const plain = await makeTeacher(`${directory}/b`, 1, gpt2, { labelSmoothing: 0 });
    const speaking = new CompactTokenizer(gpt2, vocabularyOf(["a"], gpt2), ["greeting"]);
    const intents = await makeTeacher(`${directory}/c`, 1, speaking);
    assertEquals(teacherWarnings([plain], gpt2), []);
    const [warning, ...rest] = teacherWarnings([smooth, plain], gpt2);
    assertEquals(rest, []);
    assert(/a: was trained with label smoothing 0.1, which/.test(warning!), warning);
    assertEquals(teacherWarnings([intents], speaking), []);
    assert(/c: says an intent before/.test(teacherWarnings([intents], gpt2)[0]!));
  }));
