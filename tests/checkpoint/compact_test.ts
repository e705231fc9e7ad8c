// A compact vocabulary for other programs: tokens as transformers have them, by a fixture that
// tests/reference/check_formats.py --write-fixture makes; and the model with its vocabulary read back.

import { assert, assertEquals } from "@std/assert";
import {
  exportGguf,
  exportHuggingFace,
  openWeights,
  tokenizerOf,
  type Weights,
} from "../../src/checkpoint/mod.ts";
import { GgufFile } from "../../src/checkpoint/gguf.ts";
import { parameterTable } from "../../src/model/mod.ts";
import { withSteps } from "../../src/tokenizer/mod.ts";
import { saveCompact } from "../reference/compact.ts";
import { run } from "../commands/parrot.ts";

interface Fixture {
  corpus: string[];
  intents: string[];
  texts: string[];
  tokens: number[][];
}

const fixture: Fixture = JSON.parse(
  Deno.readTextFileSync(
    new URL("../reference/fixtures/compact_tokens.json", import.meta.url),
  ),
);

async function withModel(
  work: (weights: Weights, directory: string) => unknown,
  steps = false,
): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    saveCompact(`${directory}/model`, fixture.corpus, fixture.intents, steps);
    using weights = await openWeights(`${directory}/model`);
    await work(weights, directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Exports a model both ways and opens what was written. */
async function withExports(
  work: (weights: Weights, exported: Weights, directory: string) => unknown,
  steps = false,
): Promise<void> {
  await withModel(async (weights, directory) => {
    exportHuggingFace(`${directory}/hf`, weights);
    exportGguf(`${directory}/a.gguf`, weights, { type: "f32", explicitHead: true, name: "a" });
    for (const path of [`${directory}/hf`, `${directory}/a.gguf`]) {
      using exported = await openWeights(path);
      await work(weights, exported, directory);
    }
  }, steps);
}

Deno.test("compact export: tokens are those of transformers, the vocabulary and intents come back", () =>
  withExports((weights, exported) => {
    const tokenizer = tokenizerOf(exported.metadata);
    assertEquals(exported.metadata.vocabulary, withSteps(weights.metadata.vocabulary!));
    assertEquals([...tokenizer.intents!.keys()], fixture.intents);
    assertEquals(exported.configuration.vocab_size, tokenizer.vocabularySize);
    assert(fixture.texts.length > 100);
    fixture.texts.forEach((text, i) =>
      assertEquals(tokenizer.encode(text), fixture.tokens[i], text)
    );
  }));

Deno.test("compact export: kept tokens have their rows, steps that of <|pad|>, all else is the same", () =>
  withExports((weights, exported) => {
    const before = tokenizerOf(weights.metadata), after = tokenizerOf(exported.metadata);
    const [rows, grown] = [weights, exported].map((w) =>
      w.read("transformer.wte.weight", [w.configuration.vocab_size, 32])
    );
    const row = (values: Float32Array, at: number) => [...values.subarray(32 * at, 32 * at + 32)];
    const own = new Map(weights.metadata.vocabulary!.map((token, i) => [token, i]));
    const expected = [
      ...exported.metadata.vocabulary!.map((token) => own.get(token) ?? before.special.pad),
      ...Object.values(before.special),
      ...before.intents!.values(),
    ];
    assertEquals(expected.length, after.vocabularySize);
    expected.forEach((at, i) => assertEquals(row(grown!, i), row(rows!, at), `${i}`));
    for (const { name, shape } of parameterTable(weights.configuration).slice(1)) {
      assertEquals(exported.read(name, shape), weights.read(name, shape), name);
    }
  }));

Deno.test("compact export: with all steps, any text has its tokens of before, and so transformers' own", () =>
  withExports((weights, exported) => {
    const own = tokenizerOf(weights.metadata);
    assertEquals(exported.metadata.vocabulary, weights.metadata.vocabulary);
    assertEquals(exported.configuration.vocab_size, weights.configuration.vocab_size);
    fixture.texts.forEach((text, i) => assertEquals(own.encode(text), fixture.tokens[i], text));
  }, true));

Deno.test("compact export: special tokens and intents are control tokens of GGUF, and added ones elsewhere", () =>
  withModel(async (weights, directory) => {
    exportGguf(`${directory}/a.gguf`, weights, { type: "q8_0", explicitHead: false, name: "a" });
    exportHuggingFace(`${directory}/hf`, weights);
    using file = new GgufFile(`${directory}/a.gguf`);
    using exported = await openWeights(`${directory}/hf`);
    const { special, vocabularySize } = tokenizerOf(exported.metadata);
    const tokens = file.metadata.get("tokenizer.ggml.tokens") as string[];
    const types = file.metadata.get("tokenizer.ggml.token_type") as number[];
    assertEquals(tokens.slice(-2), ["<|intent:neural networks|>", "<|intent:überfit|>"]);
    assertEquals(types.indexOf(3), special.endOfText);
    assertEquals(types.lastIndexOf(1), special.endOfText - 1);
    assertEquals(file.metadata.get("tokenizer.ggml.eos_token_id"), special.endOfText);
    const json = (name: string) => JSON.parse(Deno.readTextFileSync(`${directory}/hf/${name}`));
    const added = json("tokenizer.json").added_tokens as { id: number; special: boolean }[];
    assertEquals(
      added.map(({ id }) => id),
      Array.from({ length: 4 + 3 }, (_, i) => special.endOfText + i),
    );
    assert(added.every(({ special }) => special));
    assertEquals(added.at(-1)!.id, vocabularySize - 1);
    assertEquals(json("generation_config.json").eos_token_id, special.endOfText);
  }));

Deno.test("--vocabulary corpus-bpe: what --vocabulary corpus keeps, and the steps to it", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const [used, closed] = await Promise.all(["corpus", "corpus-bpe"].map(async (vocabulary) => {
      const small = ["--recipe", "basic", "--model", "nano", "--max-tokens", "8", "--epochs", "1"];
      const to = ["--vocabulary", vocabulary, "--sample-every", "0", "--out", vocabulary];
      const { code, stderr } = await run(directory, ["train", ...small, ...to]);
      assertEquals([code, stderr], [0, ""]);
      using weights = await openWeights(`${directory}/${vocabulary}/last`);
      return weights.metadata.vocabulary!;
    }));
    assert(used!.length < closed!.length);
    assertEquals(closed, withSteps(used!));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});

Deno.test("compact export: training goes on from it, and it generates", () =>
  withModel(async (weights, directory) => {
    exportGguf(`${directory}/a.gguf`, weights, { type: "f32", explicitHead: false, name: "a" });
    const short = ["--recipe", "basic", "--max-tokens", "16", "--epochs", "1"];
    const to = ["--sample-every", "0", "--out", "t"];
    const trained = await run(directory, ["train", "--init", "a.gguf", ...short, ...to]);
    assertEquals([trained.code, trained.stderr], [0, ""]);
    const answer = ["generate", "--raw", "Python", "--max-tokens", "2", "--weights", "t"];
    assertEquals((await run(directory, answer)).code, 0);
    const { vocabulary, intents, decides } = JSON.parse(
      Deno.readTextFileSync(`${directory}/t/last/config.json`),
    ).illuminator;
    assertEquals([vocabulary, intents], [withSteps(weights.metadata.vocabulary!), fixture.intents]);
    // Its texts name no intents.
    assertEquals(decides, false);
  }));
