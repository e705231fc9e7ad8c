// Compiles assembly/ to build/kernels.bin, unless it is up to date.

const SOURCES = new URL("./assembly/", import.meta.url);
const TARGET = new URL("./build/kernels.bin", import.meta.url);

const OPTIONS = [
  ...["-O3", "--noAssert", "--runtime", "stub", "--use", "abort="],
  ...["--enable", "simd", "--enable", "relaxed-simd", "--enable", "threads"],
  ...["--importMemory", "--sharedMemory", "--initialMemory", "1", "--maximumMemory", "65536"],
];

function modified(file: URL): number {
  try {
    return Deno.statSync(file).mtime?.getTime() ?? 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return -1;
    throw error;
  }
}

/** Kernel sources by file name. */
function sources(): Map<string, string> {
  const names = Array.from(Deno.readDirSync(SOURCES), ({ name }) => name);
  return new Map(
    names.filter((name) => name.endsWith(".ts")).map((name) => [
      `assembly/${name}`,
      Deno.readTextFileSync(new URL(name, SOURCES)),
    ]),
  );
}

const files = sources();
const newest = Math.max(
  modified(new URL(import.meta.url)),
  ...[...files.keys()].map((name) => modified(new URL(name, new URL(".", import.meta.url)))),
);
if (modified(TARGET) < newest) {
  // Loaded only when there is work: the compiler takes longer to load than all of this.
  const { default: asc } = await import("assemblyscript/asc");
  const compiled = new Map<string, Uint8Array<ArrayBuffer>>();
  const { error, stderr } = await asc.main(
    ["assembly/index.ts", "--outFile", "kernels.wasm", ...OPTIONS],
    {
      readFile: (name: string) => files.get(name) ?? null,
      listFiles: () => [...files.keys()],
      writeFile: (name: string, contents: string | Uint8Array) => {
        if (typeof contents !== "string") compiled.set(name, Uint8Array.from(contents));
      },
    },
  );
  const wasm = compiled.get("kernels.wasm");
  if (error !== null || wasm === undefined) {
    console.error(stderr.toString());
    Deno.exit(1);
  }
  // Renamed into place, so that a program that starts meanwhile never reads half of it.
  const temporary = new URL(`./kernels.bin.${Deno.pid}`, TARGET);
  Deno.mkdirSync(new URL(".", TARGET), { recursive: true });
  Deno.writeFileSync(temporary, wasm);
  Deno.renameSync(temporary, TARGET);
  console.error(`built kernels.wasm, ${(wasm.length / 1024).toFixed(0)} KiB`);
}
