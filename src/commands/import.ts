// deno task import: makes a checkpoint of weights that PyTorch saved, or of any others that are read.

import {
  AdapterFile,
  checkpointOf,
  isAdapter,
  isFile,
  openTorchWeights,
  openWeights,
  saveWeights,
  type Weights,
} from "../checkpoint/mod.ts";
import { UserError } from "../errors.ts";
import { parameterCount } from "../model/mod.ts";
import {
  type CommandSpecification,
  invocation,
  type OptionTable,
  parseOptions,
} from "./options.ts";
import { newDirectory } from "./output.ts";

export const command = {
  name: "import",
  summary: "make a checkpoint of a .pth file, a GGUF file or a Hugging Face directory",
  options: {
    out: { type: "string", placeholder: "DIR", help: "the checkpoint to write" },
    heads: {
      type: "integer",
      minimum: 1,
      maximum: 256,
      help: "attention heads, which a .pth file does not say; a head has 64 channels if not given",
    },
    activation: {
      type: "string",
      placeholder: "NAME",
      choices: ["gelu", "gelu_new"],
      help:
        "activation of a .pth file's model: exact or GPT-2's tanh form; by its names if not given",
    },
    base: {
      type: "string",
      placeholder: "DIR",
      help: "FILE is the directory of a LoRA adapter: the model to merge it into",
    },
    json: { type: "boolean", help: "print JSON" },
  },
  positional: "FILE",
} satisfies CommandSpecification<OptionTable>;

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(command, args);
  const [path, ...others] = options.positional;
  if (path === undefined || others.length > 0 || options.out === undefined) {
    throw new UserError("import needs one FILE and --out DIR");
  }
  const directory = newDirectory(options.out);
  checkBase(path, options.base);
  using weights = options.base === undefined
    ? await open(path, options)
    : await openWeights(checkpointOf(options.base, "--base"));
  using adapter = options.base === undefined ? null : new AdapterFile(path);
  const { configuration, metadata } = weights;
  const merged = adapter?.merger(configuration);
  saveWeights(directory, configuration, { metadata }, {
    values: (name, shape) => {
      const values = weights.read(name, shape);
      return merged === undefined ? values : merged(name, values);
    },
    moments: weights.moments === null
      ? undefined
      : (kind, name, shape) => weights.readMoments(kind, name, shape),
  });
  const parameters = parameterCount(configuration);
  if (options.json) {
    console.log(JSON.stringify({ source: path, out: directory, parameters, ...configuration }));
  } else {
    const { n_layer, n_embd, n_head } = configuration;
    console.log(
      `${directory}: ${parameters.toLocaleString("en")} parameters: ${n_layer} layers, ` +
        `${n_embd} channels, ${n_head} heads. Go on with ${
          invocation("chat")
        } --weights ${directory}`,
    );
  }
  return 0;
}

/** @throws UserError when --base and an adapter are not together */
function checkBase(path: string, base: string | undefined): void {
  const adapts = isDirectory(path) && isAdapter(path) && !isFile(`${path}/config.json`);
  if (adapts && base === undefined) {
    throw new UserError(`${path}: is an adapter; name the model to merge it into with --base DIR`);
  }
  if (base !== undefined && !isAdapter(path)) {
    throw new UserError(`${path}: holds no adapter (no adapter_config.json); leave --base out`);
  }
}

interface TorchOptions {
  readonly heads: number | undefined;
  readonly activation: string | undefined;
}

async function open(path: string, { heads, activation }: TorchOptions): Promise<Weights> {
  if (path.endsWith(".gguf") || isDirectory(path)) {
    if (heads === undefined && activation === undefined) return await openWeights(path);
    throw new UserError(`${path}: says itself what it is; leave --heads and --activation out`);
  }
  const { weights, notes } = await openTorchWeights(path, {
    heads,
    activation: activation as "gelu" | "gelu_new" | undefined,
  });
  for (const note of notes) console.error(`note: ${path}: ${note}`);
  return weights;
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false; // opening it says what is wrong
  }
}
