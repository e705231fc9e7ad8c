// deno task bench: measures the kernels, a training step and generation on this machine, in this run.

import process from "node:process";
import { findCheckpoint, newestRun, readCheckpointInfo } from "../checkpoint/mod.ts";
import { readEntries } from "../data/mod.ts";
import { formats, render } from "../tokenizer/mod.ts";
import { adamw, Runtime } from "../kernels/mod.ts";
import { type Batch, GPT, type Preset, presets } from "../model/mod.ts";
import { dataPath } from "./bundled.ts";
import {
  type AccuracyResult,
  type DecodeResult,
  measureAccuracy,
  measureDecode,
  measureRead,
} from "./bench_decode.ts";
import { fastest, type GemmResult, measureGemm } from "./bench_gemm.ts";
import { Blas } from "./blas.ts";
import { threadsOption } from "./model_options.ts";
import {
  type CommandSpecification,
  invocation,
  type OptionTable,
  parseOptions,
} from "./options.ts";

export const command = {
  name: "bench",
  summary: "measure speed on this machine",
  options: {
    model: {
      type: "string",
      placeholder: "NAME",
      choices: Object.keys(presets),
      help: "whose shapes to measure; 124m if not given",
    },
    threads: threadsOption,
    weights: {
      type: "string",
      placeholder: "DIR",
      help: "checkpoint on which to measure what narrower weights cost; the newest if not given",
    },
    blas: { type: "string", placeholder: "PATH", help: "an OpenBLAS library to compare with" },
    json: { type: "boolean", help: "print JSON" },
  },
} satisfies CommandSpecification<OptionTable>;

/** Tokens of the measured matrix products. */
const SIZES = [64, 256, 1024];
const STEP_ROUNDS = 8;

/** A batch of B sequences of T made-up tokens. */
function batchOf(B: number, T: number, vocabulary: number): Batch {
  const N = B * T;
  const token = (i: number) => (i * 7919 + 13) % vocabulary;
  return {
    tokens: Int32Array.from({ length: N }, (_, i) => token(i)),
    targets: Int32Array.from({ length: N }, (_, i) => token(i + 1)),
    positions: Int32Array.from({ length: N }, (_, i) => i % T),
    offsets: Int32Array.from({ length: B + 1 }, (_, b) => b * T),
  };
}

const UPDATE = {
  learningRate: 1e-4,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.01,
  clip: 1,
};

/** One training step's time in milliseconds, and where it goes. */
interface StepResult {
  readonly sequences: number;
  readonly tokens: number;
  readonly step_ms: number;
  /** A pass without dropout or gradient. */
  readonly forward_ms: number;
  readonly backward_ms: number;
  readonly optimizer_ms: number;
  readonly tokens_per_second: number;
  /** Of the step's time, in percent. */
  readonly gemm_percent: number;
  readonly adamw_percent: number;
}

const MATRIX_KERNELS = ["gemm", "pack_rows", "pack_rows_transposed"];

/** The fastest of `rounds` steps. */
function measureStep(model: GPT, B: number, T: number, rounds: number): StepResult {
  const batch = batchOf(B, T, model.configuration.vocab_size);
  const { pool } = model.runtime;
  const tokens = B * T;
  let step = 0;
  const forward = fastest(rounds, () => model.evaluate(batch)) * 1000;
  let best = { accumulate: 0, update: 0, total: Infinity, kernels: new Map<string, number>() };
  for (let round = 0; round < rounds + 2; round++) {
    const kernels = new Map<string, number>();
    pool.profile = kernels;
    step++;
    const start = performance.now();
    model.accumulate(batch, { normalizer: tokens, labelSmoothing: 0, seed: 1, step, microStep: 0 });
    const middle = performance.now();
    model.update({ ...UPDATE, step });
    const end = performance.now();
    pool.profile = null;
    if (end - start < best.total) {
      best = { accumulate: middle - start, update: end - middle, total: end - start, kernels };
    }
  }
  const share = (names: readonly string[]) =>
    100 * names.reduce((sum, name) => sum + (best.kernels.get(name) ?? 0), 0) / best.total;
  return {
    sequences: B,
    tokens,
    step_ms: best.total,
    forward_ms: forward,
    backward_ms: best.accumulate - forward,
    optimizer_ms: best.update,
    tokens_per_second: tokens / best.total * 1000,
    gemm_percent: share(MATRIX_KERNELS),
    adamw_percent: share(["adamw", "sum_of_squares"]),
  };
}

/** GB/s that AdamW reads and writes: four arrays each way. */
function measureAdamW(model: GPT): number {
  const { parameters, runtime } = model;
  const seconds = fastest(8, () =>
    adamw(
      runtime,
      parameters.array("parameter"),
      parameters.array("gradient"),
      parameters.momentsOf("exp_avg"),
      parameters.momentsOf("exp_avg_sq"),
      parameters.length,
      { ...UPDATE, gradientScale: 1, step: 1 },
    ));
  return parameters.length * 4 * 8 / seconds / 1e9;
}

/** What to measure. */
export interface BenchOptions {
  readonly model: Preset;
  readonly threads: number;
  /** Tokens of the matrix products. */
  readonly sizes: readonly number[];
  readonly rounds: number;
  /** Path of an OpenBLAS library, or null. */
  readonly blas: string | null;
  /** A checkpoint and texts for it, or null to leave accuracy out. */
  readonly accuracy: { readonly directory: string; readonly texts: readonly string[] } | null;
  /** Called before each part, which takes a while. */
  readonly progress: (what: string) => void;
}

/** All figures, each measured in this call. */
export async function measure(o: BenchOptions) {
  const configuration = presets[o.model];
  const gemm: GemmResult[] = [];
  let kernel = "", openblas_core: string | undefined;
  for (const threads of new Set([1, o.threads])) {
    const runtime = await Runtime.start({ threads });
    const blas = o.blas === null ? null : new Blas(o.blas, runtime.memory);
    kernel = runtime.kernel;
    openblas_core = blas?.core;
    for (const n of o.sizes) {
      o.progress(`matrix products, ${n} tokens, ${threads} thread${threads === 1 ? "" : "s"}`);
      gemm.push(...measureGemm(runtime, configuration, n, blas, ["forward", "input", "weight"]));
    }
    blas?.close();
    runtime.close();
  }
  const runtime = await Runtime.start({ threads: o.threads });
  o.progress(`training steps of ${o.model}`);
  const model = new GPT(runtime, configuration, { training: true });
  model.initialize(1);
  const steps = [[1, 64], [4, 64]].map(([B, T]) => measureStep(model, B!, T!, o.rounds));
  o.progress("optimiser and memory");
  const adamw_gbps = measureAdamW(model), memory_read_gbps = measureRead(model);
  runtime.close();
  const decode: DecodeResult[] = [];
  for (const precision of ["f32", "bf16", "int8"] as const) {
    for (const threads of new Set([1, o.threads])) {
      o.progress(`generation in ${precision}, ${threads} thread${threads === 1 ? "" : "s"}`);
      const runtime = await Runtime.start({ threads });
      decode.push(measureDecode(runtime, configuration, precision));
      runtime.close();
    }
  }
  let accuracy: AccuracyResult | null = null;
  if (o.accuracy !== null) {
    o.progress(`accuracy of ${o.accuracy.directory}`);
    const runtime = await Runtime.start({ threads: o.threads });
    accuracy = measureAccuracy(runtime, o.accuracy.directory, o.accuracy.texts);
    runtime.close();
  }
  const best = decode.filter(({ threads }) => threads === o.threads);
  return {
    model: o.model,
    threads: o.threads,
    kernel,
    ...(openblas_core === undefined ? {} : { openblas_core }),
    fma_peak_gflops: Math.max(...gemm.map((g) => g.fma_peak_gflops)),
    gemm,
    train_tokens_per_second: steps[1]!.tokens_per_second,
    steps,
    adamw_gbps,
    memory_read_gbps,
    generate_tokens_per_second: Math.max(...best.map((d) => d.decode_tokens_per_second)),
    decode,
    accuracy,
    peak_rss_mb: process.resourceUsage().maxRSS / 1024,
  };
}

type Figures = Awaited<ReturnType<typeof measure>>;

/** The figures as text. */
function table(f: Figures): string[] {
  const gemm = f.gemm.map((g) =>
    `  ${g.layer.padEnd(12)} ${g.pass.padEnd(8)} ${String(g.n).padStart(5)} x ` +
    `${String(g.inputs).padStart(4)} x ${String(g.outputs).padStart(5)}  ` +
    `${String(g.threads).padStart(2)} threads  ${g.gemm_gflops.toFixed(1).padStart(7)} GFLOP/s, ` +
    `${(100 * g.gemm_gflops / g.fma_peak_gflops).toFixed(0).padStart(4)} % of a thread's peak` +
    (g.openblas_gflops === undefined
      ? ""
      : `  OpenBLAS ${g.openblas_gflops.toFixed(1).padStart(7)}`)
  );
  const steps = f.steps.map((s) =>
    `  ${s.sequences} x ${s.tokens / s.sequences} tokens: ${s.step_ms.toFixed(0)} ms ` +
    `(forward ${s.forward_ms.toFixed(0)}, backward ${s.backward_ms.toFixed(0)}, ` +
    `optimiser ${s.optimizer_ms.toFixed(0)}); ${s.tokens_per_second.toFixed(0)} tokens/s; ` +
    `${s.gemm_percent.toFixed(0)} % in matrix products, ${s.adamw_percent.toFixed(0)} % in AdamW`
  );
  return [
    `${f.model}, ${f.threads} threads, kernel ${f.kernel}`,
    `multiply-add peak of one thread, 128 bits: ${f.fma_peak_gflops.toFixed(1)} GFLOP/s`,
    "matrix products" +
    (f.openblas_core === undefined ? "" : ` beside OpenBLAS for ${f.openblas_core}`),
    ...gemm,
    "training step",
    ...steps,
    `AdamW ${f.adamw_gbps.toFixed(1)} GB/s, plain reading ${f.memory_read_gbps.toFixed(1)} GB/s`,
    "generation",
    ...f.decode.map((d) =>
      `  ${d.precision.padEnd(4)}  ${d.threads} threads  prompt ${
        d.prefill_tokens_per_second.toFixed(0)
      } ` +
      `tokens/s, answer ${d.decode_tokens_per_second.toFixed(1)}, four side by side ` +
      `${d.decode_4_tokens_per_second.toFixed(1)}; weights read at ${
        d.weights_gbps.toFixed(1)
      } GB/s, ` +
      `plain reading ${d.memory_read_gbps.toFixed(1)}`
    ),
    ...(f.accuracy === null ? [] : [
      `${f.accuracy.weights}, ${f.accuracy.tokens} tokens: ` +
      (["f32", "bf16", "int8"] as const).map((precision) => {
        const { perplexity, largest_logit_difference: difference } = f.accuracy!;
        return `${precision} perplexity ${perplexity[precision].toFixed(4)}` +
          (precision === "f32" ? "" : `, logits within ${difference[precision].toFixed(3)}`);
      }).join("; "),
    ]),
    `peak memory ${f.peak_rss_mb.toFixed(0)} MiB`,
  ];
}

/** A checkpoint and the bundled validation texts; null when there is no checkpoint and none was named. */
function accuracyTexts(weights: string | undefined): BenchOptions["accuracy"] {
  if (weights === undefined && newestRun() === null) return null;
  const directory = findCheckpoint(weights, invocation("train"));
  const format = formats[readCheckpointInfo(directory).metadata.format];
  const { entries } = readEntries([dataPath("illuminator/validation.jsonl")]);
  const texts = entries.flatMap((entry) =>
    entry.kind === "text"
      ? [entry.text]
      : [render(format, entry.messages).map(({ text }) => text).join("")]
  );
  return { directory, texts };
}

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const figures = await measure({
    model: (options.model ?? "124m") as Preset,
    threads: options.threads ?? navigator.hardwareConcurrency,
    sizes: SIZES,
    rounds: STEP_ROUNDS,
    blas: options.blas ?? null,
    accuracy: accuracyTexts(options.weights),
    progress: (what) => console.error(`measuring ${what}`),
  });
  console.log(options.json ? JSON.stringify(figures, null, 2) : table(figures).join("\n"));
  return 0;
}
