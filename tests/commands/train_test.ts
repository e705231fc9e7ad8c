// The command train from outside: Ctrl-C and --resume, where runs go, what is recorded and refused.

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

const MAIN = new URL("../../src/main.ts", import.meta.url).href;
const decoder = new TextDecoder();
const SMALL = ["--recipe", "basic", "--model", "nano", "--max-tokens", "32", "--sample-every", "0"];

/** Trains with `directory` as the working directory; interrupted behind the step `stopAt`. */
async function train(directory: string, args: string[], stopAt = Infinity) {
  const child = new Deno.Command("deno", {
    args: ["run", "--no-prompt", "--allow-read", "--allow-write", MAIN, "train", ...args],
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
      child.kill("SIGINT");
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
