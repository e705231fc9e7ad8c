// The spread of a model's intents: found over the questions that it learned, saved with it, read back, refused when damaged.

import { assertEquals, assertThrows } from "@std/assert";
import { readIntentSpread } from "../../src/checkpoint/mod.ts";
import { collate, upToDecision } from "../../src/data/mod.ts";
import { UserError } from "../../src/errors.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, presets } from "../../src/model/mod.ts";
import {
  loadCorpus,
  type Recipe,
  recipes,
  startOfRun,
  train,
  type TrainOptions,
} from "../../src/training/mod.ts";
import { intentSpread } from "../../src/training/intents.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";
import { assertClose } from "../reference/compare.ts";
import { withDirectory } from "./helpers.ts";

const RECIPE: Recipe = {
  ...recipes.conversations,
  ...{ vocabulary: "corpus", intentTokens: true, validation: 0, epochs: 1, sampleEvery: 0 },
  ...{ stopOn: "never", batchSize: 16, augment: false },
};

/** Trains in `directory` on `questions` spellings of each of three intents. */
async function trained(
  directory: string,
  questions: number,
  work: (model: GPT, options: TrainOptions) => void,
): Promise<void> {
  const data = `${directory}/data.jsonl`;
  const lines = ["cat", "dog", "fox"].flatMap((intent) =>
    Array.from({ length: questions }, (_, i) => ({
      prompt: `What is number ${i} of a ${intent}?`,
      completion: `A ${intent}.`,
      intent,
    }))
  );
  Deno.writeTextFileSync(data, lines.map((line) => JSON.stringify(line)).join("\n"));
  const files = { training: [data], validation: [], skipBadLines: false };
  const corpus = loadCorpus(files, RECIPE), { tokenizer } = corpus;
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const vocab_size = tokenizer.vocabularySize;
    const model = new GPT(runtime, { ...presets.nano, vocab_size }, { training: true });
    model.initialize(1);
    const options: TrainOptions = {
      model,
      tokenizer,
      corpus,
      state: {
        ...{ version: 1, momentSteps: 0, recipeName: "test", recipe: RECIPE, init: null },
        ...{ data: [data], validationData: [], skipBadLines: false },
        ...{ fingerprint: corpus.fingerprint, progress: startOfRun() },
      },
      directory: `${directory}/run`,
      history: [],
      signal: new AbortController().signal,
      onEvent: () => {},
    };
    await train(options);
    work(model, options);
  } finally {
    runtime.close();
  }
}

Deno.test("intents' spread: a run saves it, with the means of the logits behind its questions", () =>
  withDirectory((directory) =>
    trained(directory, 9, (model, { corpus }) => {
      const intents = [...corpus.tokenizer.intents!.values()], V = model.configuration.vocab_size;
      const saved = readIntentSpread(`${directory}/run/last`, 3)!;
      assertEquals(saved, intentSpread(model, corpus));
      const means = intents.flatMap((intent) => {
        const own = corpus.training.map((example) => upToDecision(example, example.decision!))
          .filter(({ tokens }) => tokens.at(-1) === intent);
        assertEquals(own.length, 9);
        const logits = own.map((example) => {
          const batch = collate([example]);
          const last = model.logits(batch).subarray((batch.tokens.length - 1) * V);
          return intents.map((token) => last[token]!);
        });
        return intents.map((_, i) => logits.reduce((sum, row) => sum + row[i]! / 9, 0));
      });
      assertClose([...saved.means], means, 1e-4, "means");
      // Without questions that nobody is to answer, the background are all of them.
      const whole = intents.map((_, i) => (means[i]! + means[3 + i]! + means[6 + i]!) / 3);
      assertClose([...saved.backgroundMean], whole, 1e-4, "the background's mean");
      assertThrows(() => readIntentSpread(`${directory}/run/last`, 4), UserError, "means");
      const path = `${directory}/run/last/intents.safetensors`;
      const bytes = Deno.readFileSync(path);
      bytes[bytes.length - 2]! ^= 64;
      Deno.writeFileSync(path, bytes);
      assertThrows(() => readIntentSpread(`${directory}/run/last`, 3), UserError, "is damaged");
    })
  ));

Deno.test("intents' spread: questions that nobody is to answer are the background, and no intent", () =>
  withDirectory((directory) =>
    trained(directory, 9, (model, { corpus }) => {
      const { intents } = corpus.tokenizer, [first] = intents!.keys();
      // The same tokens, of which the first now stands for the unknown.
      const renamed = new Map([...intents!].map(([name, token]) => [
        name === first ? "unknown" : name,
        token,
      ]));
      const tokenizer = { ...corpus.tokenizer, intents: renamed } as typeof corpus.tokenizer;
      const training = corpus.training.flatMap((example) =>
        // Too few of one intent for a background: each twice.
        example.tokens[example.decision!] === intents!.get(first!) ? [example, example] : [example]
      );
      const all = intentSpread(model, corpus)!;
      const spread = intentSpread(model, { tokenizer, training })!;
      assertClose([...spread.backgroundMean], [...all.means.subarray(0, 3)], 1e-4, "background");
      assertEquals([...spread.means.subarray(0, 3)], [0, 0, 0]);
      assertClose([...spread.means.subarray(3)], [...all.means.subarray(3)], 1e-5, "others");
    })
  ));

Deno.test("intents' spread: few questions leave none, nor has a model without intents any", () =>
  withDirectory((directory) =>
    trained(directory, 2, (model, { corpus }) => {
      assertEquals(intentSpread(model, corpus), null);
      assertEquals(readIntentSpread(`${directory}/run/last`, 3), null);
      assertEquals(intentSpread(model, { ...corpus, tokenizer: loadTokenizer() }), null);
    })
  ));
