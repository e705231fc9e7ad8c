// The training loop: exact resume, the same bytes for every thread count, best, early stopping.

import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../../src/errors.ts";
import { readCheckpointInfo } from "../../src/checkpoint/mod.ts";
import type { Example } from "../../src/data/mod.ts";
import { type Corpus, type EpochEvent, largestBatch, recipes } from "../../src/training/mod.ts";
import { runTraining, type TestRun, validate, withDirectory } from "./helpers.ts";

/** Fails with the first array that differs in any bit. */
function assertSameBytes(actual: TestRun, expected: TestRun): void {
  assertEquals([...actual.arrays.keys()], [...expected.arrays.keys()]);
  for (const [name, values] of expected.arrays) {
    const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);
    const other = bits(actual.arrays.get(name)!);
    assert(bits(values).every((bit, i) => bit === other[i]), `${name} differs`);
  }
}

function epochs(run: TestRun): EpochEvent[] {
  return run.events.filter((event) => event.event === "epoch");
}

Deno.test("a run that was stopped twice and resumed ends with the bytes of one that was not", async () => {
  const whole = await withDirectory((directory) => runTraining(directory));
  const parts = await withDirectory(async (directory) => {
    // In the middle of the first epoch, then exactly at the end of the second.
    await runTraining(directory, { stopAfter: 3 });
    await runTraining(directory, { resume: true, stopAfter: 5 });
    return await runTraining(directory, { resume: true });
  });
  assertSameBytes(parts, whole);
  assertEquals(parts.history, whole.history);
  assertEquals(whole.history.trim().split("\n").length, 3 * 4 + 3);
});

Deno.test("one seed gives the same bytes for 1, 2 and 3 threads, another seed others", async () => {
  const run = (threads: number, seed = 42) =>
    withDirectory((directory) => runTraining(directory, { threads, recipe: { seed } }));
  const one = await run(1);
  assertSameBytes(await run(2), one);
  assertSameBytes(await run(3), one);
  const other = (await run(1, 43)).arrays.get("parameter transformer.wte.weight")!;
  assert(
    other.some((value, i) => value !== one.arrays.get("parameter transformer.wte.weight")![i]),
  );
});

Deno.test("gradient accumulation equals a batch as large, to 1e-6 in every loss", async () => {
  const losses = async (batchSize: number, accumulate: number) => {
    const recipe = { batchSize, accumulate, dropout: 0, wordDropout: 0 };
    const { events } = await withDirectory((directory) => runTraining(directory, { recipe }));
    return events.filter((event) => event.event === "step").map(({ loss }) => loss);
  };
  const large = await losses(4, 1), accumulated = await losses(1, 4);
  assertEquals(accumulated.length, large.length);
  large.forEach((loss, i) => assert(Math.abs(loss - accumulated[i]!) <= 1e-6 * loss));
});

Deno.test("training learns: the loss falls, and the history tells every step and epoch", async () => {
  const recipe = { epochs: 12, learningRate: 1e-2, patience: 100 };
  const run = await withDirectory((directory) => runTraining(directory, { recipe }));
  const [first, last] = [epochs(run)[0]!, epochs(run).at(-1)!];
  assert(last.train_loss < first.train_loss - 3, `${first.train_loss} to ${last.train_loss}`);
  const steps = run.history.split("\n").filter((line) => line.includes('"step"'));
  assertEquals(steps.length, 12 * 4 + 12);
});

Deno.test("early stopping ends after `patience` epochs without a better loss; best keeps the best", async () => {
  await withDirectory(async (directory) => {
    // A rate of nothing: the first epoch stays the best one, whatever comes.
    const still = { learningRate: 1e-30, schedule: "constant", warmupSteps: 0 } as const;
    const recipe = { ...still, epochs: 20, patience: 2 };
    const run = await runTraining(directory, { recipe });
    const done = run.events.at(-1)!;
    assert(done.event === "done" && done.reason === "early-stop");
    assertEquals(epochs(run).map(({ best }) => best), [true, false, false]);
    assertEquals(readCheckpointInfo(`${directory}/run/best`).metadata.epoch, 1);
    assertEquals(readCheckpointInfo(`${directory}/run/last`).metadata.epoch, 3);
  });
});

Deno.test("best holds the weights of the lowest validation loss, last those of the end", async () => {
  await withDirectory(async (directory) => {
    // The rate rises from a good one to a ruinous one: validation improves and then worsens.
    const recipe = { learningRate: 10, warmupSteps: 100, epochs: 7, patience: 100 };
    const losses = epochs(await runTraining(directory, { recipe })).map((e) => e.validation_loss!);
    const lowest = Math.min(...losses);
    assert(lowest < losses[0]! && lowest < losses.at(-1)!, `${losses}`);
    const { epoch } = readCheckpointInfo(`${directory}/run/best`).metadata;
    assertEquals(epoch, losses.indexOf(lowest) + 1);
    assertEquals(await validate(`${directory}/run/best`, `${directory}/data.jsonl`), lowest);
    assertEquals(await validate(`${directory}/run/last`, `${directory}/data.jsonl`), losses.at(-1));
  });
});

Deno.test("largestBatch: the batchSize longest texts, or a validation batch if that is larger", () => {
  const texts = (...lengths: number[]) =>
    lengths.map((length) => ({ tokens: new Int32Array(length + 1) }) as Example);
  const corpus = (training: Example[], validation: Example[]) =>
    ({ training, validation }) as unknown as Corpus;
  const recipe = { ...recipes.basic, batchSize: 2 };
  assertEquals(largestBatch(corpus(texts(7, 50, 3, 40), texts()), recipe), 90);
  assertEquals(largestBatch(corpus(texts(7), texts(30, 40)), recipe), 70);
  assertEquals(largestBatch(corpus(texts(7), Array(99).fill(texts(30)[0]!)), recipe), 256);
  assertEquals(largestBatch(corpus(texts(7), texts(900, 40)), recipe), 900);
});

Deno.test("a loss that is no number ends the run with advice, and saves nothing", async () => {
  await withDirectory(async (directory) => {
    const recipe = { learningRate: 1, warmupSteps: 0, clip: 1e30, weightDecay: 1e30 };
    await assertRejects(
      () => runTraining(directory, { recipe }),
      UserError,
      "use a lower --learning-rate",
    );
    assertEquals(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["data.jsonl"]);
  });
});
