// A model that says one thing, saved, and the program run with it.

import { saveCheckpoint } from "../../src/checkpoint/mod.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, presets } from "../../src/model/mod.ts";
import { loadTokenizer } from "../../src/tokenizer/mod.ts";

export const MAIN = new URL("../../src/main.ts", import.meta.url).href;
export const PERMISSIONS = ["--no-prompt", "--allow-read", "--allow-write"];
const decoder = new TextDecoder(), encoder = new TextEncoder();

/** Saves a model that says " hi" behind whatever it is given, and never ends by itself. */
async function saveParrot(directory: string): Promise<void> {
  const runtime = await Runtime.start({ threads: 1 });
  const configuration = { ...presets.nano, n_embd: 8, n_layer: 1, n_positions: 4096 };
  const model = new GPT(runtime, configuration, { training: false });
  const [token] = loadTokenizer().encode(" hi");
  const table = new Float32Array(configuration.vocab_size * 8);
  table[token! * 8] = 1;
  model.writeParameter("transformer.wte.weight", "parameter", table);
  const bias = Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0);
  model.writeParameter("transformer.ln_f.bias", "parameter", bias);
  const metadata = { format: "human-assistant", turns: 1, step: 1, epoch: 1 } as const;
  saveCheckpoint(directory, model, { metadata });
  runtime.close();
}

/** A directory whose weights/ holds the model. */
export async function withParrot(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    await saveParrot(`${directory}/weights/parrot`);
    await work(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Runs a command in a directory with something on its standard input. */
export async function run(directory: string, args: readonly string[], input = "") {
  const child = new Deno.Command("deno", {
    args: ["run", ...PERMISSIONS, MAIN, ...args, "--threads", "1"],
    cwd: directory,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(encoder.encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
