// The one table of the model's tensors, and how much memory each takes.

import {
  MOMENT_BLOCK,
  momentBytes,
  type MomentFormat,
  momentGroup,
  PANEL,
  type Precision,
  weightBytes,
} from "../kernels/mod.ts";
import { RUNNING_STATISTICS } from "./batchnorm.ts";
import { type Configuration, innerWidth } from "./configuration.ts";
import { momentKinds, type OptimizerName } from "./optimizer.ts";

/** How a tensor lies in memory: GEMM's panels, the same of its transpose, or plain row-major. */
type Layout = "panels" | "panels-transposed" | "plain";

/** One tensor of the model. */
export interface ParameterSpecification {
  /** Hugging Face's name. */
  readonly name: string;
  /** Hugging Face's shape, row-major on disk: [in, out] for Conv1D weights, [V, C] for embeddings. */
  readonly shape: readonly number[];
  /** What it starts from: normal numbers, or a constant. */
  readonly initial: { readonly deviation: number } | 0 | 1;
  /** Weight decay is for matrices and embeddings; biases and norms go without. */
  readonly decays: boolean;
  readonly layout: Layout;
  /** A running statistic: no parameter, and no gradient changes it. */
  readonly statistic?: true;
}

/**
 * Standard deviation of the initial weights: GPT-2's 0.02 at its width of 768, and at others what lets through as much,
 * since a sum over C inputs grows with √C.
 */
const initialDeviation = (C: number): number => 0.02 * Math.sqrt(768 / C);

/** Every tensor, those that decay first and statistics last, so that each group is one run of memory. */
export function parameterTable(c: Configuration): ParameterSpecification[] {
  const C = c.n_embd, F = innerWidth(c);
  const matrix = (name: string, shape: number[], layout: Layout): ParameterSpecification => ({
    name,
    shape,
    initial: { deviation: initialDeviation(C) },
    decays: true,
    layout,
  });
  const vector = (name: string, length: number, initial: 0 | 1): ParameterSpecification => ({
    name,
    shape: [length],
    initial,
    decays: false,
    layout: "plain",
  });
  const { normalization = "layernorm" } = c;
  const norm = (name: string) => [
    vector(`${name}.weight`, C, 1),
    ...(normalization === "rmsnorm" ? [] : [vector(`${name}.bias`, C, 0)]),
  ];
  const statistics = (name: string) =>
    RUNNING_STATISTICS.map((part): ParameterSpecification => ({
      ...vector(
        `${name}.${part}`,
        part === "num_batches_tracked" ? 1 : C,
        part === "running_var" ? 1 : 0,
      ),
      statistic: true,
    }));
  const layers = Array.from({ length: c.n_layer }, (_, layer) => `transformer.h.${layer}`);
  return [
    matrix("transformer.wte.weight", [c.vocab_size, C], "panels-transposed"),
    matrix("transformer.wpe.weight", [c.n_positions, C], "plain"),
    ...layers.flatMap((h) => [
      matrix(`${h}.attn.c_attn.weight`, [C, 3 * C], "panels"),
      matrix(`${h}.attn.c_proj.weight`, [C, C], "panels"),
      matrix(`${h}.mlp.c_fc.weight`, [C, F], "panels"),
      matrix(`${h}.mlp.c_proj.weight`, [F, C], "panels"),
    ]),
    ...layers.flatMap((h) => [
      ...norm(`${h}.ln_1`),
      vector(`${h}.attn.c_attn.bias`, 3 * C, 0),
      vector(`${h}.attn.c_proj.bias`, C, 0),
      ...norm(`${h}.ln_2`),
      vector(`${h}.mlp.c_fc.bias`, F, 0),
      vector(`${h}.mlp.c_proj.bias`, C, 0),
    ]),
    ...norm("transformer.ln_f"),
    ...(normalization === "batchnorm" ? normNames(c).flatMap(statistics) : []),
  ];
}

/** The prefixes of the norms' tensors, in the model's order. */
function normNames({ n_layer }: Configuration): string[] {
  const layers = Array.from({ length: n_layer }, (_, layer) => `transformer.h.${layer}`);
  return [...layers.flatMap((h) => [`${h}.ln_1`, `${h}.ln_2`]), "transformer.ln_f"];
}

/** The number of parameters, the tied head counted once. */
export function parameterCount(c: Configuration): number {
  return parameterTable(c).filter(({ statistic }) => !statistic)
    .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0);
}

/** Inputs and outputs of a tensor that lives in panels. */
export function dimensions(
  { shape, layout }: ParameterSpecification,
): [inputs: number, outputs: number] {
  const [rows, columns] = shape as [number, number];
  return layout === "panels" ? [rows, columns] : [columns, rows];
}

/** Words of 4 bytes of a tensor in memory, padded so that the next one starts on a cache line, or a block of moments. */
export function memoryLength(
  p: ParameterSpecification,
  precision: Precision,
  group = PANEL,
): number {
  const words = p.layout === "plain"
    ? p.shape.reduce((a, b) => a * b)
    : weightBytes(...dimensions(p), precision) / 4;
  return Math.ceil(words / group) * group;
}

/** Words of 4 bytes of one whole array of parameters in memory. */
export function parameterMemory(
  table: readonly ParameterSpecification[],
  precision: Precision = "f32",
): number {
  return table.reduce((sum, p) => sum + memoryLength(p, precision), 0);
}

/** Bytes of an optimiser's moments in memory. */
export function momentMemory(
  table: readonly ParameterSpecification[],
  optimizer: OptimizerName,
  format: MomentFormat,
): number {
  const group = momentGroup(format);
  const length = table.reduce(
    (sum, p) => sum + momentKinds(optimizer, p).length * memoryLength(p, "f32", group),
    0,
  );
  return momentBytes(format, length) + (format === "int8" ? length / MOMENT_BLOCK * 4 : 0);
}
