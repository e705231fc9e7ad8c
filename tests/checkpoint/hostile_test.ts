// Archives and GGUF files that are damaged, or made to do harm: each is refused in one line, and soon.

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { GgufFile, type GgufSource, type GgufValue, writeGguf } from "../../src/checkpoint/gguf.ts";
import { TorchFile } from "../../src/checkpoint/torch.ts";
import { ZipFile } from "../../src/checkpoint/zip.ts";
import { UserError } from "../../src/errors.ts";
import { randomNumbers } from "../../src/random.ts";
import { bytesOf, deflate, tensorPickle, torchArchive, zip } from "./archives.ts";

const FIXTURES = decodeURIComponent(
  new URL("../reference/fixtures/formats/", import.meta.url).pathname,
);
const FOUR = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);

async function withFile(bytes: Uint8Array, work: (path: string) => unknown): Promise<void> {
  const path = Deno.makeTempFileSync();
  try {
    Deno.writeFileSync(path, bytes);
    await work(path);
  } finally {
    Deno.removeSync(path);
  }
}

function assertOneLine(message: string, path: string, reason: string): void {
  assert(message.startsWith(path) && !message.includes("\n") && message.includes(reason), message);
}

/** Opens a torch.save archive and reads all that it holds. */
async function readAll(path: string): Promise<void> {
  using file = await TorchFile.open(path);
  for (const [name, { shape }] of file.entries) file.read(name, shape);
}

const plain = tensorPickle({ length: 4, shape: [2, 2], strides: [2, 1] });

Deno.test("torch: a tensor, its transpose and its tail come out of one storage", async () => {
  const cases: [number, number[], number[], number[]][] = [
    [0, [2, 2], [2, 1], [1, 2, 3, 4]],
    [0, [2, 2], [1, 2], [1, 3, 2, 4]],
    [2, [2], [1], [3, 4]],
    [0, [], [], [1]],
  ];
  for (const [offset, shape, strides, expected] of cases) {
    const pickle = tensorPickle({ length: 4, offset, shape, strides });
    await withFile(torchArchive(pickle, { 0: FOUR }), async (path) => {
      using file = await TorchFile.open(path);
      assertEquals(Array.from(file.read("w", shape)), expected);
      assertThrows(() => file.read("w", [9]), UserError, "the model wants [9]");
    });
  }
});

const TORCH: Record<string, [Uint8Array, string]> = {
  "an empty file": [new Uint8Array(0), "is no zip archive"],
  "an archive cut off": [torchArchive(plain, { 0: FOUR }).slice(0, -30), "is no zip archive"],
  "another archive": [zip([{ name: "readme.txt", data: FOUR }]), "torch.save did not write"],
  "os.system": [
    torchArchive("\x80\x02cos\nsystem\nX\x07\0\0\0rm -rf /\x85R."),
    'names "os.system", which no weights need; it was not run',
  ],
  "a class by its name on the stack": [
    torchArchive("\x80\x04\x8c\x08builtins\x8c\x04eval\x93."),
    'names "builtins.eval"',
  ],
  "a name that every object has": [torchArchive("\x80\x02c__proto__\nconstructor\n."), "names"],
  "an instruction of no plain pickle": [torchArchive("\x80\x02i."), "byte 2 is 0x69"],
  "a pickle that ends early": [torchArchive("\x80\x02}"), "it claims 1 bytes where 0 are left"],
  "text of 2^60 bytes": [
    torchArchive("\x80\x04\x8d\0\0\0\0\0\0\0\x10."),
    "it claims 1152921504606847000 bytes",
  ],
  "a value that was never kept": [torchArchive("\x80\x02h\x07."), "recalls value 7"],
  "an empty stack": [torchArchive("\x80\x02s."), "takes a value that is not there"],
  "no mark": [torchArchive("\x80\x02}u."), "takes a run of values that is not there"],
  "a call of a number": [torchArchive("\x80\x02K\x01)R."), "calls something that is no function"],
  "a dictionary of numbers": [
    torchArchive("\x80\x02ccollections\nOrderedDict\nK\x01\x85R."),
    "makes a",
  ],
  "a list instead of weights": [torchArchive("\x80\x02]."), "holds no dictionary of weights"],
  "no weights": [torchArchive("\x80\x02}."), "holds no dictionary of weights"],
  "a storage that is not there": [torchArchive(plain), "w has no numbers (data/0)"],
  "a storage elsewhere": [
    torchArchive(tensorPickle({ length: 4, shape: [4], strides: [1], key: "../data.pkl" })),
    "w has no numbers",
  ],
  "a storage cut off": [
    torchArchive(plain, { 0: FOUR.slice(0, 8) }),
    "claims 16 bytes, the archive",
  ],
  "a tensor of 2^60 numbers": [
    torchArchive(tensorPickle({ length: 4, shape: [2 ** 30, 2 ** 30], strides: [0, 0] }), {
      0: FOUR,
    }),
    "does not fit into its 4 numbers",
  ],
  "a tensor beyond its storage": [
    torchArchive(tensorPickle({ length: 4, offset: 1, shape: [4], strides: [1] }), { 0: FOUR }),
    "does not fit into its 4 numbers",
  ],
  "strides that go back": [
    torchArchive(tensorPickle({ length: 4, offset: 3, shape: [4], strides: [-1] }), { 0: FOUR }),
    "a tensor that cannot be",
  ],
  "whole numbers": [
    torchArchive(tensorPickle({ length: 4, shape: [4], strides: [1], type: "IntStorage" }), {
      0: FOUR,
    }),
    "w holds a torch.IntStorage",
  ],
  "values that are not finite": [
    torchArchive(plain, { 0: new Uint8Array(Float32Array.of(1, NaN, 3, 4).buffer) }),
    "not finite",
  ],
};

for (const [what, [bytes, reason]] of Object.entries(TORCH)) {
  Deno.test(`refused in an archive of torch.save: ${what}`, () =>
    withFile(bytes, async (path) => {
      const { message } = await assertRejects(() => readAll(path), UserError);
      assertOneLine(message, path, reason);
    }));
}

const packed = await deflate(new Uint8Array(100_000));
const entry = (claims: object, more: object = {}) => ({ name: "a", data: FOUR, claims, ...more });

const ZIPS: Record<string, [Uint8Array, string]> = {
  "more bytes than the file has": [
    zip([entry({ size: 999, packed: 999 })]),
    "claims 999 bytes, the",
  ],
  "an entry outside the file": [zip([entry({ local: 2 ** 31 })]), "lies outside the file"],
  "an entry that is not there": [zip([entry({ local: 7 })]), "is not where it should be"],
  "entries that overlap": [
    zip([entry({}), { name: "b", data: FOUR, claims: { local: 0 } }]),
    "b overlaps a",
  ],
  "an entry twice": [zip([entry({}), entry({})]), "it holds a twice"],
  "a bomb": [
    zip([entry({ size: 2 ** 31 }, { method: 8, packed })]),
    "claims 2147483648 bytes out of",
  ],
  "an encrypted entry": [zip([entry({ flags: 1 })]), "is encrypted"],
  "another method": [zip([entry({}, { method: 93 })]), "packed by method 93"],
  "more entries than the list holds": [zip([entry({})], 9000), "claims 9000 entries"],
};

for (const [what, [bytes, reason]] of Object.entries(ZIPS)) {
  Deno.test(`refused in a zip archive: ${what}`, () =>
    withFile(bytes, (path) => {
      const { message } = assertThrows(() => new ZipFile(path), UserError);
      assertOneLine(message, path, reason);
    }));
}

Deno.test("zip: deflated entries come back; those of another size or checksum do not", async () => {
  const data = bytesOf("a text that repeats, a text that repeats");
  const small = await deflate(data);
  const deflated = (claims: object) => zip([{ name: "a", data, method: 8, packed: small, claims }]);
  await withFile(deflated({}), async (path) => {
    using file = new ZipFile(path);
    assertEquals(await file.read(file.entries.get("a")!), data);
  });
  for (const claims of [{ size: 30 }, { size: 50 }, { checksum: 1 }]) {
    await withFile(deflated(claims), async (path) => {
      using file = new ZipFile(path);
      const { message } = await assertRejects(() => file.read(file.entries.get("a")!), UserError);
      assertOneLine(message, path, "a ");
    });
  }
});

Deno.test("torch: no flipped bit or missing end goes unnoticed or crashes", async () => {
  const bytes = Deno.readFileSync(`${FIXTURES}experiment.pth`);
  const random = randomNumbers(5);
  let refused = 0;
  for (let i = 0; i < 60; i++) {
    const damaged = bytes.slice();
    // Half of them in what describes the tensors: the first and the last 10,000 bytes.
    const near = Math.floor(random() * 10_000);
    const at = [near, bytes.length - 1 - near, Math.floor(random() * bytes.length)][i % 3]!;
    damaged[at]! ^= 1 << Math.floor(random() * 8);
    const cut = i % 10 === 9 ? damaged.subarray(0, at) : damaged;
    await withFile(cut, async (path) => {
      try {
        await readAll(path);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        assertOneLine(error.message, path, "");
        refused++;
      }
    });
  }
  // The rest hit padding, or names and dates that nobody reads.
  assert(refused >= 30, `${refused} refused`);
});

// GGUF

const METADATA: Record<string, GgufValue> = {
  "general.architecture": { type: "string", value: "gpt2" },
  "general.alignment": { type: "u32", value: 32 },
  list: { type: "strings", value: ["a", "b"] },
  flags: { type: "i32s", value: [1, -2] },
  flag: { type: "bool", value: true },
  small: { type: "f32", value: 0.5 },
};
const SOURCES: GgufSource[] = [
  {
    name: "a",
    shape: [2, 32],
    type: "f32",
    values: () => Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)),
  },
  { name: "b", shape: [3], type: "f16", values: () => Float32Array.of(1, 0.5, -2) },
  {
    name: "c",
    shape: [1, 32],
    type: "q8_0",
    values: () => Float32Array.from({ length: 32 }, (_, i) => i),
  },
];

function ggufBytes(): Uint8Array<ArrayBuffer> {
  const path = Deno.makeTempFileSync();
  try {
    writeGguf(path, METADATA, SOURCES);
    return Deno.readFileSync(path);
  } finally {
    Deno.removeSync(path);
  }
}

Deno.test("gguf: what was written is read", () =>
  withFile(ggufBytes(), (path) => {
    using file = new GgufFile(path);
    for (const [key, { value }] of Object.entries(METADATA)) {
      assertEquals(file.metadata.get(key), value, key);
    }
    assertEquals(file.read("a", [2, 32]), SOURCES[0]!.values());
    assertEquals(file.read("b", [3]), SOURCES[1]!.values());
    const c = file.read("c", [1, 32]);
    for (const [i, value] of c.entries()) assert(Math.abs(value - i) <= 31 / 254 + 0.01, `${i}`);
    assertEquals(Deno.statSync(path).size % 32, 0);
    assertThrows(() => file.read("a", [64]), UserError, "the model wants [64]");
  }));

/** The file with some of its bytes replaced, found by the bytes before them. */
function patched(before: string, offset: number, values: number[]): Uint8Array {
  const bytes = ggufBytes();
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  const at = text.indexOf(before) + before.length + offset;
  bytes.set(values, at);
  return bytes;
}

const HUGE = [0, 0, 0, 0, 0, 0, 0, 0x10];
/** Tensor descriptions: name, number of dimensions, dimensions, type, offset. */
const NAME_A = "\x01\0\0\0\0\0\0\0a\x02\0\0\0", NAME_B = "\x01\0\0\0\0\0\0\0b\x01\0\0\0";
const GGUFS: Record<string, [Uint8Array, string]> = {
  "an empty file": [new Uint8Array(0), "is no GGUF file"],
  "another file": [new Uint8Array(100), "is no GGUF file"],
  "version 1": [ggufBytes().with(4, 1), "version 1"],
  "2^60 tensors": [patched("GGUF\x03\0\0\0", 0, HUGE), "claims 1152921504606847000 tensors"],
  "2^60 values": [patched("GGUF\x03\0\0\0", 8, HUGE), "claims 1152921504606847000 values"],
  "a key of 2^60 bytes": [patched("GGUF\x03\0\0\0", 16, HUGE), "claims 1152921504606847000 bytes"],
  "a list of 2^60": [patched("list\x09\0\0\0\x08\0\0\0", 0, HUGE), 'values in "list"'],
  "a list of lists": [patched("list\x09\0\0\0", 0, [9]), "is a list of lists"],
  "a value of type 99": [patched("list", 0, [99]), '"list" has type 99'],
  "an alignment of 3": [patched("general.alignment\x04\0\0\0", 0, [3]), "alignment 3 is no power"],
  "2^60 rows": [patched(NAME_A, 8, HUGE), "has shape [1152921504606847000,32]"],
  "2^40 rows": [patched(NAME_A, 8, [0, 0, 0, 0, 0, 1]), "a ends at byte"],
  "nine dimensions": [patched(NAME_A, -4, [9]), "a has 9 dimensions"],
  "an offset that is not aligned": [patched(NAME_B, 12, [1]), "b begins at 257, not aligned"],
  "tensors that overlap": [patched(NAME_B, 12, [0, 0]), "overlaps"],
  "an offset of 2^60": [patched(NAME_B, 12, HUGE), "b ends at byte"],
};

for (const [what, [bytes, reason]] of Object.entries(GGUFS)) {
  Deno.test(`refused in a GGUF file: ${what}`, () =>
    withFile(bytes, (path) => {
      const { message } = assertThrows(() => new GgufFile(path), UserError);
      assertOneLine(message, path, reason);
    }));
}

Deno.test("gguf: a file that ends anywhere earlier is refused", async () => {
  const bytes = ggufBytes();
  for (let i = 0; i < 40; i++) {
    const end = Math.floor(i * (bytes.length - 32) / 40);
    await withFile(bytes.subarray(0, end), (path) => {
      const { message } = assertThrows(() => new GgufFile(path), UserError);
      assertOneLine(message, path, "");
    });
  }
});
