// The command train from outside: Ctrl-C and --resume, where runs go, what is recorded and refused.

import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { lockRun } from "../../src/checkpoint/mod.ts";
import { checkMemory } from "../../src/commands/train_prepare.ts";
import { UserError } from "../../src/errors.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).href;
const decoder = new TextDecoder();
const SMALL = ["--recipe", "basic", "--model", "nano", "--max-tokens", "32", "--sample-every", "0"];

/** Trains with `directory` as the working directory; interrupted behind the step `stopAt`. */
async function train(
  directory: string,
  args: string[],
  stopAt = Infinity,
  signal: Deno.Signal = "SIGINT",
  options: readonly string[] = ["--allow-read", "--allow-write"],
) {
  const child = new Deno.Command("deno", {
    args: ["run", "--no-prompt", ...options, MAIN, "train", ...args],
    cwd: directory,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stderr = new Response(child.stderr).text();
  let stdout = "", sent = false;
  for await (const chunk of child.stdout) {
    stdout += decoder.decode(chunk);
    if (!sent && stdout.includes(`"step":${stopAt},`)) {
      child.kill(signal);
      sent = true;
    }
  }
  const { code } = await child.status;
  return { code, stdout, stderr: await stderr };
}

async function withDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    await work(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

// deno-lint-ignore no-explicit-any
function eventsOf(stdout: string): any[] {
  return stdout.trim().split("\n").map((line) => JSON.parse(line));
}

Deno.test({
  name: "train: Ctrl-C ends with 130, and --resume with the files of a run that was left alone",
  ignore: Deno.build.os === "windows",
  fn: () =>
    withDirectory(async (directory) => {
      const args = [...SMALL, "--epochs", "2", "--validation", "0.2", "--json"];
      assertEquals((await train(directory, [...args, "--out", "whole"])).code, 0);
      const first = await train(directory, [...args, "--out", "parts"], 3);
      assertEquals([first.code, first.stderr], [130, ""]);
      const done = eventsOf(first.stdout).at(-1);
      assertEquals(done.reason, "interrupted");
      assert(done.steps >= 3 && done.steps < 16, `${done.steps}`);
      assertEquals((await train(directory, ["--resume", "parts", "--json"])).code, 0);
      const files = ["model.safetensors", "config.json", "training/optimizer.safetensors"];
      for (const file of [...files, "training/history.jsonl"]) {
        const [whole, parts] = ["whole", "parts"].map((run) =>
          Deno.readFileSync(`${directory}/${run}/last/${file}`)
        );
        assert(
          whole!.length === parts!.length && whole!.every((byte, i) => byte === parts![i]),
          file,
        );
      }
    }),
});

Deno.test({
  name: "train: killed at any moment, it resumes to the bytes of a run that was left alone",
  ignore: Deno.build.os === "windows",
  fn: () =>
    withDirectory(async (directory) => {
      const args = [...SMALL, "--epochs", "5", "--validation", "0.2", "--json"];
      const saving = [...args, "--save-every", "1", "--keep", "2"];
      assertEquals((await train(directory, [...saving, "--out", "whole"])).code, 0);
      const first = await train(directory, [...saving, "--out", "parts"], 13, "SIGKILL");
      assertEquals(first.code, 137);
      const names = ["whole", "parts"].map((run) =>
        Array.from(Deno.readDirSync(`${directory}/${run}`), ({ name }) => name).sort()
      );
      assertEquals(names[0], [".lock", "best", "epoch-4", "epoch-5", "last"]);
      assert(names[1]!.includes("last"), `${names[1]}`);
      const resumed = await train(directory, ["--resume", "parts", "--json"]);
      assertEquals([resumed.code, resumed.stderr], [0, ""]);
      for (const file of ["last/model.safetensors", "last/training/optimizer.safetensors"]) {
        const [whole, parts] = ["whole", "parts"].map((run) =>
          Deno.readFileSync(`${directory}/${run}/${file}`)
        );
        assert(
          whole!.length === parts!.length && whole!.every((byte, i) => byte === parts![i]),
          file,
        );
      }
    }),
});

/** Every file below a directory with what it holds. */
function contentsOf(directory: string): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    const path = `${directory}/${name}`;
    if (!isDirectory) files.set(name, Deno.readFileSync(path));
    else for (const [file, bytes] of contentsOf(path)) files.set(`${name}/${file}`, bytes);
  }
  return files;
}

/** A run's files but for the seconds that it took. */
function resultOf(run: string): Map<string, Uint8Array> {
  const files = contentsOf(run);
  files.delete("last/training/state.json");
  return files;
}

Deno.test({
  name:
    "train: the disk fills up behind --resume, the saved run stays whole and ends as if undisturbed",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withDirectory(async (directory) => {
      const saving = ["--save-every", "1", "--keep", "2", "--best-as", "bf16"];
      const args = [...SMALL, "--vocabulary", "corpus", "--epochs", "4", "--validation", "0.2"];
      const all = [...args, ...saving, "--threads", "1", "--json"];
      assertEquals((await train(directory, [...all, "--out", "whole"])).code, 0);
      assertEquals((await train(directory, [...all, "--out", "parts"], 11)).code, 130);
      const parts = `${directory}/parts`;
      // Before the first byte, within the weights of `last`, and within its moments.
      for (const [free, failing] of [[0, "best"], [1_500_000, "last"], [3_000_000, "last"]]) {
        const saved = contentsOf(`${parts}/last`);
        Deno.writeTextFileSync(`${directory}/free`, `${free}`);
        const preload = new URL("full_disk.ts", import.meta.url).pathname;
        const { code, stderr } = await train(
          directory,
          ["--resume", "parts", "--threads", "1"],
          Infinity,
          "SIGINT",
          [
            "--allow-all",
            `--preload=${preload}`,
          ],
        );
        const reason = "cannot be saved: No space left on device (os error 28)";
        assertEquals([code, stderr], [2, `error: parts/${failing}: ${reason}\n`]);
        assertEquals(contentsOf(`${parts}/last`), saved);
        const names = Array.from(Deno.readDirSync(parts), ({ name }) => name).sort();
        assertEquals(names.filter((name) => !/^(best|last|\.lock|epoch-\d)$/.test(name)), []);
      }
      assertEquals((await train(directory, ["--resume", "parts", "--threads", "1"])).code, 0);
      const [whole, resumed] = [resultOf(`${directory}/whole`), resultOf(parts)];
      assertEquals([...resumed.keys()].sort(), [...whole.keys()].sort());
      for (const [file, bytes] of whole) assertEquals(resumed.get(file), bytes, file);
    }),
});

Deno.test("train: a directory where a run is at work is refused, and left as it is", () =>
  withDirectory(async (directory) => {
    using _lock = lockRun(`${directory}/run`);
    const { code, stderr } = await train(directory, [...SMALL, "--epochs", "1", "--out", "run"]);
    assertEquals(code, 2);
    assertMatch(stderr, /^error: run: another run is at work there; wait for it or use --out/);
    assertEquals(Array.from(Deno.readDirSync(`${directory}/run`), ({ name }) => name), [".lock"]);
  }));

Deno.test("train --find-rate: losses over rising rates, a suggestion among them, and no run", () =>
  withDirectory(async (directory) => {
    const { code, stdout } = await train(directory, [...SMALL, "--find-rate", "--json"]);
    assertEquals(code, 0);
    const { suggested, points } = JSON.parse(stdout);
    assert(suggested > 1e-6 && suggested < 0.1, `${suggested}`);
    assert(points.length > 20 && points[0].loss > 10, JSON.stringify(points[0]));
    assert(Math.min(...points.map(({ smooth }: { smooth: number }) => smooth)) < 9);
    assertEquals(Array.from(Deno.readDirSync(directory)).length, 0);
  }));

Deno.test("checkMemory: what cannot fit is refused, what will be slow is warned about", () => {
  const GB = 1e9, machine = { total: 2 * GB, available: 1 * GB };
  assertEquals(checkMemory(0.5 * GB, machine), null);
  assertEquals(checkMemory(3 * GB, null), null);
  assertMatch(checkMemory(1.5 * GB, machine)!, /needs 1,431 MiB of memory, of which 954 MiB are/);
  assertThrows(() => checkMemory(3 * GB, machine), UserError, "this machine has 1,908 MiB; use");
  assertThrows(() => checkMemory(5 * GB, null), UserError, "WebAssembly can address 4,096 MiB");
});

Deno.test("train: runs do not overwrite each other, events are complete, mistakes are one line", () =>
  withDirectory(async (directory) => {
    const args = [...SMALL, "--epochs", "1"];
    const plain = await train(directory, args);
    assertEquals([plain.code, plain.stderr], [0, ""]);
    assertStringIncludes(plain.stdout, "recipe basic -> weights/basic-nano\n");
    assertMatch(plain.stdout, /^done: .* deno task chat --weights weights\/basic-nano$/m);

    const json = await train(
      directory,
      [...args, "--init", "weights/basic-nano", "--json"].filter(
        (arg) => arg !== "--model" && arg !== "nano",
      ),
    );
    assertEquals([json.code, json.stderr], [0, ""]);
    const events = eventsOf(json.stdout);
    assertEquals([...new Set(events.map(({ event }) => event))].sort(), [
      "done",
      "epoch",
      "saved",
      "start",
      "step",
    ]);
    const [start] = events;
    assertEquals([start.directory, start.model], ["weights/basic", null]);
    assertStringIncludes(start.init, "weights/basic-nano/");
    const step = events.find(({ event }) => event === "step");
    // Taken up where the first run ended, not at ln 50260 again.
    assertEquals([step.step, step.epoch, step.learning_rate], [1, 1, 1e-4]);
    assert(step.loss < 10.75 && step.tokens_per_second > 0, JSON.stringify(step));
    const epoch = events.find(({ event }) => event === "epoch");
    assert(epoch.train_loss > 0 && epoch.validation_loss === null, JSON.stringify(epoch));
    const done = events.at(-1);
    assert(
      done.seconds > 0 && done.steps === 10 && done.peak_rss_bytes > 1e7,
      JSON.stringify(done),
    );
    assert(done.best.epoch === 1 && done.best.value > 0, JSON.stringify(done));

    const refused: [string[], RegExp][] = [
      [[...args, "--out", "weights/basic"], /^error: --out weights\/basic: is not empty/],
      [["--resume", "weights/basic"], /is done after 1 epochs; --epochs with a larger number/],
      [["--resume", "weights/basic", "--epochs", "1"], /has 1 epochs behind it; --epochs must be/],
      [["--resume", "--clip", "2"], /--resume goes on as the run began; leave --clip out/],
      [["--resume", "--skip-bad-lines"], /leave --skip-bad-lines out/],
      [["--resume", "weights/basic", "--out", "x"], /name the run twice/],
      [["--resume", "nowhere"], /^error: nowhere: holds no run to go on with/],
      [["--max-tokens", "2000"], /texts of 2000 tokens do not fit .* --max-tokens 1024 or less/],
      [
        [
          "--model",
          "124m",
          "--batch-size",
          "4096",
          "--validation",
          "0",
          "--data",
          "long.txt",
          "--max-tokens",
          "1024",
        ],
        /^error: training needs [\d,]+ MiB of memory, WebAssembly can address 4,096 MiB; use/,
      ],
    ];
    Deno.writeTextFileSync(`${directory}/long.txt`, "All work and no play. ".repeat(20_000));
    for (const [mistake, message] of refused) {
      const { code, stdout, stderr } = await train(directory, mistake);
      assertEquals([code, stdout], [2, ""], mistake.join(" "));
      assertMatch(stderr, message);
      assertEquals(stderr.trim().split("\n").length, 1);
    }
  }));
