// The safetensors format: round trip, layout, and every kind of damage refused with the file's name.

import { assert, assertEquals, assertThrows } from "@std/assert";
import { SafetensorsFile, writeSafetensors } from "../../src/checkpoint/mod.ts";
import { narrowBfloat16, widenBfloat16, widenFloat16 } from "../../src/checkpoint/halves.ts";
import { UserError } from "../../src/errors.ts";

const VALUES = Float32Array.of(1.5, -2, 3e-20, 4, 5, 6);

function withFile(work: (path: string) => void): void {
  const path = Deno.makeTempFileSync({ suffix: ".safetensors" });
  try {
    work(path);
  } finally {
    Deno.removeSync(path);
  }
}

/** A file with this header and this many bytes of data. */
function build(header: unknown, dataBytes: number): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

Deno.test("what was written is read; the header is padded to a multiple of 8", () => {
  withFile((path) => {
    writeSafetensors(path, [
      { name: "a", shape: [2, 2], values: () => VALUES.subarray(0, 4) },
      { name: "b.weight", shape: [2], values: () => VALUES.subarray(4) },
    ]);
    const bytes = Deno.readFileSync(path);
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    assertEquals(length % 8, 0);
    assertEquals(bytes.length, 8 + length + 24);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    assertEquals(header.a, { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] });
    const data = bytes.subarray(8 + length);
    const crc32 = [data.subarray(0, 16), data.subarray(16)]
      .map((part) => checksum(part).toString(16).padStart(8, "0")).join("");
    assertEquals(header.__metadata__, { format: "pt", crc32 });
    using file = new SafetensorsFile(path);
    assertEquals(file.read("a", [2, 2]), VALUES.slice(0, 4));
    assertEquals(file.read("b.weight", [2]), VALUES.slice(4));
    assertThrows(() => file.read("c", [1]), UserError, `${path}: holds no tensor c`);
    assertThrows(() => file.read("a", [4]), UserError, "a has shape [2,2], the model wants [4]");
  });
});

/** CRC-32 by its definition, bit by bit. */
function checksum(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

Deno.test("a flipped bit of a tensor is found, and the other tensors are still read", () => {
  withFile((path) => {
    writeSafetensors(path, [
      { name: "a", shape: [4], values: () => VALUES.subarray(0, 4) },
      { name: "b", shape: [2], values: () => VALUES.subarray(4) },
    ]);
    const bytes = Deno.readFileSync(path);
    bytes[bytes.length - 2]! ^= 1;
    Deno.writeFileSync(path, bytes);
    using file = new SafetensorsFile(path);
    assertEquals(file.read("a", [4]), VALUES.slice(0, 4));
    assertThrows(() => file.read("b", [2]), UserError, `${path}: is damaged: the bytes of b`);
  });
});

const tensor = (start: number, end: number, shape = [(end - start) / 4], dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [start, end],
});

const DAMAGE: Record<string, [Uint8Array<ArrayBuffer>, string]> = {
  "an empty file": [new Uint8Array(0), "too few for a header"],
  "a header longer than the file": [build("{}", 0).with(0, 99), "header claims 99 bytes"],
  "a header of 2^60 bytes": [build("{}", 0).with(7, 0x10), "header claims"],
  "no JSON": [build("{nonsense", 4), "not valid JSON"],
  "a list": [build("[]", 0), "no JSON object"],
  "a gap": [build({ a: tensor(4, 8) }, 8), "a begins at 4 instead of 0"],
  "an overlap": [build({ a: tensor(0, 8), b: tensor(4, 12) }, 12), "b begins at 4 instead of 8"],
  "data cut off": [build({ a: tensor(0, 8) }, 4), "take 8 bytes, the file has 4"],
  "bytes left over": [build({ a: tensor(0, 8) }, 12), "take 8 bytes, the file has 12"],
  "a shape of another size": [build({ a: tensor(0, 8, [3]) }, 8), "takes 12 bytes, not 8"],
  "another type": [build({ a: tensor(0, 8, [2], "F8") }, 8), 'the type "F8"'],
  "a negative shape": [build({ a: tensor(0, 8, [-2]) }, 8), "no valid shape"],
  "no offsets": [build({ a: { dtype: "F32", shape: [1] } }, 4), "no valid data_offsets"],
};

for (const [what, [bytes, reason]] of Object.entries(DAMAGE)) {
  Deno.test(`refused: ${what}`, () => {
    withFile((path) => {
      Deno.writeFileSync(path, bytes);
      const { message } = assertThrows(() => new SafetensorsFile(path), UserError, path);
      assert(message.includes(reason), message);
    });
  });
}

Deno.test("a mask of whole numbers may lie in a file, but is not read as weights", () => {
  withFile((path) => {
    Deno.writeFileSync(path, build({ a: tensor(0, 8, [2], "I32") }, 8));
    using file = new SafetensorsFile(path);
    assertThrows(() => file.read("a", [2]), UserError, "a holds I32, no floating-point numbers");
  });
});

Deno.test("refused: values that are not finite, and a file that is not there", () => {
  withFile((path) => {
    writeSafetensors(path, [{ name: "a", shape: [2], values: () => Float32Array.of(1, NaN) }]);
    using file = new SafetensorsFile(path);
    assertThrows(() => file.read("a", [2]), UserError, "not finite");
  });
  assertThrows(() => new SafetensorsFile("missing.safetensors"), UserError, "no such file");
});

Deno.test("halves: bf16 is the nearest, ties to even; half precision is what Float16Array says", () => {
  const numbers = Float32Array.of(0, -0, 1, 1.0078125, 1.00390625, 1.01171875, -3e38, 1e-40, NaN);
  const halves = narrowBfloat16(numbers);
  const back = widenBfloat16(halves);
  // 1.00390625 lies between 1 and 1.0078125 and goes to the even one, 1.01171875 up to 1.015625.
  assertEquals(back.slice(0, 6), Float32Array.of(0, -0, 1, 1.0078125, 1, 1.015625));
  assert(Math.abs(back[6]! / -3e38 - 1) < 2 ** -8 && Number.isNaN(back[8]!));
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const view = new DataView(new ArrayBuffer(2));
  widenFloat16(all).forEach((value, i) => {
    view.setUint16(0, i);
    assertEquals(value, view.getFloat16(0), String(i));
  });
});

Deno.test("a file of bf16 comes back rounded, in half the bytes", () => {
  const path = Deno.makeTempFileSync();
  try {
    const values = Float32Array.from({ length: 6 }, (_, i) => Math.sin(i));
    const source = { name: "a", shape: [2, 3], values: () => values };
    writeSafetensors(path, [source], "BF16");
    using file = new SafetensorsFile(path);
    assertEquals(file.read("a", [2, 3]), widenBfloat16(narrowBfloat16(values)));
    assertEquals(file.entries.get("a")!.end, 12);
  } finally {
    Deno.removeSync(path);
  }
});
