// Muon's orthogonalisation against f64, wide, tall and square.

import { orthogonalize } from "../../src/model/muon.ts";
import { assertWithin, Engines, transposed, U } from "../kernels/helpers.ts";
import { newtonSchulz, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

// Each round multiplies what is small, errors too, by at most 3.4445.
const GROWTH = 3.4445 ** 5;

for (
  const [rows, columns] of [[4, 4], [24, 72], [72, 24], [40, 40], [20, 100], [132, 36]] as const
) {
  Deno.test(`orthogonalize ${rows} x ${columns}: within 3.45^5 (m + n) u / 16 of Newton and Schulz's iteration in f64`, () => {
    for (const size of [1, 1e-6]) {
      const x = randomValues(rows * columns, rows, size);
      const [y] = engines.compute((space) => {
        const tensor = space.floats(x, [rows, columns]);
        orthogonalize(space.runtime, tensor);
        return [space.read(tensor)];
      });
      const expected = newtonSchulz(x, rows, columns);
      assertWithin(y!, expected, GROWTH * (rows + columns) * U / 16, `size ${size}`);
      // The iteration through the other product gives the transpose.
      const other = newtonSchulz(transposed(x, columns), columns, rows);
      assertWithin(
        y!,
        other.map((_, i) => other[i % columns * rows + Math.floor(i / columns)]!),
        GROWTH * (rows + columns) * U / 16,
        "transposed",
      );
    }
  });
}

Deno.test("orthogonalize: what is zero stays zero", () => {
  const [y] = engines.compute((space) => {
    const tensor = space.floats(new Float32Array(8 * 12), [8, 12]);
    orthogonalize(space.runtime, tensor);
    return [space.read(tensor)];
  });
  assertWithin(y!, new Float32Array(8 * 12), 0, "zeros");
});
