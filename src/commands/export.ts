// deno task export: writes a checkpoint as files that other programs load.

import {
  checkNormalizationFits,
  checkTokens,
  exportGguf,
  exportHuggingFace,
  findCheckpoint,
  modelfile,
  openWeights,
  type Weights,
} from "../checkpoint/mod.ts";
import { UserError } from "../errors.ts";
import { MODEL_OPTIONS } from "./model_options.ts";
import {
  type CommandSpecification,
  invocation,
  type OptionTable,
  parseOptions,
} from "./options.ts";
import { newDirectory } from "./output.ts";

export const command = {
  name: "export",
  summary: "write a checkpoint for Hugging Face's transformers or llama.cpp",
  options: {
    weights: MODEL_OPTIONS.weights,
    format: {
      type: "string",
      placeholder: "NAME",
      choices: ["hf", "gguf"],
      default: "hf",
      help: "hf: a directory for transformers; gguf: a file for llama.cpp and Ollama",
    },
    out: { type: "string", placeholder: "PATH", help: "the directory or file to write" },
    type: {
      type: "string",
      placeholder: "NAME",
      choices: ["f32", "f16", "q8_0"],
      help: "number format of the matrices in a gguf file; f32 if not given",
    },
    "explicit-head": {
      type: "boolean",
      help: "repeat the token embedding as the head, for programs that look for one",
    },
    json: { type: "boolean", help: "print JSON" },
  },
} satisfies CommandSpecification<OptionTable>;

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const { out, format, type = "f32" } = options;
  if (out === undefined) throw new UserError("export needs --out PATH");
  if (format === "hf") {
    const gguf = [
      options.type !== undefined && "--type",
      options["explicit-head"] && "--explicit-head",
    ]
      .find((name) => name !== false);
    if (gguf !== undefined) throw new UserError(`${gguf} is for --format gguf`);
  }
  const source = findCheckpoint(options.weights, invocation("train"));
  using weights = await openWeights(source);
  checkNormalizationFits(weights, source);
  checkTokens(weights, source);
  const said = format === "hf"
    ? toHuggingFace(out, weights)
    : toGguf(out, weights, type as "f32" | "f16" | "q8_0", options["explicit-head"]);
  if (options.json) console.log(JSON.stringify({ source, format, out, ...said }));
  else for (const line of said.lines) console.log(line);
  return 0;
}

function toHuggingFace(out: string, weights: Weights) {
  const directory = newDirectory(out);
  exportHuggingFace(directory, weights);
  return { lines: [`${directory}: for AutoModelForCausalLM and AutoTokenizer of transformers`] };
}

function toGguf(
  out: string,
  weights: Weights,
  type: "f32" | "f16" | "q8_0",
  explicitHead: boolean,
) {
  const name = out.slice(out.lastIndexOf("/") + 1);
  exportGguf(out, weights, { type, explicitHead, name: name.replace(/\.gguf$/, "") });
  if (weights.configuration.activation_function === "gelu") {
    console.error(
      "note: llama.cpp computes GELU by its tanh form: logits differ by up to a hundredth",
    );
  }
  const text = modelfile(name, weights);
  return {
    modelfile: text,
    lines: [`# Modelfile for Ollama, to lie beside ${name}`, text],
  };
}
