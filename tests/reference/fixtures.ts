// Reads the fixtures that the scripts make_*fixtures.py wrote. Its safetensors reader is its own and assumes a sound
// file, so that a mistake in src/checkpoint/ cannot hide one in the model.

/** A ragged batch as the model takes it. */
export interface FixtureBatch {
  tokens: Int32Array;
  targets: Int32Array;
  positions: Int32Array;
  offsets: Int32Array;
  /** For each target, ignored or not. */
  weights: Float32Array;
}

/** The file expected.json. */
export interface Expected {
  /** Mean losses of `batch`: sum(w * l) / sum(w). */
  cases: { label_smoothing: number; weighted: boolean; loss: number }[];
  /** Which of the cases the gradients belong to. */
  gradient_case: { label_smoothing: number; weighted: boolean };
  optimizer: {
    learning_rate: number;
    beta1: number;
    beta2: number;
    epsilon: number;
    weight_decay: number;
    clip: number;
    label_smoothing: number;
  };
  /** Loss (unweighted mean) and gradient norm before clipping, both before the step's update. */
  steps: { loss: number; gradient_norm: number }[];
}

export interface Fixture {
  /** The file config.json: Hugging Face's GPT-2 fields. */
  // deno-lint-ignore no-explicit-any -- so that this file needs nothing from src/
  configuration: any;
  parameters: Map<string, Float32Array>;
  batch: FixtureBatch;
  /** The ten steps' batches. */
  stepBatches: FixtureBatch[];
  expected: Expected;
  logits: Float32Array; // [N, V]
  gradients: Map<string, Float32Array>;
  /** Parameters after the ten steps. */
  final: Map<string, Float32Array>;
}

/** Every tensor of a safetensors file, and as which of the two types it was stored. */
export function readTensors(path: URL): Map<string, Float32Array | Int32Array> {
  const bytes = Deno.readFileSync(path);
  const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  delete header.__metadata__;
  const tensors = new Map<string, Float32Array | Int32Array>();
  for (const name in header) {
    const { dtype, data_offsets: [from, to] } = header[name];
    const data = bytes.slice(start + from, start + to).buffer;
    tensors.set(name, dtype === "I32" ? new Int32Array(data) : new Float32Array(data));
  }
  return tensors;
}

export const fixtureNames = ["gelu", "gelu_new"] as const;

/** Loads tests/reference/fixtures/NAME. */
export function readFixture(name: typeof fixtureNames[number]): Fixture {
  const file = (leaf: string) => new URL(`./fixtures/${name}/${leaf}`, import.meta.url);
  const arrays = readTensors(file("expected.safetensors"));
  const expected: Expected = JSON.parse(Deno.readTextFileSync(file("expected.json")));
  const under = (prefix: string) => {
    const found = [...arrays].filter(([key]) => key.startsWith(prefix));
    return new Map(found.map(([key, values]) => [key.slice(prefix.length), values]));
  };
  const batch = (prefix: string) => Object.fromEntries(under(prefix)) as unknown as FixtureBatch;
  return {
    configuration: JSON.parse(Deno.readTextFileSync(file("config.json"))),
    parameters: readTensors(file("model.safetensors")) as Map<string, Float32Array>,
    batch: batch("batch."),
    stepBatches: expected.steps.map((_, step) => batch(`step.${step}.`)),
    expected,
    logits: arrays.get("logits") as Float32Array,
    gradients: under("gradient.") as Map<string, Float32Array>,
    final: under("final.") as Map<string, Float32Array>,
  };
}

/** One way of generating, and what it made of the prompts. */
export interface GenerationCase {
  /** Options of Hugging Face's generate. */
  options: {
    num_beams?: number;
    length_penalty?: number;
    early_stopping?: boolean;
    repetition_penalty?: number;
    no_repeat_ngram_size?: number;
    min_new_tokens?: number;
  };
  /** `tokens` goes without the end of text; `ended` says whether it came. */
  answers: { prompt: number; tokens: number[]; ended: boolean }[];
}

export interface GenerationFixture {
  // deno-lint-ignore no-explicit-any -- as above
  configuration: any;
  parameters: Map<string, Float32Array>;
  expected: {
    eos_token_id: number;
    max_new_tokens: number;
    prompts: number[][];
    cases: GenerationCase[];
  };
}

/** Loads tests/reference/fixtures/generation. */
export function readGenerationFixture(): GenerationFixture {
  const file = (leaf: string) => new URL(`./fixtures/generation/${leaf}`, import.meta.url);
  return {
    configuration: JSON.parse(Deno.readTextFileSync(file("config.json"))),
    parameters: readTensors(file("model.safetensors")) as Map<string, Float32Array>,
    expected: JSON.parse(Deno.readTextFileSync(file("expected.json"))),
  };
}

/** What two teachers and a student make of the batch of fixtures/gelu; see make_distillation_fixtures.py. */
export interface DistillationFixture {
  temperature: number;
  weight: number;
  top_k: number;
  /** Every so many targets one has no teacher. */
  silent: number;
  forward: { loss: number; distillation: number };
  reverse: { loss: number; distillation: number };
  /** tokens and probabilities [targets, top_k], rests [targets], and gradients by divergence and name. */
  arrays: Map<string, Float32Array | Int32Array>;
}

/** Loads tests/reference/fixtures/distillation. */
export function readDistillationFixture(): DistillationFixture {
  const file = (leaf: string) => new URL(`./fixtures/distillation/${leaf}`, import.meta.url);
  return {
    ...JSON.parse(Deno.readTextFileSync(file("expected.json"))),
    arrays: readTensors(file("expected.safetensors")),
  };
}
