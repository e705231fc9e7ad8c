// A model's weights from any of the formats that are read: our checkpoints and Hugging Face's GPT-2
// directories, GGUF files, and archives of torch.save.

import { UserError } from "../errors.ts";
import {
  type Configuration,
  type GPT,
  type MomentKind,
  parameterTable,
  validateConfiguration,
} from "../model/mod.ts";
import { special, VOCABULARY_SIZE } from "../tokenizer/mod.ts";
import {
  type CheckpointInfo,
  type Metadata,
  readCheckpointInfo,
  tokenizerOf,
} from "./checkpoint.ts";
import { isFile, readJsonObject } from "./files.ts";
import { GgufFile } from "./gguf.ts";
import { ggufInfo } from "./gguf_model.ts";
import { SafetensorsFile } from "./safetensors.ts";
import { ShardedFile } from "./sharded.ts";
import {
  experimentLayout,
  ggufLayout,
  huggingFaceLayout,
  isExperiment,
  type Layout,
  POSITIONS,
  TOKENS,
} from "./spellings.ts";
import { sizeOf, type TensorFile, transpose } from "./tensors.ts";
import { optimizerName } from "./torch.ts";
import { isOptimizer, TorchFile, torchInfo, type TorchMoments } from "./torch_model.ts";

/** GPT-2's own vocabulary, without our three tokens. */
const GPT2_VOCABULARY = special.endOfText + 1;
/** Largest mean difference of a head, relative to the embedding, that rounding to fewer bits can make. */
const ROUNDING = 0.02;

/** Whether a path is a file that weights are read from. */
export function isWeightsFile(path: string): boolean {
  return path.endsWith(".gguf") && isFile(path);
}

/**
 * The configuration of the model that weights make here: GPT-2's vocabulary grows by our three tokens.
 * @param path a checkpoint directory or a GGUF file
 */
export function readWeightsInfo(path: string): CheckpointInfo {
  if (!isWeightsFile(path)) return grown(readCheckpointInfo(path));
  using file = new GgufFile(path);
  return grown(ggufInfo(file));
}

function grown({ configuration, metadata }: CheckpointInfo): CheckpointInfo {
  const { vocab_size } = configuration;
  const isShort = vocab_size >= GPT2_VOCABULARY && vocab_size < VOCABULARY_SIZE &&
    metadata.vocabulary === undefined;
  if (!isShort) return { configuration, metadata };
  return { configuration: { ...configuration, vocab_size: VOCABULARY_SIZE }, metadata };
}

/** Opens a checkpoint directory or a GGUF file. @throws UserError saying what is wrong with it */
export async function openWeights(path: string): Promise<Weights> {
  if (isWeightsFile(path)) {
    const file = new GgufFile(path);
    return guarded(file, () => new Weights(file, ggufLayout, grown(ggufInfo(file)), ROUNDING));
  }
  const info = readWeightsInfo(path);
  const file = await openTensors(path);
  return guarded(file, () => new Weights(file, huggingFaceLayout(file.entries), info));
}

/** Opens a .pth or .bin of torch.save, which does not say how many heads its attention has. */
export async function openTorchWeights(
  path: string,
  options: { readonly heads?: number; readonly activation?: Configuration["activation_function"] },
): Promise<{ weights: Weights; notes: string[] }> {
  const file = await TorchFile.open(path);
  return guarded(file, () => {
    const layout = isExperiment(file.entries)
      ? experimentLayout(file.entries)
      : huggingFaceLayout(file.entries);
    const { info, moments, notes } = torchInfo(file, layout, options);
    return { weights: new Weights(file, layout, grown(info), 0, moments), notes };
  });
}

/** Closes a file when what is made of it fails. */
function guarded<T>(file: Disposable, make: () => T): T {
  try {
    return make();
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

/** The tensors of a directory, in whichever file they are. */
async function openTensors(directory: string): Promise<TensorFile> {
  const path = (name: string) => `${directory}/${name}`;
  if (isFile(path("model.safetensors"))) return new SafetensorsFile(path("model.safetensors"));
  const index = path("model.safetensors.index.json");
  if (isFile(index)) return new ShardedFile(index, readJsonObject(index));
  if (isFile(path("pytorch_model.bin"))) return await TorchFile.open(path("pytorch_model.bin"));
  throw new UserError(
    `${directory}: holds no weights: no model.safetensors, its index, or pytorch_model.bin`,
  );
}

/** Weights, read a tensor at a time in our names and layouts. */
export class Weights implements Disposable {
  readonly configuration: Configuration;
  readonly metadata: Metadata;

  /**
   * @param tolerance of the head's mean difference from the embedding, relative to the embedding's mean size
   * @throws UserError when something is there that GPT-2 has no place for, or the head is not tied
   */
  constructor(
    readonly file: TensorFile,
    readonly layout: Layout,
    info: CheckpointInfo,
    tolerance = 0,
    readonly moments: TorchMoments | null = null,
  ) {
    this.configuration = info.configuration;
    this.metadata = info.metadata;
    validateConfiguration(info.configuration);
    this.#checkNames();
    if (file.entries.has(layout.head)) this.#checkHead(tolerance);
  }

  get path(): string {
    return this.file.path;
  }

  /**
   * A tensor of the parameter table, in Hugging Face's layout.
   * @throws UserError when it is missing or wrong
   */
  read(name: string, shape: readonly number[]): Float32Array {
    return this.#read(name, shape, this.layout.place(name).name);
  }

  /** AdamW's moments of a tensor, in the layout of the tensor itself; 0 where there are none yet. */
  readMoments(kind: MomentKind, name: string, shape: readonly number[]): Float32Array {
    const index = this.moments?.indices.get(this.layout.place(name).name);
    if (index === undefined) return new Float32Array(sizeOf(shape));
    return this.#read(name, shape, optimizerName(index, kind));
  }

  #read(name: string, shape: readonly number[], own: string): Float32Array {
    const { transposed } = this.layout.place(name);
    if (name === TOKENS) return this.#readTokens(own, shape);
    if (name === POSITIONS) return this.#readPositions(own, shape);
    if (!transposed) return this.file.read(own, shape);
    const [inputs, outputs] = shape as [number, number];
    return transpose(this.file.read(own, [outputs, inputs]), outputs, inputs);
  }

  close(): void {
    this.file[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** [V, C], rows that are missing being the mean of those that are there. */
  #readTokens(name: string, [rows, C]: readonly number[]): Float32Array {
    const there = this.file.entries.get(name)?.shape[0] ?? rows!;
    if (there >= rows! || there < GPT2_VOCABULARY) return this.file.read(name, [rows!, C!]);
    const known = this.file.read(name, [there, C!]);
    const sums = new Float64Array(C!);
    known.forEach((value, i) => sums[i % C!]! += value);
    const values = new Float32Array(rows! * C!);
    values.set(known);
    for (let row = there; row < rows!; row++) values.set(sums.map((sum) => sum / there), row * C!);
    return values;
  }

  /** [T, C], which the experiment kept as [1, T, C], and perhaps for more positions than ours can have. */
  #readPositions(name: string, shape: readonly number[]): Float32Array {
    const there = this.file.entries.get(name)?.shape ?? shape;
    const isLong = there.length === 3 && there.includes(1) && there.at(-1) === shape[1];
    if (!isLong || sizeOf(there) < sizeOf(shape)) return this.file.read(name, shape);
    return this.file.read(name, there).subarray(0, sizeOf(shape));
  }

  #checkNames(): void {
    const { place, head, ignored } = this.layout;
    const known = new Set(parameterTable(this.configuration).map(({ name }) => place(name).name));
    for (const name of this.file.entries.keys()) {
      if (isOptimizer(name)) continue;
      if (known.has(name) || name === head || ignored.test(name)) continue;
      throw new UserError(`${this.path}: holds ${name}, which a GPT-2 of its configuration lacks`);
    }
  }

  #checkHead(tolerance: number): void {
    const { file, layout } = this;
    const tokens = layout.place(TOKENS).name;
    const { shape } = file.entries.get(layout.head)!;
    const untied = () =>
      new UserError(
        `${this.path}: its head ${layout.head} is not the token embedding; only tied heads are read`,
      );
    if (String(file.entries.get(tokens)?.shape) !== String(shape)) throw untied();
    const embedding = file.read(tokens, shape), head = file.read(layout.head, shape);
    let difference = 0, size = 0;
    for (let i = 0; i < sizeOf(shape); i++) {
      difference += Math.abs(embedding[i]! - head[i]!);
      size += Math.abs(embedding[i]!);
    }
    if (difference > tolerance * size) throw untied();
  }
}

/** @throws UserError unless weights are a GPT-2's as other programs compute it */
export function checkNormalizationFits({ configuration }: Weights, source: string): void {
  const { normalization = "layernorm" } = configuration;
  if (normalization === "layernorm") return;
  throw new UserError(
    `${source}: has ${normalization} where other programs' GPT-2 has layernorm; ` +
      "train with --normalization layernorm to export",
  );
}

/** @throws UserError when a model has fewer or more tokens than the tokenizer that reads its texts */
export function checkTokens({ configuration, metadata }: CheckpointInfo, source: string): void {
  const { vocabularySize } = tokenizerOf(metadata);
  if (configuration.vocab_size === vocabularySize) return;
  throw new UserError(
    `${source}: its vocabulary of ${configuration.vocab_size} tokens is not GPT-2's (${GPT2_VOCABULARY})`,
  );
}

/** Reads weights into a model of their configuration. */
export async function loadWeights(path: string, model: GPT): Promise<void> {
  using weights = await openWeights(path);
  for (const { name, shape } of parameterTable(model.configuration)) {
    model.writeParameter(name, "parameter", weights.read(name, shape));
  }
}
