// Distillation in the whole model against PyTorch, float64: the teachers' mean, the loss and its gradients.

import { assertEquals } from "@std/assert";
import { addSoftened, Runtime, topK } from "../../src/kernels/mod.ts";
import { GPT, type SoftTargets } from "../../src/model/mod.ts";
import { assertClose, assertCloseInNorm } from "../reference/compare.ts";
import {
  type Fixture,
  type FixtureBatch,
  readDistillationFixture,
  readFixture,
} from "../reference/fixtures.ts";

const expected = readDistillationFixture();
const { temperature, weight, top_k: k, silent } = expected;

function load(runtime: Runtime, fixture: Fixture, training: boolean): GPT {
  const model = new GPT(runtime, fixture.configuration, { training });
  for (const [name, values] of fixture.parameters) model.writeParameter(name, "parameter", values);
  return model;
}

/** The mean of two teachers of one vocabulary: lists of the batch's targets. */
function ask(runtime: Runtime, teachers: GPT[], batch: FixtureBatch, rows: Int32Array) {
  const V = teachers[0]!.configuration.vocab_size, R = rows.length;
  const mean = runtime.arena.zeros([R, V + 1]);
  for (const teacher of teachers) {
    teacher.predict(batch, rows, (logits, first) => {
      const count = logits.shape[0]!;
      addSoftened(runtime, mean, logits, {
        to: runtime.integers(Array.from({ length: count }, (_, i) => first + i)),
        shares: runtime.floats(new Float32Array(count).fill(1 / teachers.length)),
        map: null,
        V,
        temperature,
      });
    });
  }
  const result = {
    tokens: runtime.arena.allocate([R, k], "i32"),
    probabilities: runtime.arena.allocate([R, k]),
    rests: runtime.arena.allocate([R]),
  };
  topK(runtime, result, mean, 0);
  return {
    tokens: runtime.i32(result.tokens),
    probabilities: runtime.f32(result.probabilities),
    rests: runtime.f32(result.rests),
  };
}

/** Lists [rows, k] as those of all N tokens, without what teachers are silent of. */
function softTargets(lists: ReturnType<typeof ask>, rows: Int32Array, N: number): SoftTargets {
  const first = new Int32Array(N + 1), rests = new Float32Array(N);
  const tokens: number[] = [], probabilities: number[] = [];
  for (let n = 0; n < N; n++) {
    const row = rows.indexOf(n);
    if (row >= 0 && row % silent !== silent - 1) {
      tokens.push(...lists.tokens.subarray(row * k, (row + 1) * k));
      probabilities.push(...lists.probabilities.subarray(row * k, (row + 1) * k));
      rests[n] = lists.rests[row]!;
    }
    first[n + 1] = tokens.length;
  }
  return {
    first,
    tokens: Int32Array.from(tokens),
    probabilities: Float32Array.from(probabilities),
    rests,
  };
}

for (const threads of [1, 2]) {
  Deno.test(`distillation from two teachers, temperature 2, on ${threads} threads: lists within 1e-5, losses and gradients within 1e-4`, async () => {
    const runtime = await Runtime.start({ threads });
    try {
      const [gelu, geluNew] = [readFixture("gelu"), readFixture("gelu_new")];
      const { batch } = gelu, N = batch.tokens.length;
      const rows = Int32Array.from(batch.targets.keys()).filter((n) => batch.targets[n]! >= 0);
      const teachers = [gelu, geluNew].map((fixture) => load(runtime, fixture, false));
      const lists = ask(runtime, teachers, batch, rows);
      assertEquals(lists.tokens, expected.arrays.get("tokens") as Int32Array);
      assertClose(lists.probabilities, expected.arrays.get("probabilities")!, 1e-5, "listed");
      assertClose(lists.rests, expected.arrays.get("rests")!, 1e-5, "rests");

      const normalizer = rows.reduce((sum, n) => sum + batch.weights[n]!, 0);
      const targets = softTargets(lists, rows, N);
      for (const divergence of ["forward", "reverse"] as const) {
        const model = load(runtime, gelu, true);
        const distillation = { targets, temperature, weight, divergence };
        const sums = model.accumulate(batch, {
          ...{ normalizer, labelSmoothing: 0, distillation },
          ...{ seed: 1, step: 0, microStep: 0 },
        });
        const theirs = expected[divergence];
        const ours = [sums.loss / normalizer, sums.distillation / sums.taught];
        assertClose(ours, [theirs.loss, theirs.distillation], 1e-4, divergence);
        for (const [name, gradient] of expected.arrays) {
          if (!name.startsWith(divergence)) continue;
          const own = model.readParameter(name.slice(divergence.length + 1), "gradient");
          assertCloseInNorm(own, gradient, 1e-4, name);
        }
        // The same without teachers is the plain loss.
        const plain = model.accumulate(batch, {
          ...{ normalizer, labelSmoothing: 0, seed: 1, step: 0, microStep: 0 },
        });
        assertClose([plain.crossEntropy], [sums.crossEntropy], 1e-4, "cross-entropy");
        assertEquals([plain.distillation, plain.taught], [0, 0]);
      }
    } finally {
      runtime.close();
    }
  });
}
