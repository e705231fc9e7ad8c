// What we write for other programs, read back: a Hugging Face directory and GGUF files; and the tokenizer's
// files. tests/reference/check_formats.py shows that those programs read them.

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  exportGguf,
  exportHuggingFace,
  modelfile,
  openWeights,
  saveWeights,
  type Weights,
} from "../../src/checkpoint/mod.ts";
import { GgufFile } from "../../src/checkpoint/gguf.ts";
import { parameterTable, presets } from "../../src/model/mod.ts";
import {
  chatTemplate,
  formats,
  loadTokenizer,
  spelledMerges,
  spelledTokens,
} from "../../src/tokenizer/mod.ts";
import { run } from "../commands/parrot.ts";

const CONFIGURATION = { ...presets.nano, n_embd: 32, n_head: 2, n_layer: 1, n_positions: 16 };
const METADATA = { format: "q-a", turns: 2, step: 5, epoch: 1 } as const;

async function withWeights(work: (weights: Weights, directory: string) => unknown): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    saveWeights(`${directory}/model`, CONFIGURATION, { metadata: METADATA }, {
      values: (name, shape) =>
        Float32Array.from(
          { length: shape.reduce((a, b) => a * b) },
          (_, i) => Math.sin(i * 0.7 + name.length),
        ),
    });
    using weights = await openWeights(`${directory}/model`);
    await work(weights, directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Largest difference between two models' tensors. */
function distance(a: Weights, b: Weights): number {
  let largest = 0;
  for (const { name, shape } of parameterTable(CONFIGURATION)) {
    const other = b.read(name, shape);
    a.read(name, shape).forEach((value, i) => {
      const difference = Math.abs(value - other[i]!);
      largest = difference <= largest ? largest : difference;
    });
  }
  return largest;
}

Deno.test("gguf: tensors come back, f16 within 2^-12 of 1, q8_0 within half a step of 1/127", () =>
  withWeights(async (weights, directory) => {
    for (
      const [type, bound] of [["f32", 0], ["f16", 2 ** -12], [
        "q8_0",
        0.5 / 127 + 2 ** -11,
      ]] as const
    ) {
      for (const explicitHead of [false, true]) {
        const path = `${directory}/${type}.gguf`;
        exportGguf(path, weights, { type, explicitHead, name: "test" });
        using back = await openWeights(path);
        assertEquals(back.configuration, CONFIGURATION);
        assertEquals([back.metadata.format, back.metadata.turns], ["q-a", 2]);
        const difference = distance(weights, back);
        assert(difference <= bound, `${type}: ${difference}`);
        using file = new GgufFile(path);
        assertEquals(file.entries.has("output.weight"), explicitHead);
        assertEquals(file.entries.get("blk.0.ffn_up.weight")!.shape, [128, 32]);
      }
    }
    assertEquals(
      modelfile("q8_0.gguf", weights),
      'FROM ./q8_0.gguf\nTEMPLATE """{{ range $i, $message := .Messages }}{{ if $i }}\n' +
        '{{ end }}{{ if eq .Role "user" }}Q: {{ .Content }}' +
        '{{ else if eq .Role "assistant" }}A: {{ .Content }}{{ else }}{{ .Content }}{{ end }}' +
        '{{ end }}\nA:"""\nPARAMETER stop "Q:"\nPARAMETER stop "A:"\nPARAMETER num_ctx 16',
    );
    const small = { ...METADATA, format: "small-letters" } as const;
    const inSmallLetters = { configuration: weights.configuration, metadata: small } as Weights;
    assertStringIncludes(modelfile("a", inSmallLetters), "put your questions in them.\nFROM ./a");
  }));

Deno.test("hf: weights come back to the bit, beside the files of a tokenizer", () =>
  withWeights(async (weights, directory) => {
    exportHuggingFace(`${directory}/hf`, weights);
    using back = await openWeights(`${directory}/hf`);
    assertEquals(distance(weights, back), 0);
    const json = (name: string) => JSON.parse(Deno.readTextFileSync(`${directory}/hf/${name}`));
    assertEquals(json("generation_config.json").eos_token_id, 50256);
    assertEquals(
      json("tokenizer_config.json").added_tokens_decoder["50259"].content,
      "<|unknown|>",
    );
    assertEquals(json("tokenizer.json").added_tokens.length, 4);
    assertEquals(json("vocab.json")["Ġthe"], 262);
    const merges = Deno.readTextFileSync(`${directory}/hf/merges.txt`).split("\n");
    // GPT-2's own first and last merges.
    assertEquals(merges.slice(1, 4), ["Ġ t", "Ġ a", "h e"]);
    assertEquals(merges[50000], "Ġg azed");
    assertEquals(merges.length, 50002);
  }));

Deno.test("tokenizer: spellings are unique, and merging by rank of the merges gives our tokens", () => {
  const tokenizer = loadTokenizer();
  const tokens = spelledTokens(tokenizer), merges = spelledMerges(tokenizer);
  assertEquals([tokens.length, new Set(tokens).size, merges.length], [50260, 50260, 50000]);
  assertEquals(tokens.slice(-4), ["<|endoftext|>", "<|pad|>", "<|startoftext|>", "<|unknown|>"]);
  const rankOf = new Map(merges.map((merge, rank) => [merge, rank]));
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  for (
    const word of [
      "hello",
      " unbelievable",
      " 1234567",
      "ünïcödé",
      "日本語",
      "\t\t\n",
      "antidisestab",
    ]
  ) {
    const bytes = new TextEncoder().encode(word);
    let parts = Array.from(bytes, (byte) => tokens[byteToken(byte)]!);
    for (;;) {
      const ranks = parts.slice(1).map((part, i) => rankOf.get(`${parts[i]} ${part}`) ?? Infinity);
      const best = Math.min(...ranks);
      if (best === Infinity) break;
      const at = ranks.indexOf(best);
      parts = [...parts.slice(0, at), parts[at]! + parts[at + 1]!, ...parts.slice(at + 2)];
    }
    assertEquals(parts.map((part) => idOf.get(part)), tokenizer.encode(word), word);
  }

  /** The token of a single byte: one of the first 256. */
  function byteToken(byte: number): number {
    for (let token = 0; token < 256; token++) {
      if (tokenizer.decodeBytes([token])[0] === byte) return token;
    }
    throw new Error(`${byte}`);
  }
});

Deno.test("tokenizer: the template labels turns, and plain has none", () => {
  const template = chatTemplate(formats["human-assistant"]);
  assertStringIncludes(template, "'Human: ' + message['content']");
  assertStringIncludes(template, "{% if add_generation_prompt %}{{ '\\nAssistant:' }}{% endif %}");
  assert(!chatTemplate(formats.plain).includes(":"));
  const small = chatTemplate(formats["small-letters"]);
  assertStringIncludes(small, "'Human: ' + (message['content'] | lower)");
  assertStringIncludes(small, "'Assistant: ' + message['content']");
});

Deno.test("commands: export and import, and mistakes in one line", () =>
  withWeights(async (_, directory) => {
    const to = ["export", "--weights", "model", "--out"];
    const exported = await command(directory, [
      ...to,
      "a.gguf",
      "--format",
      "gguf",
      "--type",
      "f16",
    ]);
    assertEquals(exported.code, 0);
    assertStringIncludes(exported.stdout, "FROM ./a.gguf\n");
    assertStringIncludes(exported.stderr, "tanh form");
    assertEquals((await command(directory, [...to, "hf"])).code, 0);
    const imported = await command(directory, ["import", "a.gguf", "--out", "b", "--json"]);
    assertEquals([imported.code, imported.stderr], [0, ""]);
    assertEquals(JSON.parse(imported.stdout).n_embd, 32);
    const answer = ["generate", "--raw", "Hi", "--max-tokens", "2", "--weights"];
    const said = await run(directory, [...answer, "a.gguf"]);
    assertEquals([said.code, said.stderr], [0, ""]);
    const short = [
      "--recipe",
      "basic",
      "--max-tokens",
      "16",
      "--epochs",
      "1",
      "--sample-every",
      "0",
    ];
    const trained = await run(directory, [
      "train",
      ...short,
      "--init",
      "hf",
      "--json",
      "--out",
      "t",
    ]);
    assertEquals([trained.code, trained.stderr], [0, ""]);
    assertStringIncludes(trained.stdout, '"event":"done"');
    Deno.writeTextFileSync(`${directory}/x.pth`, "nothing");
    const mistakes: [string[], string][] = [
      [["export", "--weights", "model"], "export needs --out PATH"],
      [[...to, "hf"], "--out hf: is not empty"],
      [[...to, "x.pth"], "--out x.pth: is a file"],
      [[...to, "c", "--type", "f16"], "--type is for --format gguf"],
      [[...to, "no/where.gguf", "--format", "gguf"], "no/where.gguf: cannot be saved"],
      [["import", "x.pth"], "import needs one FILE and --out DIR"],
      [["import", "x.pth", "--out", "c"], "x.pth: is no zip archive"],
      [["import", "y.pth", "--out", "c"], "y.pth: there is no such file"],
      [["import", "a.gguf", "--out", "c", "--heads", "2"], "says itself what it is"],
      [["export", "--weights", "x.pth", "--out", "c"], "the command import reads .pth files"],
    ];
    for (const [args, message] of mistakes) {
      const { code, stdout, stderr } = await command(directory, args);
      assertEquals([code, stdout, stderr.trim().split("\n").length], [2, "", 1], stderr);
      assertStringIncludes(stderr, message);
    }
  }));

/** Runs a command that has no --threads. */
async function command(directory: string, args: readonly string[]) {
  const main = new URL("../../src/main.ts", import.meta.url).href;
  const { code, stdout, stderr } = await new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--allow-read", "--allow-write", main, ...args],
    cwd: directory,
    env: { NO_COLOR: "1" },
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
