// Embeddings, the moving of rows, and column sums.

import { assert, assertEquals } from "@std/assert";
import {
  addColumnSums,
  embeddingBackward,
  embeddingForward,
  gatherRows,
  packWeight,
  scatterRows,
  unpackWeight,
  weightLength,
} from "../../src/kernels/mod.ts";
import { assertWithin, Engines, sameBytes, transposed, U } from "../kernels/helpers.ts";
import {
  biasGradient,
  embedding,
  embeddingBackward as backward,
  randomIntegers,
  randomValues,
} from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const ROWS = [1, 2, 5, 7, 13, 97, 193], CHANNELS = [1, 4, 15, 17, 33, 100, 385];

Deno.test("embedding_forward is the f32 sum of both rows, to the byte", () => {
  for (const channels of CHANNELS) {
    for (const rows of ROWS) {
      const [V, P] = [2 * rows + 3, rows + 2];
      const wte = randomValues(V * channels, rows), wpe = randomValues(P * channels, channels);
      const tokens = randomIntegers(rows, V, 1), positions = randomIntegers(rows, P, 2);
      tokens[0] = V - 1;
      positions[0] = P - 1;
      const [out] = engines.compute((space) => {
        const { pointer } = space.output([weightLength(channels, V)]);
        const table = { pointer, inputs: channels, outputs: V };
        packWeight(space.runtime, table, space.floats(wte, [V, channels]), true);
        const out = space.output([rows, channels]);
        const indices = [space.integers(tokens), space.integers(positions)] as const;
        embeddingForward(space.runtime, out, ...indices, table, space.floats(wpe, [P, channels]));
        return [space.read(out)];
      });
      const expected = Float32Array.from(embedding(tokens, positions, wte, wpe, channels));
      assert(sameBytes(out!, expected), `${rows} x ${channels}`);
    }
  }
});

Deno.test("embedding_backward adds every row to both tables, tokens that repeat included, within (rows + 1) u sum of |terms|", () => {
  for (const channels of CHANNELS) {
    for (const rows of ROWS) {
      const [V, P] = [21, 5];
      const dout = randomValues(rows * channels, rows);
      const before = randomValues(V * channels, 1), positionsBefore = randomValues(P * channels, 2);
      const tokens = randomIntegers(rows, V, 3), positions = randomIntegers(rows, P, 4);
      const [dwte, dwpe] = engines.compute((space) => {
        const { runtime } = space;
        const { pointer } = space.output([weightLength(channels, V)]);
        const table = { pointer, inputs: channels, outputs: V };
        packWeight(
          runtime,
          table,
          space.floats(transposed(before, channels), [channels, V]),
          false,
        );
        const dwpe = space.floats(positionsBefore, [P, channels]);
        const slope = space.floats(dout, [rows, channels]);
        const indices = [space.integers(tokens), space.integers(positions)] as const;
        embeddingBackward(runtime, slope, ...indices, table, dwpe);
        const dwte = space.output([V, channels]);
        unpackWeight(runtime, table, dwte, true);
        return [space.read(dwte), space.read(dwpe)];
      });
      const absolute = dout.map(Math.abs);
      for (
        const [actual, indices, size, start, name] of [
          [dwte!, tokens, V, before, "dwte"],
          [dwpe!, positions, P, positionsBefore, "dwpe"],
        ] as const
      ) {
        const sizes = backward(absolute, indices, size, channels);
        assertWithin(
          actual,
          backward(dout, indices, size, channels).map((value, i) => value + start[i]!),
          (i) => (rows + 1) * U * (sizes[i]! + Math.abs(start[i]!)),
          `${name}, ${rows} x ${channels}`,
        );
      }
    }
  }
});

Deno.test("gather_rows and scatter_rows move exact rows, and leave the others", () => {
  for (const channels of CHANNELS) {
    for (const rows of ROWS) {
      const total = rows + 9, from = randomValues(total * channels, rows);
      const row = (x: Float32Array, i: number) => x.slice(i * channels, (i + 1) * channels);
      const picks = randomIntegers(rows, total, 5); // with repetitions
      // A permutation's start: scattering must not write a row twice.
      const places = Int32Array.from({ length: rows }, (_, i) => (i * 5 + 3) % (rows + 9));
      const unique = new Set(places).size === rows ? places : places.map((_, i) => total - 1 - i);
      const moved = randomValues(rows * channels, 6);
      const [gathered, scattered] = engines.compute((space) => {
        const all = space.floats(from, [total, channels]), to = space.output([rows, channels]);
        gatherRows(space.runtime, to, all, space.integers(picks));
        const source = space.floats(moved, [rows, channels]);
        scatterRows(space.runtime, all, source, space.integers(unique));
        return [space.read(to), space.read(all)];
      });
      picks.forEach((pick, i) => assertEquals(row(gathered!, i), row(from, pick), "gathered"));
      for (let i = 0; i < total; i++) {
        const source = unique.indexOf(i);
        const expected = source < 0 ? row(from, i) : row(moved, source);
        assertEquals(row(scattered!, i), expected, `scattered row ${i} of ${rows} x ${channels}`);
      }
    }
  }
});

Deno.test("column_sums adds to what was there, within (rows + 1) u sum of |terms|", () => {
  for (const columns of [4, 16, 20, 100, 2308]) {
    for (const rows of ROWS) {
      const x = randomValues(rows * columns, rows), before = randomValues(columns, 1);
      const [out] = engines.compute((space) => {
        const out = space.floats(before);
        addColumnSums(space.runtime, out, space.floats(x, [rows, columns]));
        return [space.read(out)];
      });
      const sizes = biasGradient(Float64Array.from(x, Math.abs), rows, columns);
      assertWithin(
        out!,
        biasGradient(Float64Array.from(x), rows, columns).map((sum, i) => sum + before[i]!),
        (i) => (rows + 1) * U * (sizes[i]! + Math.abs(before[i]!)),
        `${rows} x ${columns}`,
      );
    }
  }
});
