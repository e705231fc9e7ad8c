// Damages valid files at random and reads them: what comes out is their content or a UserError of one line, never
// another error. fuzz_test.ts does so with a fixed seed; by hand, for longer and with other seeds:
//
//     deno task fuzz --minutes 10

import { ADAPTER_CONFIG, readAdapterOptions } from "../../src/checkpoint/adapter.ts";
import { GgufFile, type GgufSource, writeGguf } from "../../src/checkpoint/gguf.ts";
import {
  openTorchWeights,
  openWeights,
  readCheckpointInfo,
  SafetensorsFile,
  writeSafetensors,
} from "../../src/checkpoint/mod.ts";
import { TorchFile } from "../../src/checkpoint/torch.ts";
import { readEntries } from "../../src/data/mod.ts";
import { UserError } from "../../src/errors.ts";
import { parameterTable, presets } from "../../src/model/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import { tensorPickle, torchArchive } from "../checkpoint/archives.ts";

/** A kind of file, a valid one, and its reader. */
interface Subject {
  readonly kind: string;
  readonly file: string;
  readonly bytes: Uint8Array;
  /** Whole files that belong to it, by name. */
  readonly beside?: Readonly<Record<string, Uint8Array>>;
  read(path: string): unknown;
}

const floats = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i));

function written(write: (path: string) => void): Uint8Array {
  const path = Deno.makeTempFileSync();
  try {
    write(path);
    return Deno.readFileSync(path);
  } finally {
    Deno.removeSync(path);
  }
}

function safetensors(): Subject {
  const tensors = [
    { name: "a.weight", shape: [3, 4], values: () => floats(12) },
    { name: "b", shape: [5], values: () => floats(5) },
  ];
  return {
    kind: "safetensors",
    file: "model.safetensors",
    bytes: written((path) => writeSafetensors(path, tensors)),
    read(path) {
      using file = new SafetensorsFile(path);
      for (const [name, { shape }] of file.entries) file.read(name, shape);
    },
  };
}

function gguf(): Subject {
  const sources: GgufSource[] = [
    { name: "a", shape: [2, 32], type: "f32", values: () => floats(64) },
    { name: "b", shape: [3], type: "f16", values: () => floats(3) },
    { name: "c", shape: [1, 32], type: "q8_0", values: () => floats(32) },
  ];
  const metadata = {
    "general.architecture": { type: "string", value: "gpt2" },
    list: { type: "strings", value: ["a", "bc"] },
    flags: { type: "i32s", value: [1, -2] },
  } as const;
  return {
    kind: "gguf",
    file: "model.gguf",
    bytes: written((path) => writeGguf(path, metadata, sources)),
    read(path) {
      using file = new GgufFile(path);
      for (const [name, { shape }] of file.entries) file.read(name, shape);
    },
  };
}

function torch(): Subject {
  const pickle = tensorPickle({ length: 6, shape: [2, 3], strides: [3, 1] });
  return {
    kind: "torch.save",
    file: "model.pth",
    bytes: torchArchive(pickle, { 0: new Uint8Array(floats(6).buffer) }),
    async read(path) {
      using file = await TorchFile.open(path);
      for (const [name, { shape }] of file.entries) file.read(name, shape);
    },
  };
}

/** A whole model with its optimiser's state. */
function torchModel(): Subject {
  const url = new URL("../reference/fixtures/formats/continued.pth", import.meta.url);
  return {
    kind: "torch model",
    file: "continued.pth",
    bytes: Deno.readFileSync(url),
    async read(path) {
      const { weights } = await openTorchWeights(path, {});
      using open = weights;
      for (const { name, shape } of parameterTable(open.configuration)) {
        open.read(name, shape);
        open.readMoments("exp_avg", name, shape);
      }
    },
  };
}

const LINES = [
  {
    messages: [{ role: "user", content: "Hi" }, {
      role: "assistant",
      content: "Hello \u00e9 \ud83d\ude00",
    }],
  },
  { prompt: "Q", completion: "A", intent: "x", category: "y" },
  { instruction: "Do", input: "it", output: "done" },
  { conversations: [{ from: "human", value: "a" }, { from: "gpt", value: "b" }] },
  { text: "A text." },
];

function jsonl(): Subject {
  return {
    kind: "jsonl",
    file: "data.jsonl",
    bytes: new TextEncoder().encode(LINES.map((line) => JSON.stringify(line)).join("\n") + "\n"),
    read: (path) => readEntries([path], { skipBadLines: false }),
  };
}

function config(): Subject {
  const value = { model_type: "gpt2", ...presets.nano, illuminator: { format: "q-a", turns: 2 } };
  return {
    kind: "config.json",
    file: "config.json",
    bytes: inText(value),
    read: (path) => readCheckpointInfo(directoryOf(path)),
  };
}

const inText = (value: unknown) => new TextEncoder().encode(JSON.stringify(value, null, 2));
const directoryOf = (path: string) => path.slice(0, path.lastIndexOf("/"));

/** The index of a GPT-2 in two pieces. */
function shards(): Subject {
  const small = { n_layer: 1, n_head: 1, n_embd: 4, n_positions: 8, vocab_size: 16 };
  const configuration = { ...presets.nano, ...small };
  const table = parameterTable(configuration);
  const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
  const isFirst = (i: number) => i < table.length / 2;
  const piece = (first: boolean) =>
    written((path) =>
      writeSafetensors(
        path,
        table.filter((_, i) => isFirst(i) === first).map(({ name, shape }) => ({
          name,
          shape: [...shape],
          values: () => floats(shape.reduce((a, b) => a * b)),
        })),
      )
    );
  return {
    kind: "shards",
    file: "model.safetensors.index.json",
    bytes: inText({
      metadata: { total_size: 1 },
      weight_map: Object.fromEntries(table.map(({ name }, i) => [name, names[isFirst(i) ? 0 : 1]])),
    }),
    beside: {
      "config.json": inText({ model_type: "gpt2", ...configuration }),
      [names[0]]: piece(true),
      [names[1]]: piece(false),
    },
    async read(path) {
      using weights = await openWeights(directoryOf(path));
      for (const { name, shape } of parameterTable(weights.configuration)) {
        weights.read(name, shape);
      }
    },
  };
}

function adapter(): Subject {
  const value = { peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["c_attn", "c_proj"] };
  return {
    kind: "adapter",
    file: ADAPTER_CONFIG,
    bytes: inText(value),
    read: (path) => readAdapterOptions(directoryOf(path)),
  };
}

/** Bytes that mean much to one reader or another. */
const TELLING = [0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x22, 0x2c, 0x2e, 0x5b, 0x7b, 0x39];

/** One to four changes: bits, bytes, numbers of eight bytes, pieces cut, doubled or moved, the end lost. */
export function damage(bytes: Uint8Array, random: () => number): Uint8Array {
  const below = (n: number) => Math.floor(random() * n);
  let file: Uint8Array = bytes.slice();
  for (let change = 1 + below(4); change > 0 && file.length > 0; change--) {
    const at = below(file.length), length = 1 + below(Math.min(40, file.length - at));
    const piece = file.slice(at, at + length);
    switch (below(7)) {
      case 0:
        file[at]! ^= 1 << below(8);
        break;
      case 1:
        file[at] = TELLING[below(TELLING.length)]!;
        break;
      case 2:
        for (let i = at; i < Math.min(at + 8, file.length); i++) file[i] = i === at + 7 ? 0x10 : 0;
        break;
      case 3:
        file = join(file.slice(0, at), file.slice(at + length));
        break;
      case 4:
        file = join(file.slice(0, at), piece, piece, file.slice(at + length));
        break;
      case 5: {
        const to = below(file.length);
        file = join(file.slice(0, to), piece, file.slice(to));
        break;
      }
      case 6:
        file = file.slice(0, at);
    }
  }
  return file;
}

function join(...parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** What became of the files of a kind. */
export interface Tally {
  readonly kind: string;
  read: number;
  refused: number;
}

/**
 * Damages and reads files of every kind in turn, while `more` says so.
 * @throws Error when a reader fails in another way than by a UserError of one line; it names the file left behind
 */
export async function fuzz(seed: number, more: (done: number) => boolean): Promise<Tally[]> {
  const random = randomNumbers(seed);
  const subjects = [
    safetensors(),
    gguf(),
    torch(),
    torchModel(),
    jsonl(),
    config(),
    shards(),
    adapter(),
  ];
  const tallies = subjects.map(({ kind }) => ({ kind, read: 0, refused: 0 }));
  const directory = Deno.makeTempDirSync({ prefix: "fuzz-" });
  for (const { kind, beside = {} } of subjects) {
    Deno.mkdirSync(`${directory}/${kind}`);
    for (const [name, bytes] of Object.entries(beside)) {
      Deno.writeFileSync(`${directory}/${kind}/${name}`, bytes);
    }
  }
  for (let done = 0; more(done); done++) {
    const subject = subjects[done % subjects.length]!, tally = tallies[done % subjects.length]!;
    const path = `${directory}/${subject.kind}/${subject.file}`;
    Deno.writeFileSync(path, damage(subject.bytes, random));
    // Of several files it may be any, also one that a damaged index makes up.
    const named = subject.beside === undefined ? subject.file : directoryOf(path);
    try {
      await subject.read(path);
      tally.read++;
    } catch (error) {
      const isGood = error instanceof UserError && !error.message.includes("\n") &&
        error.message.includes(named);
      if (!isGood) throw new Error(`seed ${seed}, file ${done}, kept as ${path}`, { cause: error });
      tally.refused++;
    }
  }
  Deno.removeSync(directory, { recursive: true });
  return tallies;
}

if (import.meta.main) {
  const minutes = Number(Deno.args[Deno.args.indexOf("--minutes") + 1]);
  if (!Deno.args.includes("--minutes") || !(minutes > 0)) {
    console.error("error: say for how long: deno task fuzz --minutes N");
    Deno.exit(2);
  }
  const seed = Math.floor(Math.random() * 2 ** 32), end = Date.now() + minutes * 60_000;
  console.log(`seed ${seed}`);
  for (const { kind, read, refused } of await fuzz(seed, () => Date.now() < end)) {
    console.log(`${kind.padEnd(12)} ${read} read, ${refused} refused`);
  }
}
