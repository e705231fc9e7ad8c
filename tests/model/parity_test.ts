// The whole model against PyTorch, float64, by the fixtures of tests/reference/make_fixtures.py: logits,
// losses, every gradient, ten AdamW steps; with both GEMM kernels, on one thread and on two.
import { assert, assertEquals } from "@std/assert";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, parameterTable } from "../../src/model/mod.ts";
import {
  type Fixture,
  type FixtureBatch,
  fixtureNames,
  readFixture,
} from "../reference/fixtures.ts";
import { assertClose, assertCloseInNorm } from "../reference/compare.ts";

const engines = [
  { kernel: "6x8", threads: 1 },
  { kernel: "6x8", threads: 2 },
  { kernel: "6x16", threads: 1 },
  { kernel: "6x16", threads: 2 },
] as const;

/** What all engines must agree on to the byte: a digest of each of the results named. */
const digests = new Map<string, string>();

async function assertSameBytes(what: string, results: Float32Array[]) {
  const bytes = new Uint8Array(await new Blob(results as BlobPart[]).arrayBuffer());
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  assertEquals(digest, digests.get(what) ?? digest, `${what} differs from the first engine's`);
  digests.set(what, digest);
}

function unweighted(batch: FixtureBatch): FixtureBatch {
  return { ...batch, weights: new Float32Array(batch.tokens.length).fill(1) };
}

/** sum(w) over the targets that are not ignored. */
function totalWeight({ targets, weights }: FixtureBatch): number {
  return weights.reduce((sum, weight, i) => targets[i]! >= 0 ? sum + weight : sum, 0);
}

/** The sequences from `first` to before `last` as a batch of their own. */
function sequences(batch: FixtureBatch, first: number, last: number): FixtureBatch {
  const [start, end] = [batch.offsets[first]!, batch.offsets[last]!];
  return {
    tokens: batch.tokens.slice(start, end),
    targets: batch.targets.slice(start, end),
    weights: batch.weights.slice(start, end),
    positions: batch.positions.slice(start, end),
    offsets: batch.offsets.slice(first, last + 1).map((offset) => offset - start),
  };
}

function load(runtime: Runtime, fixture: Fixture, training: boolean): GPT {
  const model = new GPT(runtime, fixture.configuration, { training });
  for (const [name, values] of fixture.parameters) model.writeParameter(name, "parameter", values);
  return model;
}

/** A parameter without the keys' bias: softmax is blind to that, so its gradient is rounding error. */
function determined(name: string, values: Float32Array): Float32Array {
  if (!name.endsWith("c_attn.bias")) return values;
  const third = values.length / 3;
  return values.map((value, i) => Math.floor(i / third) === 1 ? 0 : value);
}

const noDropout = { seed: 42, step: 1, microStep: 0 };

for (const name of fixtureNames) {
  const fixture = readFixture(name);
  const { batch, expected, logits: expectedLogits } = fixture;
  const vocabulary: number = fixture.configuration.vocab_size;
  const row = (i: number) => expectedLogits.subarray(i * vocabulary, (i + 1) * vocabulary);
  const names = [...fixture.parameters.keys()];

  Deno.test(`${name}: the parameter table has PyTorch's names and sizes`, () => {
    const size = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1);
    const table = parameterTable(fixture.configuration).map((p) => `${p.name} ${size(p.shape)}`);
    const theirs = [...fixture.parameters].map(([name, values]) => `${name} ${values.length}`);
    assertEquals(table.toSorted(), theirs.toSorted());
    for (const { name, shape, decays } of parameterTable(fixture.configuration)) {
      assertEquals(decays, shape.length >= 2, `${name}: decays`);
    }
  });

  for (const engine of engines) {
    const title = `${name}, ${engine.kernel}, ${engine.threads} threads`;

    Deno.test(`${title}: logits within 1e-4 of PyTorch, whole batch and by the cache`, async () => {
      const runtime = await Runtime.start(engine);
      try {
        const model = load(runtime, fixture, false);
        const logits = model.logits(batch);
        assertClose(logits, expectedLogits, 1e-4, "logits");
        await assertSameBytes(`${name} logits`, [logits]);

        const cache = model.createCache();
        const sequence = cache.sequence();
        for (let b = 0; b + 1 < batch.offsets.length; b++) {
          const [start, end] = [batch.offsets[b]!, batch.offsets[b + 1]!];
          sequence.truncate(0);
          for (let i = start; i < end; i++) {
            const last = sequence.append([batch.tokens[i]!]);
            assertClose(last, row(i), 1e-4, `one by one, sequence ${b}, position ${i - start}`);
          }
          // From every prefix in one go, over what the pass before left behind.
          for (let cut = start; cut < end; cut++) {
            sequence.truncate(cut - start);
            const last = sequence.append(batch.tokens.subarray(cut, end));
            assertEquals(sequence.length, end - start);
            assertClose(last, row(end - 1), 1e-4, `sequence ${b} from position ${cut - start}`);
          }
        }
        cache.dispose();
      } finally {
        runtime.close();
      }
    });

    Deno.test(`${title}: losses within 1e-5 of PyTorch, and counts`, async () => {
      const runtime = await Runtime.start(engine);
      try {
        const model = load(runtime, fixture, true);
        for (const { label_smoothing: labelSmoothing, weighted, loss } of expected.cases) {
          const b = weighted ? batch : unweighted(batch);
          const plain = expected.cases.find((c) => !c.label_smoothing && c.weighted === weighted)!;
          const normalizer = totalWeight(b);
          const sums = model.accumulate(b, { normalizer, labelSmoothing, ...noDropout });
          const what = `label smoothing ${labelSmoothing}, weighted ${weighted}`;
          assertClose([sums.loss / sums.weight], [loss], 1e-5, `${what}: loss`);
          assertClose([sums.crossEntropy / sums.weight], [plain.loss], 1e-5, `${what}: CE`);
          assertClose([sums.weight], [normalizer], 1e-4, `${what}: weight`);
          if (labelSmoothing === 0) {
            const evaluated = model.evaluate(b);
            assertClose([evaluated.loss / evaluated.weight], [loss], 1e-5, `${what}: evaluate`);
          }
        }
        const { weights: _, ...withoutWeights } = batch;
        const plain = expected.cases.find((c) => !c.label_smoothing && !c.weighted)!;
        const sums = model.evaluate(withoutWeights);
        assertClose([sums.loss / sums.targets], [plain.loss], 1e-5, "weights absent");
        assertEquals(sums.targets, batch.targets.filter((target) => target >= 0).length);
        assertEquals(sums.weight, sums.targets);

        // Every other target is the likeliest token, the rest is not or is ignored.
        const targets = batch.targets.map((target, i) => {
          const best = row(i).indexOf(Math.max(...row(i)));
          return i % 2 === 0 ? best : target === best ? -1 : target;
        });
        const hits = model.evaluate({ ...batch, targets }).correct;
        assertEquals(hits, Math.ceil(targets.length / 2));
      } finally {
        runtime.close();
      }
    });

    Deno.test(`${title}: every gradient within 1e-4 of PyTorch's norm`, async () => {
      const runtime = await Runtime.start(engine);
      try {
        const model = load(runtime, fixture, true);
        const { label_smoothing: labelSmoothing, weighted } = expected.gradient_case;
        const whole = weighted ? batch : unweighted(batch);
        const options = { normalizer: totalWeight(whole), labelSmoothing, ...noDropout };
        model.accumulate(whole, options);
        const gradients = names.map((parameter) => model.readParameter(parameter, "gradient"));
        for (const [i, parameter] of names.entries()) {
          const truth = fixture.gradients.get(parameter)!;
          assertCloseInNorm(gradients[i]!, truth, 1e-4, `gradient of ${parameter}`);
        }
        await assertSameBytes(`${name} gradients`, gradients);

        // The same batch again as two: gradients add up.
        model.accumulate(sequences(whole, 0, 3), options);
        model.accumulate(sequences(whole, 3, 5), { ...options, microStep: 1 });
        for (const parameter of names) {
          const twice = fixture.gradients.get(parameter)!.map((value) => 2 * value);
          const sum = model.readParameter(parameter, "gradient");
          assertCloseInNorm(sum, twice, 1e-4, `accumulated gradient of ${parameter}`);
        }
      } finally {
        runtime.close();
      }
    });

    Deno.test(`${title}: ten AdamW steps within 1e-4 of PyTorch`, async () => {
      const runtime = await Runtime.start(engine);
      try {
        const model = load(runtime, fixture, true);
        const o = expected.optimizer;
        for (const [i, { loss, gradient_norm }] of expected.steps.entries()) {
          const { weights: _, ...stepBatch } = fixture.stepBatches[i]!;
          const normalizer = stepBatch.targets.filter((target) => target >= 0).length;
          const step = i + 1;
          const labelSmoothing = o.label_smoothing;
          const options = { normalizer, labelSmoothing, seed: 42, step, microStep: 0 };
          const sums = model.accumulate(stepBatch, options);
          assertClose([sums.loss / sums.weight], [loss], 1e-4, `loss of step ${step}`);
          const { gradientNorm } = model.update({
            learningRate: o.learning_rate,
            beta1: o.beta1,
            beta2: o.beta2,
            epsilon: o.epsilon,
            weightDecay: o.weight_decay,
            clip: o.clip,
            step,
          });
          const bound = 1e-4 * gradient_norm;
          assertClose([gradientNorm], [gradient_norm], bound, `gradient norm of step ${step}`);
        }
        for (const [parameter, truth] of fixture.final) {
          const values = model.readParameter(parameter, "parameter");
          const what = `${parameter} after ten steps`;
          assertCloseInNorm(
            determined(parameter, values),
            determined(parameter, truth),
            1e-5,
            what,
          );
          const gradient = model.readParameter(parameter, "gradient");
          assert(gradient.every((value) => value === 0), `gradient of ${parameter} left over`);
        }
        const final = names.map((parameter) => model.readParameter(parameter, "parameter"));
        await assertSameBytes(`${name} parameters after ten steps`, final);
      } finally {
        runtime.close();
      }
    });
  }
}
