// What the model's tensors are called elsewhere: Hugging Face's names are ours, others are derived.

/** A tensor's name in a file, and whether it lies there as [out, in] where ours is [in, out]. */
export interface Place {
  readonly name: string;
  readonly transposed: boolean;
}

/** From a name of the parameter table to the place in a file. */
export type Spelling = (name: string) => Place;

type Names = ReadonlyMap<string, unknown>;

const PREFIX = "transformer.", HEAD = "lm_head.weight";
export const TOKENS = "transformer.wte.weight", POSITIONS = "transformer.wpe.weight";

const isLinear = (name: string) => /\.(c_attn|c_proj|c_fc)\.weight$/.test(name);

/** Where a file keeps what, and what else may be there. */
export interface Layout {
  readonly place: Spelling;
  /** The head, which must be the token embedding. */
  readonly head: string;
  /** Buffers that are no weights. */
  readonly ignored: RegExp;
}

/** GPT-2 of transformers, saved with its head or without. */
export function huggingFaceLayout(names: Names): Layout {
  const prefix = names.has(TOKENS) ? PREFIX : "";
  return {
    place: (name) => ({ name: prefix + name.slice(PREFIX.length), transposed: false }),
    head: HEAD,
    ignored: /\.attn\.(bias|masked_bias)$/,
  };
}

/** What the original experiment's modules were called. */
const EXPERIMENT: readonly (readonly [RegExp, string])[] = [
  [/^transformer\.h\.(\d+)\./, "transformer_blocks.$1."],
  [/\.attn\.c_attn\./, ".attention.w_qkv."],
  [/\.attn\.c_proj\./, ".attention.w_o."],
  [/\.mlp\.c_fc\./, ".feed_forward.linear1."],
  [/\.mlp\.c_proj\./, ".feed_forward.linear2."],
  [/\.ln_([12])\./, ".norm$1."],
];

const EXPERIMENT_TOKENS = "token_embedding.weight";
const EXPERIMENT_POSITIONS = [
  "position_encoding.pe",
  "position_encoding.weight",
  "position_embedding.weight",
];
const EXPERIMENT_NORMS = ["final_norm", "ln_f", "layer_norm"];

/** The original experiment's model, whose linear layers are PyTorch's: [out, in]. */
export function experimentLayout(names: Names): Layout {
  const first = (candidates: readonly string[], suffix = "") =>
    candidates.find((name) => names.has(name + suffix)) ?? candidates[0]!;
  const positions = first(EXPERIMENT_POSITIONS), norm = first(EXPERIMENT_NORMS, ".weight");
  return {
    place: (name) => {
      if (name === TOKENS) return { name: EXPERIMENT_TOKENS, transposed: false };
      if (name === POSITIONS) return { name: positions, transposed: false };
      const renamed = EXPERIMENT.reduce((text, [from, to]) => text.replace(from, to), name);
      return {
        name: renamed.replace("transformer.ln_f", norm),
        transposed: isLinear(name),
      };
    },
    head: HEAD,
    ignored: /\.(mask|causal_mask|attn_mask|tril)$|^(mask|causal_mask)$/,
  };
}

export function isExperiment(names: Names): boolean {
  return names.has(EXPERIMENT_TOKENS);
}

const GGUF: readonly (readonly [RegExp, string])[] = [
  [/^transformer\.wte\./, "token_embd."],
  [/^transformer\.wpe\./, "position_embd."],
  [/^transformer\.ln_f\./, "output_norm."],
  [/^transformer\.h\.(\d+)\./, "blk.$1."],
  [/\.attn\.c_attn\./, ".attn_qkv."],
  [/\.attn\.c_proj\./, ".attn_output."],
  [/\.mlp\.c_fc\./, ".ffn_up."],
  [/\.mlp\.c_proj\./, ".ffn_down."],
  [/\.ln_1\./, ".attn_norm."],
  [/\.ln_2\./, ".ffn_norm."],
];

/** llama.cpp's names; its matrices lie as [out, in]. */
export const ggufLayout: Layout = {
  place: (name) => ({
    name: GGUF.reduce((text, [from, to]) => text.replace(from, to), name),
    transposed: isLinear(name),
  }),
  head: "output.weight",
  ignored: /^rope_freqs\.weight$/,
};
