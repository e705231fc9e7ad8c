// Chooses the GEMM microkernel at start: computes one small product with each, compares it with a plain
// loop, and takes the faster of those that are right. V8's flags decide which one that is.

export type TileName = "6x8" | "6x16";

const ROWS = 48, COLUMNS = 64, DEPTH = 192;
/**
 * V8 compiles a hot function once more in the background, one kernel after the other, and late on a busy machine. Until
 * then its baseline code is timed. So the rounds go on until both kernels have become faster than in their first rounds.
 */
const FIRST_ROUNDS = 3, FEWEST_ROUNDS = 40, SPEEDUP = 1.4;
/** Milliseconds after which no kernel is expected to become faster. */
const LONGEST = 400;

type Exports = Record<string, (...args: number[]) => number>;

/**
 * The microkernel to use. `free` is the address of memory that nobody uses yet; `now` tells milliseconds.
 * @throws when neither computes the product
 */
export function probeTiles(
  memory: WebAssembly.Memory,
  call: Exports,
  free: number,
  now: () => number = () => performance.now(),
): TileName {
  const matrix = (index: number, length: number) =>
    new Float32Array(memory.buffer, Math.ceil(free / 64) * 64 + index * 131072, length);
  const packedA = matrix(0, ROWS * DEPTH), packedB = matrix(1, DEPTH * COLUMNS);
  const c = matrix(2, ROWS * COLUMNS);
  // Small integers: their products and sums are exact in any order.
  for (let i = 0; i < packedA.length; i++) packedA[i] = (i * 7) % 13 - 6;
  for (let i = 0; i < packedB.length; i++) packedB[i] = (i * 5) % 11 - 5;
  const expected = multiplyPanels(packedA, packedB);
  const multiply = () =>
    call.gemm!(
      ...[0, COLUMNS / 16, ROWS, COLUMNS, DEPTH, packedA.byteOffset, 0, packedB.byteOffset, 0],
      ...[c.byteOffset, COLUMNS * 4, 64, 0, 0],
    );
  const tiles = ["6x8", "6x16"] as const;
  const times = tiles.map(() => Infinity), first = tiles.map(() => Infinity);
  const isRight = tiles.map(() => false);
  const isCompiled = () => times.every((time, i) => time * SPEEDUP < first[i]!);
  const begin = now();
  const goesOn = (round: number) =>
    round < FEWEST_ROUNDS || !isCompiled() && now() - begin < LONGEST;
  // In turns, so that a slow millisecond of the machine hits both.
  for (let round = 0; goesOn(round); round++) {
    tiles.forEach((tile, i) => {
      call.choose_tile!(Number(tile === "6x16"));
      c.fill(NaN);
      const start = now();
      multiply();
      times[i] = Math.min(times[i]!, now() - start);
      if (round < FIRST_ROUNDS) first[i] = times[i]!;
      isRight[i] = c.every((value, at) => value === expected[at]);
    });
  }
  const [best] = tiles.filter((_, i) => isRight[i]).sort((a, b) =>
    times[tiles.indexOf(a)]! - times[tiles.indexOf(b)]!
  );
  for (const used of [packedA, packedB, c]) used.fill(0); // the arena counts on untouched memory
  if (best === undefined) throw new Error("the matrix kernels give wrong results on this machine");
  return best;
}

/** C [ROWS, COLUMNS] by a scalar loop over the packed layouts [rows / 6, k, 6] and [columns / 16, k, 16]. */
function multiplyPanels(a: Float32Array, b: Float32Array): Float32Array {
  const c = new Float32Array(ROWS * COLUMNS);
  for (let i = 0; i < ROWS; i++) {
    for (let j = 0; j < COLUMNS; j++) {
      const rowOfA = Math.floor(i / 6) * DEPTH * 6 + i % 6;
      const columnOfB = Math.floor(j / 16) * DEPTH * 16 + j % 16;
      let sum = 0;
      for (let k = 0; k < DEPTH; k++) sum += a[rowOfA + k * 6]! * b[columnOfB + k * 16]!;
      c[i * COLUMNS + j] = sum;
    }
  }
  return c;
}
