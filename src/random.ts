// Seeded random numbers for data and sampling: the same seed gives the same numbers on every machine.

/** A generator of numbers in [0, 1): Mulberry32. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One seed from several numbers. */
export function mixedSeed(...parts: readonly number[]): number {
  return parts.reduce(
    (seed, part) => Math.imul(seed ^ part, 0x9e3779b1) + 0x7f4a7c15 >>> 0,
    0x243f6a88,
  );
}

/** A permutation of 0 .. n - 1 by Fisher and Yates. */
export function shuffled(n: number, seed: number, epoch: number): Int32Array {
  const random = randomNumbers(Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(epoch + 1, 0x85ebca6b));
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}
