// Loads what a planned run works with, once it is known to fit into memory.

import {
  loadAdapter,
  loadMoments,
  loadParameters,
  loadStates,
  loadWeights,
  type Metadata,
  readWeightsInfo,
  tokenizerOf,
} from "../checkpoint/mod.ts";
import { UserError } from "../errors.ts";
import { Runtime } from "../kernels/mod.ts";
import { type Configuration, GPT, memoryEstimate, peakEstimate } from "../model/mod.ts";
import {
  type Corpus,
  largestBatch,
  loadCorpus,
  needsReference,
  teachersMemory,
  trainedModel,
} from "../training/mod.ts";
import type { Run } from "./train_plan.ts";

/** WebAssembly's address space. */
const ADDRESSABLE = 2 ** 32;

/** What the machine has, in bytes; null where the program may not ask. */
async function machineMemory(): Promise<{ total: number; available: number } | null> {
  const { state } = await Deno.permissions.query({ name: "sys", kind: "systemMemoryInfo" });
  return state === "granted" ? Deno.systemMemoryInfo() : null;
}

/**
 * Compares what a run needs, and of it within WebAssembly's memory, with what there is.
 * @returns a warning when the machine must push other programs aside
 * @throws UserError when the run cannot fit into WebAssembly's memory or the machine's
 */
export function checkMemory(
  needed: number,
  machine: { readonly total: number; readonly available: number } | null,
  addressed = needed,
): string | null {
  const mebibytes = (n: number) => `${Math.ceil(n / 2 ** 20).toLocaleString("en")} MiB`;
  const has = [
    [addressed, ADDRESSABLE, "WebAssembly can address"],
    [needed, machine?.total ?? Infinity, "this machine has"],
  ] as const;
  for (const [bytes, most, whose] of has) {
    if (bytes <= most) continue;
    throw new UserError(
      `training needs ${mebibytes(bytes)} of memory, ${whose} ${mebibytes(most)}; use ` +
        "--moments int8, --recompute on, a smaller --batch-size (with --accumulate for the same " +
        "step), --max-tokens or --model, --precision bf16, or --lora-rank",
    );
  }
  if (machine === null || needed <= machine.available) return null;
  return `training needs ${mebibytes(needed)} of memory, of which ${
    mebibytes(machine.available)
  } are free: it will be slow unless other programs are closed`;
}

/** How a checkpoint decides and declines, which preferences do not change. */
function declining({ unsure, decides = true }: Metadata, { doNotKnow }: Corpus) {
  return { decides, doNotKnow: unsure?.answer ?? doNotKnow };
}

/** A run's corpus, and its model with the weights that it begins or goes on with. */
export interface Prepared {
  readonly corpus: Corpus;
  readonly configuration: Configuration;
  readonly model: GPT;
  /** The model as the run began, where the recipe holds to it. */
  readonly reference?: GPT;
  readonly runtime: Runtime;
}

/** Loads a run's corpus and model for `work`. */
export async function prepare<T>(
  run: Run,
  threads: number | undefined,
  work: (prepared: Prepared) => Promise<T>,
): Promise<T> {
  const { state, fingerprint, configuration: base, weights } = run;
  const files = {
    training: state.data,
    validation: state.validationData,
    skipBadLines: state.skipBadLines,
  };
  const metadata = weights === null ? undefined : readWeightsInfo(weights).metadata;
  const corpus = loadCorpus(files, state.recipe, metadata && tokenizerOf(metadata));
  const isReferred = needsReference(state.recipe);
  const vocab_size = weights === null ? corpus.tokenizer.vocabularySize : base.vocab_size;
  const configuration = { ...base, vocab_size };
  if (fingerprint !== null && fingerprint !== corpus.fingerprint) {
    throw new UserError(
      `${state.data.join(", ")}: has changed since the run began; begin a new one`,
    );
  }
  const options = trainedModel(state.recipe), { lora } = options;
  const size = {
    ...options,
    tokens: largestBatch(corpus, state.recipe),
    reference: isReferred,
  };
  const training = memoryEstimate(configuration, size);
  // Those who have spoken are not asked again.
  const teachers = state.teaching === undefined ? state.recipe.teachers : [];
  const asking = memoryEstimate(configuration, { ...size, tokens: 0 }) +
    teachersMemory(teachers, vocab_size);
  const shared = Math.max(training, asking);
  const needed = peakEstimate(configuration, size) + shared - training;
  const addressed = Runtime.reserved(threads) + shared;
  const warning = checkMemory(needed, await machineMemory(), addressed);
  if (warning !== null) console.error(`warning: ${warning}`);
  const runtime = await Runtime.start({ threads });
  try {
    const model = new GPT(runtime, configuration, options);
    if (weights === null || lora !== undefined) {
      model.initialize(state.recipe.seed, state.recipe.valueIdentity);
    }
    if (weights !== null && fingerprint === null) {
      await loadWeights(weights, model);
      if (state.momentSteps > 0) loadMoments(weights, model);
    } else if (weights !== null) {
      if (lora === undefined) loadParameters(weights, model);
      else {
        // Adapters stand beside the weights that the run began with.
        await loadWeights(state.init!, model);
        loadAdapter(weights, model);
      }
      loadStates(weights, model);
    }
    // A checkpoint's weights are those to be used; the others lie where the average would.
    if (state.progress.averaged > 0) model.learned.swapAverage();
    const reference = isReferred ? new GPT(runtime, configuration, { training: false }) : undefined;
    if (reference !== undefined) await loadWeights(state.init!, reference);
    return await work({
      corpus: state.recipe.preference === "none" || metadata === undefined
        ? corpus
        : { ...corpus, ...declining(metadata, corpus) },
      configuration,
      model,
      reference,
      runtime,
    });
  } finally {
    runtime.close();
  }
}
