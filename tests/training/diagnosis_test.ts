// The diagnosis of a model: what counts as reciting, how sureness is judged, and what a run reports of itself.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { Example } from "../../src/data/mod.ts";
import { expectedCalibrationError } from "../../src/evaluation/mod.ts";
import { divide } from "../../src/training/mod.ts";
import { runTraining, withDirectory } from "./helpers.ts";

const END = 99;

function example(tokens: number[], weights: number[]): Example {
  return {
    tokens: Int32Array.from(tokens),
    weights: Float32Array.from(weights),
    user: new Uint8Array(tokens.length),
    entry: 0,
    format: null,
    truncated: false,
  };
}

Deno.test("divide: an answer stands behind what has no weight, a text in two halves", () => {
  const answer = example([1, 2, 3, 4, 5, END], [0, 0, 0, 1, 1, 1]);
  assertEquals(divide(answer, END), { beginning: [1, 2, 3], rest: [4, 5] });
  const text = example([1, 2, 3, 4, 5, END], [1, 1, 1, 1, 1, 1]);
  assertEquals(divide(text, END), { beginning: [1, 2, 3], rest: [4, 5] });
  const turns = example([1, 2, 3, 4, 5, 6, END], [0, 0, 1, 0, 0, 1, 1]);
  assertEquals(divide(turns, END), { beginning: [1, 2, 3, 4, 5], rest: [6] });
});

Deno.test("expected calibration error: the formula, bins weighted by what they hold", () => {
  const of = (sure: number, right: number, count: number) =>
    Array.from({ length: count }, (_, i) => ({ sure, right: i < right }));
  // 0.9 sure and 9 of 10 right: nothing is wrong. 0.95 would join that bin.
  assertAlmostEquals(expectedCalibrationError(of(0.9, 9, 10)), 0, 1e-12);
  assertAlmostEquals(expectedCalibrationError(of(1, 0, 4)), 1, 1e-12);
  const mixed = [...of(0.9, 9, 10), ...of(0.25, 3, 4)];
  assertAlmostEquals(expectedCalibrationError(mixed), 4 / 14 * 0.5, 1e-12);
  assertEquals(expectedCalibrationError([]), 0);
});

Deno.test("a run that learns by heart recites what it learned, and says so", async () => {
  const recipe = {
    epochs: 150,
    learningRate: 1e-2,
    dropout: 0,
    labelSmoothing: 0,
    weightDecay: 0,
    promptLossWeight: 0,
    stopOn: "never",
    sampleEvery: 150,
    samples: [],
  } as const;
  const { events, history } = await withDirectory((d) => runTraining(d, { recipe }));
  const found = events.filter((event) => event.event === "diagnosis");
  assertEquals(found.length, 1);
  const [{ epoch, recited, recited_aside, accuracy, calibration_error, gap }] = found as [
    typeof found[0],
  ];
  assertEquals(epoch, 150);
  assert(recited >= 0.75, `recites ${recited}`);
  assert(recited_aside! < recited, `of texts set aside ${recited_aside}`);
  assert(accuracy! >= recited_aside!);
  assert(calibration_error > 0 && calibration_error < 1);
  assert(gap! > 0);
  assert(history.includes('"event":"diagnosis"'));
});

Deno.test("composite: what is watched is loss, wrong answers and repetition together", async () => {
  const recipe = { epochs: 2, stopOn: "composite" } as const;
  const { events } = await withDirectory((directory) => runTraining(directory, { recipe }));
  const found = events.filter((event) => event.event === "diagnosis");
  const losses = events.flatMap((event) => event.event === "epoch" ? [event.validation_loss!] : []);
  const values = found.map((d, i) => losses[i]! + 1 - d.accuracy! + d.seq_rep_4);
  const done = events.find((event) => event.event === "done")!;
  assertAlmostEquals(done.best!.value, Math.min(...values), 1e-12);
});
