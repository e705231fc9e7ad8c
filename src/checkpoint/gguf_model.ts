// GPT-2 in GGUF: the configuration and the tokenizer as metadata, both ways.

import { UserError } from "../errors.ts";
import { type Configuration, innerWidth, parameterTable } from "../model/mod.ts";
import {
  type ChatFormat,
  chatTemplate,
  formats,
  loadTokenizer,
  readSpelledTokens,
  special,
  spelledMerges,
  spelledTokens,
} from "../tokenizer/mod.ts";
import { blockFormats, type BlockType } from "./blocks.ts";
import { type CheckpointInfo, type Metadata, metadataOf, tokenizerOf } from "./checkpoint.ts";
import { replaceFile } from "./directory.ts";
import { ALIGNMENT, type GgufFile, type GgufSource, type GgufValue, writeGguf } from "./gguf.ts";
import { ggufLayout, POSITIONS, TOKENS } from "./spellings.ts";
import { transpose } from "./tensors.ts";
import { type ReadableWeights, withVocabularySteps } from "./vocabulary.ts";

/** GGUF's types of tokens. */
const NORMAL = 1, CONTROL = 3;
/** What llama.cpp calls a file of mostly such numbers. */
const FILE_TYPES: Readonly<Record<BlockType, number>> = { f32: 0, f16: 1, q8_0: 7 };

/**
 * The model that a file describes.
 * @throws UserError unless it is a GPT-2 with GPT-2's tokens
 */
export function ggufInfo({ path, metadata, entries }: GgufFile): CheckpointInfo {
  const architecture = metadata.get("general.architecture");
  if (architecture !== "gpt2") {
    throw new UserError(
      `${path}: its architecture must be "gpt2", is ${JSON.stringify(architecture)}`,
    );
  }
  const number = (name: string, fallback?: number) => {
    const value = metadata.get(name) ?? fallback;
    if (typeof value === "number") return value;
    throw new UserError(`${path}: ${name} must be a number, is ${JSON.stringify(value)}`);
  };
  const tokens = ggufLayout.place(TOKENS).name;
  const vocab_size = entries.get(tokens)?.shape[0];
  if (vocab_size === undefined) throw new UserError(`${path}: holds no tensor ${tokens}`);
  const n_embd = number("gpt2.embedding_length");
  const n_inner = number("gpt2.feed_forward_length", 4 * n_embd);
  return {
    configuration: {
      vocab_size,
      n_positions: number("gpt2.context_length"),
      n_embd,
      n_layer: number("gpt2.block_count"),
      n_head: number("gpt2.attention.head_count"),
      n_inner: n_inner === 4 * n_embd ? null : n_inner,
      activation_function: metadata.get("illuminator.activation_function") === "gelu"
        ? "gelu"
        : "gelu_new",
      resid_pdrop: 0.1,
      embd_pdrop: 0.1,
      attn_pdrop: 0.1,
      layer_norm_epsilon: roundedEpsilon(number("gpt2.attention.layer_norm_epsilon", 1e-5)),
    },
    metadata: metadataOf(
      {
        format: metadata.get("illuminator.format"),
        turns: metadata.get("illuminator.turns"),
        ...vocabularyOf(path, metadata.get("tokenizer.ggml.tokens")),
      },
      path,
      vocab_size,
    ),
  };
}

/** 1e-5 was rounded to f32: seven digits give it back. */
function roundedEpsilon(value: number): number {
  return Number(value.toPrecision(7));
}

/**
 * The compact vocabulary that tokens are, or nothing where they are GPT-2's.
 * @throws UserError when they are neither
 */
function vocabularyOf(path: string, tokens: unknown): Pick<Metadata, "vocabulary" | "intents"> {
  if (!Array.isArray(tokens)) return {}; // a model without its tokenizer
  const ours = spelledTokens(loadTokenizer());
  const other = tokens.slice(0, special.endOfText).findIndex((token, i) => token !== ours[i]);
  if (other < 0) return {};
  const compact = readSpelledTokens(tokens);
  if (compact !== null) return compact;
  throw new UserError(
    `${path}: its token ${other} is ${JSON.stringify(tokens[other])}, not GPT-2's ${
      JSON.stringify(ours[other])
    }`,
  );
}

export interface GgufOptions {
  readonly type: BlockType;
  /** Write the head although it is the embedding. */
  readonly explicitHead: boolean;
  readonly name: string;
}

/** Writes weights with their tokenizer as a GGUF file. */
export function exportGguf(path: string, source: ReadableWeights, options: GgufOptions): void {
  const weights = withVocabularySteps(source);
  const { configuration, metadata } = weights;
  const sources = tensorsOf(weights, options);
  const values = metadataFor(configuration, metadata, options);
  replaceFile(path, (temporary) => writeGguf(temporary, values, sources));
}

function tensorsOf(
  weights: ReadableWeights,
  { type, explicitHead }: GgufOptions,
): GgufSource[] {
  const tensors = parameterTable(weights.configuration).map(({ name, shape }): GgufSource => {
    const { name: own, transposed } = ggufLayout.place(name);
    const rows = transposed ? shape.toReversed() : shape;
    return {
      name: own,
      shape: rows,
      type: typeFor(name, rows, type),
      values: () => {
        const values = weights.read(name, shape);
        return transposed ? transpose(values, shape[0]!, shape[1]!) : values;
      },
    };
  });
  const tokens = tensors.find(({ name }) => name === ggufLayout.place(TOKENS).name)!;
  return explicitHead ? [...tensors, { ...tokens, name: ggufLayout.head }] : tensors;
}

/** llama.cpp wants vectors and positions in f32; rows that q8_0's blocks do not fill stay f16. */
function typeFor(name: string, shape: readonly number[], type: BlockType): BlockType {
  if (shape.length === 1 || name === POSITIONS) return "f32";
  return shape.at(-1)! % blockFormats[type].length === 0 ? type : "f16";
}

function metadataFor(
  c: Configuration,
  metadata: Metadata,
  { type, name }: GgufOptions,
): Record<string, GgufValue> {
  const u32 = (value: number): GgufValue => ({ type: "u32", value });
  const string = (value: string): GgufValue => ({ type: "string", value });
  const { format, turns } = metadata;
  const tokenizer = tokenizerOf(metadata);
  const { special } = tokenizer;
  const tokens = spelledTokens(tokenizer);
  const types = tokens.map((_, i) => i < special.endOfText ? NORMAL : CONTROL);
  return {
    "general.architecture": string("gpt2"),
    "general.name": string(name),
    "general.file_type": u32(FILE_TYPES[type]),
    "general.quantization_version": u32(2),
    "general.alignment": u32(ALIGNMENT),
    "gpt2.context_length": u32(c.n_positions),
    "gpt2.embedding_length": u32(c.n_embd),
    "gpt2.block_count": u32(c.n_layer),
    "gpt2.feed_forward_length": u32(innerWidth(c)),
    "gpt2.attention.head_count": u32(c.n_head),
    "gpt2.attention.layer_norm_epsilon": { type: "f32", value: c.layer_norm_epsilon },
    "gpt2.vocab_size": u32(c.vocab_size),
    "illuminator.activation_function": string(c.activation_function),
    "illuminator.format": string(format),
    "illuminator.turns": u32(turns),
    "tokenizer.ggml.model": string("gpt2"),
    "tokenizer.ggml.pre": string("gpt-2"),
    "tokenizer.ggml.tokens": { type: "strings", value: tokens },
    "tokenizer.ggml.token_type": { type: "i32s", value: types },
    "tokenizer.ggml.merges": { type: "strings", value: spelledMerges(tokenizer) },
    "tokenizer.ggml.bos_token_id": u32(special.endOfText),
    "tokenizer.ggml.eos_token_id": u32(special.endOfText),
    "tokenizer.ggml.unknown_token_id": u32(special.unknown),
    "tokenizer.ggml.padding_token_id": u32(special.pad),
    "tokenizer.ggml.add_bos_token": { type: "bool", value: false },
    "tokenizer.chat_template": string(chatTemplate(formats[format])),
  };
}

/** What Ollama needs beside a GGUF file. */
export function modelfile(
  file: string,
  { configuration, metadata }: ReadableWeights,
): string {
  const { user, assistant, smallLetters }: ChatFormat = formats[metadata.format];
  const labelled = (label: string) => label === "" ? "{{ .Content }}" : `${label} {{ .Content }}`;
  const turn = `{{ if eq .Role "user" }}${labelled(user)}` +
    `{{ else if eq .Role "assistant" }}${labelled(assistant)}{{ else }}{{ .Content }}{{ end }}`;
  const lines = [
    // Ollama's templates cannot do it.
    ...(smallLetters ? ["# This model learned small letters: put your questions in them."] : []),
    `FROM ${file.startsWith("/") ? file : `./${file}`}`,
    `TEMPLATE """{{ range $i, $message := .Messages }}{{ if $i }}`,
    `{{ end }}${turn}{{ end }}`,
    `${assistant}"""`,
    ...[user, assistant].filter((label) => label !== "").map((label) =>
      `PARAMETER stop "${label}"`
    ),
    `PARAMETER num_ctx ${configuration.n_positions}`,
  ];
  return lines.join("\n");
}
