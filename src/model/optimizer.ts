// The optimisers: which rule updates which group of tensors, with which rate and decay.

import { adamw, lion } from "../kernels/mod.ts";
import { muonUpdate } from "./muon.ts";
import type { ParameterSpecification } from "./parameter_table.ts";
import type { ParameterRun, Parameters } from "./parameters.ts";
import { streamKeys } from "./random.ts";

/**
 * AdamW (Loshchilov and Hutter 2019); Lion (Chen et al. 2023), of one moment and with steps of one size; Muon
 * (Jordan et al. 2024), which orthogonalises the steps of the blocks' matrices and leaves the rest to AdamW.
 */
export const OPTIMIZERS = ["adamw", "lion", "muon"] as const;
export type OptimizerName = typeof OPTIMIZERS[number];

/** Tensors that are updated alike: token and position embeddings; matrices; biases and the norms' vectors. */
export type Group = "embeddings" | "matrices" | "vectors";

type Rule = "adamw" | "lion" | "muon";

const RULES: Readonly<Record<OptimizerName, Readonly<Record<Group, Rule>>>> = {
  adamw: { embeddings: "adamw", matrices: "adamw", vectors: "adamw" },
  lion: { embeddings: "lion", matrices: "lion", vectors: "lion" },
  muon: { embeddings: "adamw", matrices: "muon", vectors: "adamw" },
};

/** Moving averages of the gradient and of its square. */
export const MOMENTS = ["exp_avg", "exp_avg_sq"] as const;
export type MomentKind = typeof MOMENTS[number];

export function groupOf(
  { name, decays }: Pick<ParameterSpecification, "name" | "decays">,
): Group {
  if (/^transformer\.w[tp]e\./.test(name)) return "embeddings";
  return decays ? "matrices" : "vectors";
}

/** The moments that a tensor has under an optimiser. */
export function momentKinds(optimizer: OptimizerName, p: ParameterSpecification): MomentKind[] {
  if (p.statistic) return [];
  return RULES[optimizer][groupOf(p)] === "adamw" ? [...MOMENTS] : ["exp_avg"];
}

/** The numbers of one step. Rates and decays of a group are factors of the step's, 1 if absent. */
export interface UpdateOptions {
  readonly learningRate: number;
  readonly embeddingRate?: number;
  readonly matrixRate?: number;
  /** Decoupled decay of matrices and embeddings, which the rate multiplies. */
  readonly weightDecay: number;
  readonly embeddingDecay?: number;
  /** AdamW's and Lion's. */
  readonly beta1: number;
  readonly beta2: number;
  /** AdamW's. */
  readonly epsilon: number;
  /** Muon's. */
  readonly momentum?: number;
  /** Counts from 1. */
  readonly step: number;
  /** Largest norm of the whole gradient; Infinity to leave it. */
  readonly clip: number;
  /** The first layers, and with them the embeddings, that stay as they are. */
  readonly freezeLayers?: number;
  /** Of the stochastic rounding of moments that are not f32; 0 if absent. */
  readonly seed?: number;
}

/** A group's own rate and decay. */
function groupOptions(group: Group, o: UpdateOptions) {
  const { embeddingRate = 1, matrixRate = 1, embeddingDecay = 1, momentum = 0.95 } = o;
  const [rate, decay] = {
    embeddings: [embeddingRate, embeddingDecay],
    matrices: [matrixRate, 1],
    vectors: [1, 0],
  }[group] as [number, number];
  return {
    ...o,
    momentum,
    learningRate: o.learningRate * rate,
    weightDecay: o.weightDecay * decay,
  };
}

/** One step of a run of tensors, whose gradients are multiplied by `gradientScale` first and zeros afterwards. */
export function updateRun(
  parameters: Parameters,
  optimizer: OptimizerName,
  run: ParameterRun,
  options: UpdateOptions & { readonly gradientScale: number },
): void {
  const { runtime } = parameters, { start, end, group } = run;
  const o = { ...options, ...groupOptions(group, options) };
  const rule = RULES[optimizer][group];
  if (rule === "muon") return muonUpdate(parameters, run.names, o);
  const [parameter, gradient] = (["parameter", "gradient"] as const)
    .map((kind) => parameters.array(kind) + start * 4) as [number, number];
  const moments = parameters.momentsOf("exp_avg", start), length = end - start;
  if (rule === "lion") return lion(runtime, parameter, gradient, moments.pointer, length, o);
  const squares = parameters.momentsOf("exp_avg_sq", run.squares!);
  const [keyA, keyB] = streamKeys(o.seed ?? 0, "moments", o.step);
  adamw(runtime, parameter, gradient, moments, squares, length, o, { keyA, keyB, first: start });
}
