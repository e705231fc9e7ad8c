// A fixed run of the fuzzer: no damage brings a reader down.

import { assert, assertEquals } from "@std/assert";
import { randomNumbers } from "../../src/random.ts";
import { damage, fuzz } from "./fuzz.ts";

Deno.test("damaged files are read or refused in one line that names them, never worse", async () => {
  for (const { kind, read, refused } of await fuzz(1, (done) => done < 8 * 400)) {
    assertEquals(read + refused, 400, kind);
    assert(refused >= 40, `${kind}: only ${refused} were refused`);
  }
});

Deno.test("the same seed damages alike, and nearly always something", () => {
  const bytes = Uint8Array.from({ length: 200 }, (_, i) => i);
  const all = () => {
    const random = randomNumbers(4);
    return Array.from({ length: 50 }, () => damage(bytes, random).join());
  };
  assertEquals(all(), all());
  assert(all().filter((damaged) => damaged !== bytes.join()).length >= 48);
});
