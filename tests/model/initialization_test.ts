// What weights begin as.

import { assert, assertEquals } from "@std/assert";
import { Runtime } from "../../src/kernels/mod.ts";
import { GPT, presets } from "../../src/model/mod.ts";

const runtime = await Runtime.start({ threads: 1 });
Deno.test.afterAll(() => runtime.close());

function model(width: number, valueIdentity?: number): GPT {
  const configuration = { ...presets.nano, n_embd: width, vocab_size: 512, n_positions: 64 };
  const created = new GPT(runtime, configuration, { training: false });
  created.initialize(1, valueIdentity);
  return created;
}

Deno.test("initialize: at GPT-2's width 0.02, at a quarter of it twice as wide, within 3 %", () => {
  for (const [width, expected] of [[768, 0.02], [192, 0.04]] as const) {
    const values = model(width).readParameter("transformer.h.1.mlp.c_fc.weight");
    const deviation = Math.hypot(...values.slice(0, 65_536)) / Math.sqrt(65_536);
    assert(Math.abs(deviation / expected - 1) < 0.03, `${width}: ${deviation}`);
  }
});

Deno.test("initialize: values and their projection as a multiple of the identity, no MLP, all else as without", () => {
  const C = 64, plain = model(C), identity = model(C, 0.7);
  const part = (m: GPT, name: string, from: number, to: number) => {
    const values = m.readParameter(name), width = values.length / C;
    return Array.from({ length: C }, (_, i) => [...values.slice(i * width + from, i * width + to)]);
  };
  const scaled = Array.from(
    { length: C },
    (_, i) => Array.from({ length: C }, (_, j) => i === j ? Math.fround(0.7) : 0),
  );
  for (const h of ["transformer.h.0", "transformer.h.1"]) {
    assertEquals(part(identity, `${h}.attn.c_attn.weight`, 2 * C, 3 * C), scaled);
    assertEquals(part(identity, `${h}.attn.c_proj.weight`, 0, C), scaled);
    assertEquals(
      part(identity, `${h}.attn.c_attn.weight`, 0, 2 * C),
      part(plain, `${h}.attn.c_attn.weight`, 0, 2 * C),
    );
    const mlp = `${h}.mlp.c_fc.weight`;
    assertEquals(identity.readParameter(mlp), plain.readParameter(mlp));
    assert(identity.readParameter(`${h}.mlp.c_proj.weight`).every((weight) => weight === 0));
  }
});
