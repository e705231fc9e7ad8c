// Weights in panels: the way there and back, and the product of one token with them.

import { assert, assertEquals } from "@std/assert";
import { linearForward, packWeight, unpackWeight, weightLength } from "../../src/kernels/mod.ts";
import { assertWithin, Engines, norms, sameBytes, transposed, U } from "../kernels/helpers.ts";
import { linear, randomValues } from "../reference/kernels.ts";

const engines = await Engines.start();
Deno.test.afterAll(() => engines.close());

const SIZES = [[1, 1], [3, 15], [4, 16], [5, 17], [33, 100], [385, 33], [100, 769]] as const;

Deno.test("to_panels, to_panels_transposed, from_panels: each other's inverse to the byte, the last panel padded with zeros", () => {
  for (const [inputs, outputs] of SIZES) {
    const w = randomValues(inputs * outputs, inputs), wT = transposed(w, outputs);
    const length = weightLength(inputs, outputs);
    const [panels, ofTransposed, back, backT] = engines.compute((space) => {
      const { runtime } = space;
      const first = space.output([length]), second = space.output([length]);
      const weight = { pointer: first.pointer, inputs, outputs };
      packWeight(runtime, weight, space.floats(w, [inputs, outputs]), false);
      const other = { ...weight, pointer: second.pointer };
      packWeight(runtime, other, space.floats(wT, [outputs, inputs]), true);
      const matrix = space.output([inputs, outputs]), matrixT = space.output([outputs, inputs]);
      unpackWeight(runtime, weight, matrix, false);
      unpackWeight(runtime, weight, matrixT, true);
      return [first, second, matrix, matrixT].map((tensor) => space.read(tensor));
    });
    const expected = new Float32Array(length); // [ceil(out / 16), in, 16]
    w.forEach((value, i) => {
      const [k, column] = [Math.floor(i / outputs), i % outputs];
      expected[(column >> 4) * inputs * 16 + k * 16 + column % 16] = value;
    });
    assertEquals(panels!, expected, `panels of ${inputs} x ${outputs}`);
    assertEquals(ofTransposed!, expected, `panels of the transpose, ${inputs} x ${outputs}`);
    assert(sameBytes(back!, w) && sameBytes(backT!, wT), `back from ${inputs} x ${outputs}`);
  }
});

Deno.test("gemv: one row with and without bias, within (in / 2 + 3) u (|x| |w column| + |bias|); as gemm has it within both bounds", () => {
  for (const [inputs, outputs] of SIZES) {
    const x = randomValues(inputs, 1), w = randomValues(inputs * outputs, 2);
    const bias = randomValues(outputs, 3);
    // Row 0 of two rows goes by gemm.
    const twice = Float32Array.from([...x, ...randomValues(inputs, 4)]);
    const [biased, plain, byGemm] = engines.compute((space) => {
      const { runtime } = space;
      const pointer = space.output([weightLength(inputs, outputs)]).pointer;
      const weight = { pointer, inputs, outputs };
      packWeight(runtime, weight, space.floats(w, [inputs, outputs]), false);
      const y = space.output([1, outputs]), z = space.output([1, outputs]);
      const both = space.output([2, outputs]), row = space.floats(x, [1, inputs]);
      const biasTensor = space.floats(bias);
      linearForward(runtime, y, row, weight, biasTensor);
      linearForward(runtime, z, row, weight, null);
      linearForward(runtime, both, space.floats(twice, [2, inputs]), weight, biasTensor);
      return [space.read(y), space.read(z), space.read(both).slice(0, outputs)];
    });
    const xNorm = norms(x, inputs, "rows")[0]!, columns = norms(w, outputs, "columns");
    const size = (i: number) => xNorm * columns[i]! + Math.abs(bias[i]!);
    const bound = (i: number) => (inputs / 2 + 3) * U * size(i);
    const expected = linear(x, w, bias, 1, inputs, outputs);
    assertWithin(biased!, expected, bound, `${inputs} x ${outputs}`);
    assertWithin(plain!, linear(x, w, null, 1, inputs, outputs), bound, "without bias");
    const both = (i: number) => bound(i) + (inputs + 3) * U * size(i);
    assertWithin(byGemm!, biased!, both, `gemm, ${inputs} x ${outputs}`);
  }
});

Deno.test("gemv: 769 x 2048, wide enough for all threads, within (in / 2 + 3) u |x| |w column|", () => {
  const inputs = 769, outputs = 2048;
  const x = randomValues(inputs, 1), panels = randomValues(inputs * outputs, 2);
  const [y] = engines.compute((space) => {
    const out = space.output([1, outputs]);
    const weight = { pointer: space.floats(panels).pointer, inputs, outputs };
    linearForward(space.runtime, out, space.floats(x, [1, inputs]), weight, null);
    return [space.read(out)];
  });
  const w = Float32Array.from({ length: inputs * outputs }, (_, i) => {
    const [k, column] = [Math.floor(i / outputs), i % outputs];
    return panels[(column >> 4) * inputs * 16 + k * 16 + column % 16]!;
  });
  const xNorm = norms(x, inputs, "rows")[0]!, columns = norms(w, outputs, "columns");
  const bound = (i: number) => (inputs / 2 + 3) * U * xNorm * columns[i]!;
  assertWithin(y!, linear(x, w, null, 1, inputs, outputs), bound, "y");
});
