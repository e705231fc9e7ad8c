// Checkpoint directories: complete or absent, found, recovered, and never in place of something else.

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  findCheckpoint,
  loadMoments,
  loadParameters,
  newestRun,
  readCheckpointInfo,
  readTraining,
  saveCheckpoint,
  tokenizerOf,
} from "../../src/checkpoint/mod.ts";
import { replaceDirectory } from "../../src/checkpoint/directory.ts";
import { UserError } from "../../src/errors.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, parameterTable, presets } from "../../src/model/mod.ts";

const CONFIGURATION = { ...presets.nano, vocab_size: 300, n_embd: 16, n_head: 2, n_positions: 32 };
const METADATA = { format: "q-a", turns: 3, step: 7, epoch: 2 } as const;

async function withModel(work: (model: GPT, directory: string) => void): Promise<void> {
  const directory = Deno.makeTempDirSync();
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const model = new GPT(runtime, CONFIGURATION, { training: true });
    model.initialize(1);
    work(model, directory);
  } finally {
    runtime.close();
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("a checkpoint gives back configuration, weights, moments, state and history", async () => {
  await withModel((model, directory) => {
    const table = parameterTable(CONFIGURATION);
    for (const [i, { name, shape }] of table.entries()) {
      const length = shape.reduce((a, b) => a * b);
      const values = Float32Array.from({ length }, (_, j) => Math.sin(i + j));
      model.writeParameter(name, "exp_avg", values);
      model.writeParameter(name, "exp_avg_sq", values.map((x) => x * x));
    }
    const path = `${directory}/run/last`;
    const training = { state: { step: 7 }, history: "{}\n" };
    saveCheckpoint(path, model, { metadata: METADATA, training });
    assertEquals(readCheckpointInfo(path).configuration, CONFIGURATION);
    assertEquals(readCheckpointInfo(path).metadata.format, "q-a");
    assertEquals(readCheckpointInfo(path).metadata.turns, 3);
    assertEquals(readTraining(path), training);
    const other = new GPT(model.runtime, CONFIGURATION, { training: true });
    loadParameters(path, other);
    loadMoments(path, other);
    for (const kind of ["parameter", "exp_avg", "exp_avg_sq"] as const) {
      for (const { name } of table) {
        assertEquals(other.readParameter(name, kind), model.readParameter(name, kind), name);
      }
    }
  });
});

Deno.test("best comes before last, the newest run first, then what is shipped; nothing found names the command", async () => {
  await withModel((model, directory) => {
    const save = (name: string, time: number) => {
      saveCheckpoint(`${directory}/${name}`, model, { metadata: METADATA });
      Deno.utimeSync(`${directory}/${name}/config.json`, time, time);
    };
    save("old/last", 3);
    save("old/best", 2);
    save("new/last", 9);
    assertEquals(newestRun(directory), `${directory}/new`);
    assertEquals(findCheckpoint(`${directory}/old/`, ""), `${directory}/old/best`);
    assertEquals(findCheckpoint(`${directory}/new`, ""), `${directory}/new/last`);
    assertThrows(() => findCheckpoint(directory, ""), UserError, "holds no checkpoint");
    const here = Deno.cwd();
    Deno.chdir(directory);
    try {
      assertStringIncludes(findCheckpoint(undefined, ""), "/weights/illuminator/best");
      assertThrows(
        () => findCheckpoint(undefined, "deno task train", `${directory}/none`),
        UserError,
        "deno task train",
      );
    } finally {
      Deno.chdir(here);
    }
  });
});

Deno.test("a crash between the two renames loses nothing", async () => {
  await withModel((model, directory) => {
    saveCheckpoint(`${directory}/run`, model, { metadata: METADATA });
    Deno.renameSync(`${directory}/run`, `${directory}/run.replaced`);
    assertEquals(findCheckpoint(`${directory}/run`, ""), `${directory}/run`);
    assertEquals(readCheckpointInfo(`${directory}/run`).metadata.step, 7);
  });
});

Deno.test("a failure while writing keeps the old directory and leaves nothing behind", async () => {
  await withModel((model, directory) => {
    saveCheckpoint(`${directory}/run`, model, { metadata: METADATA });
    const failing = () => {
      throw new Deno.errors.WriteZero("no space left on device");
    };
    assertThrows(
      () => replaceDirectory(`${directory}/run`, "config.json", failing),
      UserError,
      "cannot be saved: no space left",
    );
    const damaged = () => {
      throw new UserError("weights that are not finite");
    };
    assertThrows(
      () => replaceDirectory(`${directory}/run`, "config.json", damaged),
      UserError,
      "not finite",
    );
    assertEquals(readCheckpointInfo(`${directory}/run`).metadata.step, 7);
    assertEquals(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["run"]);
  });
});

Deno.test("a directory that holds something else is neither replaced nor touched", async () => {
  await withModel((model, directory) => {
    Deno.mkdirSync(`${directory}/thesis`);
    Deno.writeTextFileSync(`${directory}/thesis/text.txt`, "years of work");
    assertThrows(
      () => saveCheckpoint(`${directory}/thesis`, model, { metadata: METADATA }),
      UserError,
      "holds something else",
    );
    assertEquals(Deno.readTextFileSync(`${directory}/thesis/text.txt`), "years of work");
  });
});

Deno.test("a compact vocabulary and the tokens of intents come back; names that are none are refused", async () => {
  await withModel((model, directory) => {
    const vocabulary = Array.from({ length: 294 }, (_, token) => token), intents = ["a", "b"];
    saveCheckpoint(directory + "/run", model, { metadata: { ...METADATA, vocabulary, intents } });
    const { metadata } = readCheckpointInfo(`${directory}/run`);
    assertEquals([metadata.vocabulary, metadata.intents], [vocabulary, intents]);
    assertEquals(tokenizerOf(metadata).intents?.get("b"), 299);
    const path = `${directory}/run/config.json`;
    const text = Deno.readTextFileSync(path);
    for (const wrong of [["a", "a"], [1, 2], "ab", ["a"]]) {
      const config = JSON.parse(text);
      config.illuminator.intents = wrong;
      Deno.writeTextFileSync(path, JSON.stringify(config));
      assertThrows(
        () => readCheckpointInfo(`${directory}/run`),
        UserError,
        "illuminator.vocabulary",
      );
    }
  });
});

Deno.test("a damaged configuration is refused with the file's name", async () => {
  await withModel((model, directory) => {
    saveCheckpoint(`${directory}/run`, model, { metadata: METADATA });
    const path = `${directory}/run/config.json`;
    const config = JSON.parse(Deno.readTextFileSync(path));
    const refused = (text: string, reason: string) => {
      Deno.writeTextFileSync(path, text);
      const { message } = assertThrows(
        () => readCheckpointInfo(`${directory}/run`),
        UserError,
        path,
      );
      assert(message.includes(reason), message);
    };
    refused("{", "not a valid JSON object");
    refused(JSON.stringify({ ...config, model_type: "llama" }), 'must be "gpt2"');
    refused(JSON.stringify({ ...config, n_layer: "two" }), "n_layer must be a number");
    refused(JSON.stringify({ ...config, activation_function: "relu" }), "must be gelu or gelu_new");
  });
});
