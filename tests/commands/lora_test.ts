// LoRA from outside: train --lora-rank, resume, PEFT's files, and merging an adapter into its base.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { SafetensorsFile } from "../../src/checkpoint/mod.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).href;
const decoder = new TextDecoder();

async function run(directory: string, ...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--allow-read", "--allow-write", MAIN, ...args],
    cwd: directory,
    env: { NO_COLOR: "1" },
  }).output();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

function sameBytes(a: string, b: string): boolean {
  const [left, right] = [Deno.readFileSync(a), Deno.readFileSync(b)];
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}

Deno.test("lora: adapters train, resume to the same bytes, and merge into what best holds", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const data = ["--recipe", "basic", "--max-tokens", "32", "--sample-every", "0"];
    const base = await run(
      directory,
      ...["train", ...data, "--model", "nano", "--epochs", "1", "--out", "base"],
    );
    assertEquals([base.code, base.stderr], [0, ""]);
    const adapt = [
      ...["train", ...data, "--init", "base", "--lora-rank", "4", "--validation", "0.2"],
      ...["--lora-targets", "c_attn,c_fc", "--lora-alpha", "8", "--lora-dropout", "0.1"],
    ];
    const whole = await run(directory, ...adapt, "--epochs", "3", "--out", "whole");
    assertEquals([whole.code, whole.stderr], [0, ""]);
    assertEquals((await run(directory, ...adapt, "--epochs", "2", "--out", "parts")).code, 0);
    const resumed = await run(directory, "train", "--resume", "parts", "--epochs", "3");
    assertEquals([resumed.code, resumed.stderr], [0, ""]);
    for (const file of ["model.safetensors", "adapter_model.safetensors"]) {
      assert(sameBytes(`${directory}/whole/last/${file}`, `${directory}/parts/last/${file}`), file);
    }

    const config = JSON.parse(Deno.readTextFileSync(`${directory}/whole/best/adapter_config.json`));
    assertEquals(
      [config.peft_type, config.r, config.lora_alpha, config.target_modules],
      ["LORA", 4, 8, ["c_attn", "c_fc"]],
    );
    using file = new SafetensorsFile(`${directory}/whole/best/adapter_model.safetensors`);
    const name = "base_model.model.transformer.h.1.mlp.c_fc";
    assertEquals(file.entries.size, 2 * 2 * 2);
    assertEquals(file.entries.get(`${name}.lora_A.weight`)!.shape, [4, 64]);
    assertEquals(file.entries.get(`${name}.lora_B.weight`)!.shape, [256, 4]);

    // An adapter alone, as PEFT saves it, merged into its base.
    Deno.mkdirSync(`${directory}/adapter`);
    for (const name of ["adapter_config.json", "adapter_model.safetensors"]) {
      Deno.copyFileSync(`${directory}/whole/best/${name}`, `${directory}/adapter/${name}`);
    }
    const merged = await run(directory, "import", "adapter", "--base", "base", "--out", "merged");
    assertEquals([merged.code, merged.stderr], [0, ""]);
    assert(
      sameBytes(
        `${directory}/merged/model.safetensors`,
        `${directory}/whole/best/model.safetensors`,
      ),
    );

    const mistakes: [string[], RegExp][] = [
      [["train", ...data, "--lora-rank", "4"], /^error: --lora-rank needs --init DIR/],
      [["train", ...data, "--lora-alpha", "4"], /^error: --lora-alpha needs --lora-rank/],
      [[...adapt, "--lora-targets", "c_atn"], /there is no "c_atn": did you mean c_attn\?/],
      [["import", "adapter", "--out", "x"], /is an adapter; name the model .* with --base DIR/],
      [["import", "base/last", "--base", "base", "--out", "x"], /holds no adapter/],
    ];
    for (const [args, message] of mistakes) {
      const { code, stderr } = await run(directory, ...args);
      assertEquals(code, 2, args.join(" "));
      assertMatch(stderr, message);
    }
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
