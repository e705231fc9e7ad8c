// What works against overfitting, each against its formula, and all of it through a stop and a resumption.

import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { cutAnswers, type Entry, type Example, foldOf, hideWords } from "../../src/data/mod.ts";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, presets } from "../../src/model/mod.ts";
import { randomNumbers } from "../../src/random.ts";
import {
  difficulties,
  learningRateAt,
  loadCorpus,
  orderOf,
  type Recipe,
  recipes,
} from "../../src/training/mod.ts";
import { collate } from "../../src/data/mod.ts";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/mod.ts";
import { runTraining, withDirectory } from "./helpers.ts";

const BASE = { ...recipes.basic, learningRate: 1, epochs: 10, scheduleMinimum: 0 };

Deno.test("wsd: the full rate, then a fall with a square root to the minimum with the last step", () => {
  const s = { ...BASE, schedule: "wsd", scheduleDecay: 0.2 } as const;
  const at = (step: number) => learningRateAt(s, step, 10);
  assertEquals([0, 50, 79].map(at), [1, 1, 1]);
  assertAlmostEquals(at(84), 1 - Math.sqrt(5 / 20), 1e-12);
  assertAlmostEquals(at(99), 0, 1e-12);
});

Deno.test("plateau: the rate times the factor, halved when nothing gets better", async () => {
  assertEquals(learningRateAt({ ...BASE, schedule: "plateau" }, 5, 10, 0.25), 0.25);
  const recipe: Partial<Recipe> = {
    schedule: "plateau",
    scheduleFactor: 0.5,
    scheduleEvery: 1,
    warmupSteps: 0,
    // Far too high: validation gets worse at once.
    learningRate: 5,
    epochs: 4,
    stopOn: "never",
  };
  const { events } = await withDirectory((directory) => runTraining(directory, { recipe }));
  const rates = events.flatMap((e) => e.event === "step" ? [e.learning_rate] : []);
  const best = events.flatMap((e) => e.event === "epoch" ? [e.best] : []);
  let factor = 1;
  const perEpoch = rates.length / best.length;
  best.forEach((improved, epoch) => {
    assertEquals(rates[epoch * perEpoch], 5 * factor, `epoch ${epoch + 1}`);
    if (!improved) factor /= 2;
  });
  assert(factor < 1, "the rate never had to fall");
});

function example(tokens: number[]): Example {
  return {
    tokens: Int32Array.from(tokens),
    weights: new Float32Array(tokens.length).fill(1),
    user: Uint8Array.from(tokens, (_, i) => Number(i % 2)),
    entry: 0,
    format: null,
    truncated: false,
  };
}

Deno.test("curriculum: the easiest three tenths first, more with every epoch, then everything", () => {
  const examples = Array.from({ length: 20 }, (_, i) => example(new Array(20 - i).fill(7)));
  assertEquals(difficulties(examples, "length"), examples.map(({ tokens }) => tokens.length));
  const recipe = { seed: 1, curriculum: "length", curriculumEpochs: 2 } as const;
  const seen = (epoch: number) => new Set(orderOf(examples, recipe, epoch));
  assertEquals([...seen(0)].sort((a, b) => a - b), [14, 15, 16, 17, 18, 19]);
  assertEquals(Math.min(...seen(1)), 7);
  assertEquals(seen(2).size, 20);
  assertEquals(orderOf(examples, recipe, 0).length, 20);
  const losses = examples.map((_, i) => (i * 7) % 20);
  const byLoss = new Set(orderOf(examples, { ...recipe, curriculum: "loss" }, 0, losses));
  assertEquals([...byLoss].map((i) => losses[i]!).sort((a, b) => a - b), [0, 1, 2, 3, 4, 5]);
  assertEquals(new Set(orderOf(examples, { ...recipe, curriculum: "loss" }, 0)).size, 20);
  // Token 7 comes nine times in ten, 8 once.
  const [common, rare] = difficulties(
    [example([7, 7, 7, 7, 7]), example([7, 7, 7, 7, 8])],
    "rarity",
  );
  assertAlmostEquals(common!, -Math.log(0.9), 1e-12);
  assertAlmostEquals(rare!, (-4 * Math.log(0.9) - Math.log(0.1)) / 5, 1e-12);
});

Deno.test("share: so many of the texts are learned, the same for a seed, and as many are set aside as without", async () => {
  await withDirectory((directory) => {
    const path = `${directory}/data.jsonl`;
    const lines = Array.from(
      { length: 40 },
      (_, i) => JSON.stringify({ text: `Text number ${i}.` }),
    );
    Deno.writeTextFileSync(path, lines.join("\n"));
    const files = { training: [path], validation: [], skipBadLines: false };
    const texts = (share: number, seed = 1) => {
      const recipe = { ...recipes.conversations, validation: 0.2, share, seed };
      const { training, validation } = loadCorpus(files, recipe, loadTokenizer());
      const read = (examples: readonly Example[]) => examples.map(({ tokens }) => tokens.join());
      return { training: read(training), validation: read(validation) };
    };
    const all = texts(1), half = texts(0.5);
    assertEquals([all.training.length, half.training.length], [32, 16]);
    assertEquals(half.validation, all.validation);
    assert(half.training.every((text) => all.training.includes(text)));
    assertEquals(texts(0.5), half);
    assert(texts(0.5, 2).training.join() !== half.training.join());
    return Promise.resolve();
  });
});

Deno.test("folds: each entry is set aside exactly once, equal questions together", () => {
  const entries = Array.from({ length: 23 }, (_, i): Entry => ({
    kind: "text",
    text: `Text ${Math.floor(i / 2)}`,
    source: "x",
  }));
  const aside = [1, 2, 3, 4].flatMap((fold) => {
    const { training, validation } = foldOf(entries, 4, fold, 5);
    assertEquals(training.length + validation.length, 23);
    for (const i of validation) assertEquals(validation.includes(i ^ 1), (i ^ 1) < 23);
    return validation;
  });
  assertEquals(aside.sort((a, b) => a - b), [...entries.keys()]);
});

Deno.test("word dropout: hides so many of the user's tokens from the model, no target and no other", () => {
  const examples = Array.from({ length: 200 }, () => example([1, 2, 3, 4, 5, 6, 7, 8, 9]));
  const batch = collate(examples), before = collate(examples);
  hideWords(batch, examples, { p: 0.3, unknown: 99, random: randomNumbers(3) });
  assertEquals(batch.targets, before.targets);
  let hidden = 0;
  batch.tokens.forEach((token, n) => {
    if (token === before.tokens[n]) return;
    assertEquals([token, n % 8 % 2], [99, 1]);
    hidden++;
  });
  // 800 tokens, four standard deviations: 4 * sqrt(800 * 0.3 * 0.7) = 52.
  assert(Math.abs(hidden - 240) < 52, String(hidden));
});

Deno.test("answer share: so many answers are learned, of the others the intent alone; what has no intent stays", () => {
  const decided = { ...example([1, 2, 3, 4, 5, 6, 7]), decision: 4 };
  const plain = example([1, 2, 3]);
  const random = randomNumbers(5);
  const cut = cutAnswers([...Array.from({ length: 1000 }, () => decided), plain], 0.25, random);
  assertEquals(cut.at(-1), plain);
  const whole = cut.slice(0, -1).filter((text) => text === decided).length;
  // Four standard deviations: 4 * sqrt(1000 * 0.25 * 0.75) = 55.
  assert(Math.abs(whole - 250) < 55, String(whole));
  const short = cut.find(({ tokens }) => tokens.length < 7)!;
  assertEquals([...short.tokens], [1, 2, 3, 4, 5]);
  assertEquals([short.weights.length, short.user.length], [5, 5]);
  assertEquals(collate([short]).targets.at(-1), 5);
});

const configuration = { ...presets.nano, vocab_size: 50, n_embd: 16, n_head: 2, n_positions: 16 };
const batch = collate([example([1, 2, 3, 4, 5]), example([6, 7, 8])]);
const seed = { seed: 1, step: 0, microStep: 0 };
const gradient = { normalizer: 6, labelSmoothing: 0 };

async function withModel(work: (model: GPT) => void): Promise<void> {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const dropouts = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 };
    const c = { ...configuration, ...dropouts };
    const model = new GPT(runtime, c, { training: true, average: true });
    model.initialize(1);
    work(model);
  } finally {
    runtime.close();
  }
}

const update = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  step: 1,
  clip: Infinity,
};

Deno.test("frozen layers and embeddings keep their bytes, and do not count in the gradient's norm", async () => {
  await withModel((model) => {
    const names = model.parameters.table.map(({ name }) => name);
    const before = new Map(names.map((name) => [name, model.readParameter(name)]));
    model.accumulate(batch, { ...gradient, ...seed });
    const norm = Math.sqrt(
      names.filter((name) => /h\.1|ln_f/.test(name)).reduce(
        (sum, name) => model.readParameter(name, "gradient").reduce((s, g) => s + g * g, sum),
        0,
      ),
    );
    const { gradientNorm } = model.update({ ...update, freezeLayers: 1 });
    assertAlmostEquals(gradientNorm, norm, 1e-5 * norm);
    for (const [name, values] of before) {
      const frozen = /wte|wpe|h\.0\./.test(name);
      const same = model.readParameter(name).every((value, i) => value === values[i]);
      // The keys' bias learns nothing: softmax is blind to it.
      if (frozen) assert(same, name);
      else assert(!same, name);
    }
  });
});

Deno.test("embedding rate: AdamW's first step moves embeddings by it times the rate, all else by the rate", async () => {
  await withModel((model) => {
    const { learningRate } = update;
    for (
      const [name, rate] of [["wte", 5 * learningRate], ["h.0.mlp.c_fc", learningRate]] as const
    ) {
      const parameter = `transformer.${name}.weight`;
      model.initialize(1);
      for (const kind of ["exp_avg", "exp_avg_sq"] as const) {
        model.writeParameter(parameter, kind, model.readParameter(parameter, kind).fill(0));
      }
      const before = model.readParameter(parameter);
      model.accumulate(batch, { ...gradient, ...seed });
      const slope = model.readParameter(parameter, "gradient");
      model.update({ ...update, weightDecay: 0, embeddingRate: 5 });
      model.readParameter(parameter).forEach((value, i) => {
        // The smallest gradients are not large against epsilon.
        if (Math.abs(slope[i]!) < 1e-5) return;
        assertAlmostEquals(value, before[i]! - rate * Math.sign(slope[i]!), 0.002 * rate);
      });
    }
  });
});

Deno.test("layer drop: a layer left out has no gradient, and a pass without layers is the embedding's", async () => {
  await withModel((model) => {
    model.accumulate(batch, { ...gradient, ...seed, layerDrop: 1 });
    for (const { name } of model.parameters.table) {
      if (!/\.h\.\d/.test(name)) continue;
      assert(model.readParameter(name, "gradient").every((g) => g === 0), name);
    }
    assert(model.readParameter("transformer.ln_f.weight", "gradient").some((g) => g !== 0));
  });
});

Deno.test("embedding noise: changes the loss, differs from step to step, repeats for the same step", async () => {
  await withModel((model) => {
    const loss = (embeddingNoise: number, step: number) =>
      model.accumulate(batch, { ...gradient, ...seed, step, embeddingNoise }).loss;
    assertEquals(loss(5, 1), loss(5, 1));
    assert(loss(5, 1) !== loss(5, 2) && loss(5, 1) !== loss(0, 1));
    assertEquals(loss(0, 1), loss(0, 2));
  });
});

Deno.test("average: keep times the old and the rest of the new; swapped, it is what the model uses", async () => {
  await withModel((model) => {
    const name = "transformer.h.0.mlp.c_fc.weight";
    const first = model.readParameter(name);
    model.updateAverage(0);
    model.accumulate(batch, { ...gradient, ...seed });
    model.update(update);
    const second = model.readParameter(name);
    model.updateAverage(0.75);
    model.learned.swapAverage();
    const mean = model.readParameter(name);
    mean.forEach((value, i) =>
      assertAlmostEquals(value, 0.75 * first[i]! + 0.25 * second[i]!, 1e-7)
    );
    model.learned.swapAverage();
    assertEquals(model.readParameter(name), second);
  });
});

for (const averaging of ["ema", "swa"] as const) {
  Deno.test(`${averaging} and all the noise: a run that was stopped and resumed ends with the same bytes`, async () => {
    const recipe: Partial<Recipe> = {
      averaging,
      averageDecay: 0.9,
      averageFrom: 2,
      embeddingNoise: 5,
      layerDrop: 0.3,
      wordDropout: 0.2,
      rDrop: 1,
      curriculum: averaging === "ema" ? "length" : "loss",
      curriculumEpochs: 2,
      schedule: "wsd",
      vocabulary: "gpt2",
      stopOn: "never",
    };
    const whole = await withDirectory((directory) => runTraining(directory, { recipe }));
    const steps = whole.events.filter(({ event }) => event === "step").length;
    const parts = await withDirectory(async (directory) => {
      await runTraining(directory, { recipe, stopAfter: Math.floor(steps / 2) });
      return await runTraining(directory, { recipe, resume: true });
    });
    assertEquals([...parts.arrays.keys()], [...whole.arrays.keys()]);
    assert(whole.arrays.has("average transformer.ln_f.bias"));
    for (const [name, values] of whole.arrays) {
      assert(values.every((value, i) => value === parts.arrays.get(name)![i]), name);
    }
    assertEquals(parts.history, whole.history);
  });
}

Deno.test("r-drop: loss and gradient are those of both copies' losses and their disagreement", async () => {
  const runtime = await Runtime.start({ threads: 1 });
  try {
    const configuration = {
      ...presets.nano,
      vocab_size: 40,
      n_positions: 8,
      n_embd: 16,
      n_head: 2,
      resid_pdrop: 0.2,
      embd_pdrop: 0.2,
      attn_pdrop: 0.2,
    };
    const model = new GPT(runtime, configuration, { training: true });
    model.initialize(3);
    const texts = [example([1, 2, 3, 4]), example([5, 6, 7])];
    const batch = collate([...texts, ...texts]);
    const options = { normalizer: 10, labelSmoothing: 0, seed: 1, step: 0, microStep: 0 };
    const at = (agreement: number) => model.accumulate(batch, { ...options, agreement }).loss;
    const alone = at(0), one = at(1), three = at(3);
    assert(one > alone + 1e-6, "two passes with dropout do not agree");
    assertAlmostEquals(three - alone, 3 * (one - alone), 1e-3 * (three - alone));
    // Copies without dropout agree: nothing is added.
    const still = new GPT(runtime, {
      ...configuration,
      resid_pdrop: 0,
      embd_pdrop: 0,
      attn_pdrop: 0,
    }, {
      training: true,
    });
    still.initialize(3);
    const [plain, pulled] = [0, 5].map((agreement) =>
      still.accumulate(batch, { ...options, agreement }).loss
    );
    assertAlmostEquals(pulled!, plain!, 1e-5);

    const name = "transformer.h.1.mlp.c_fc.weight";
    const zero = model.readParameter(name, "gradient").map(() => 0);
    model.writeParameter(name, "gradient", zero);
    at(3);
    const gradient = model.readParameter(name, "gradient");
    const values = model.readParameter(name), random = randomNumbers(2);
    const direction = values.map(() => random() - 0.5), h = 2 ** -5;
    const moved = (sign: number) => {
      model.writeParameter(name, "parameter", values.map((v, i) => v + sign * h * direction[i]!));
      return at(3) / options.normalizer;
    };
    const quotient = (moved(1) - moved(-1)) / (2 * h);
    const expected = direction.reduce((sum, d, i) => sum + d * gradient[i]!, 0);
    const size = Math.hypot(...gradient) * Math.hypot(...direction);
    assert(Math.abs(quotient - expected) <= 0.01 * size, `${quotient}, ${expected}, ${size}`);
  } finally {
    runtime.close();
  }
});

Deno.test("out of scope: a corpus makes up questions where the recipe wants them and the data know the intent", async () => {
  const load = (
    prompts: readonly (readonly [string, string?])[],
    outOfScope: number,
    given?: Tokenizer,
  ) =>
    withDirectory((directory) => {
      const path = `${directory}/intents.jsonl`;
      const lines = prompts.map(([prompt, intent]) =>
        JSON.stringify({ prompt, completion: `About ${intent}.`, intent })
      );
      Deno.writeTextFileSync(path, lines.join("\n"));
      const intents = { vocabulary: "corpus", intentTokens: true } as const;
      const recipe = { ...recipes.conversations, ...intents, validation: 0, outOfScope };
      const files = { training: [path], validation: [], skipBadLines: false };
      return Promise.resolve(loadCorpus(files, recipe, given));
    });
  const known = Array.from({ length: 12 }, (_, i) =>
    [
      [`what is red ${i}?`, "red"],
      [`how is blue ${i}?`, "blue"],
    ] as const).flat();
  const all = [...known, ["who won?", "unknown"]] as const;
  assertEquals((await load(known, 0.5)).outOfScope, null);
  assertEquals((await load(all, 0)).outOfScope, null);
  const { outOfScope, training, tokenizer } = await load(all, 0.5);
  const { tokens, user } = outOfScope!.of(training[0]!, randomNumbers(1));
  assertEquals(tokens.at(-1), tokenizer.intents!.get("unknown"));
  assert(tokens.some((token, i) => user[i] === 1 && token !== training[0]!.tokens[i]));
  // A model that knows intents goes on with data that name none.
  const plain = known.map(([prompt]) => [prompt] as const);
  assertEquals((await load(plain, 0.5, tokenizer)).outOfScope, null);
});
