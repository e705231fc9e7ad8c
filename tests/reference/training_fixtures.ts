// Reads what make_training_fixtures.py wrote: normalisations and optimisers as PyTorch computes them.

import { type FixtureBatch, readTensors } from "./fixtures.ts";

const file = (leaf: string) => new URL(`./fixtures/training/${leaf}`, import.meta.url);
const arrays = readTensors(file("expected.safetensors"));

export type TrainingCase = "rmsnorm" | "batchnorm" | "lion" | "muon";

interface Expected {
  // deno-lint-ignore no-explicit-any -- so that this file needs nothing from src/
  configuration: any;
  cases: Record<TrainingCase, {
    options: {
      normalization: string;
      optimizer: string;
      learning_rate: number;
      beta1: number;
      beta2: number;
      epsilon: number;
      momentum: number;
      weight_decay: number;
      embedding_rate: number;
      matrix_rate: number;
      embedding_decay: number;
      clip: number;
      label_smoothing: number;
    };
    /** Loss and gradient norm before clipping, both before the step's update. */
    steps: { loss: number; gradient_norm: number }[];
  }>;
}

export const expected: Expected = JSON.parse(Deno.readTextFileSync(file("expected.json")));

function under(prefix: string): Map<string, Float32Array> {
  const found = [...arrays].filter(([key]) => key.startsWith(prefix));
  return new Map(found.map(([key, values]) => [key.slice(prefix.length), values as Float32Array]));
}

/** What all cases begin with; RMSNorm has no use for some. */
export const parameters = under("parameter.");

/** The ten steps' batches. */
export const batches: FixtureBatch[] = expected.cases.lion.steps.map((_, step) =>
  Object.fromEntries(under(`step.${step}.`)) as unknown as FixtureBatch
);

/** Gradients of the first step, where the fixture has them. */
export const gradientsOf = (name: TrainingCase) => under(`${name}.gradient.`);
/** Parameters, and running statistics, after the ten steps. */
export const finalOf = (name: TrainingCase) => under(`${name}.final.`);

/** A tensor of the single layers. */
export function layer(name: string): Float32Array {
  return arrays.get(`layer.${name}`) as Float32Array;
}
