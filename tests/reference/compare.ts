// Comparisons that fail on NaN and say where, seeded data, and finite differences, for all tests.

type Numbers = ArrayLike<number>;

/** Fails unless |actual[i] - expected[i]| <= bound for every i; names the worst element. */
export function assertClose(actual: Numbers, expected: Numbers, bound: number, what: string): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} values instead of ${expected.length}`);
  }
  let worst = -1;
  let failures = 0;
  let largest = bound;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (difference <= bound) continue;
    failures++;
    // A NaN counts as worse than any number, and the first one is kept.
    if (worst < 0 || !(difference <= largest) && !Number.isNaN(largest)) {
      worst = i;
      largest = difference;
    }
  }
  if (failures > 0) {
    throw new Error(
      `${what}: [${worst}] is ${actual[worst]} instead of ${expected[worst]}, off by ${largest} ` +
        `where ${bound} is allowed; ${failures} of ${expected.length} are off`,
    );
  }
}

/** Fails unless ||actual - expected|| <= bound * ||expected||, Euclidean norms. */
export function assertCloseInNorm(
  actual: Numbers,
  expected: Numbers,
  bound: number,
  what: string,
): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} values instead of ${expected.length}`);
  }
  const difference = Math.sqrt(sum(expected.length, (i) => (actual[i]! - expected[i]!) ** 2));
  const norm = Math.sqrt(sum(expected.length, (i) => expected[i]! ** 2));
  if (!(difference <= bound * norm)) {
    let worst = 0;
    const off = (i: number) => Math.abs(actual[i]! - expected[i]!);
    for (let i = 1; i < expected.length; i++) if (!(off(i) <= off(worst))) worst = i;
    throw new Error(
      `${what}: off by ${difference / norm} of the norm where ${bound} is allowed; ` +
        `worst [${worst}]: ${actual[worst]} instead of ${expected[worst]}`,
    );
  }
}

function sum(n: number, term: (i: number) => number): number {
  let total = 0;
  for (let i = 0; i < n; i++) total += term(i);
  return total;
}

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function seededUniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * `length` values of mean 0.1 * scale and spread about `scale`, no symmetry and no repetition in
 * them, so that a transposition, a shifted index or a dropped row shows.
 */
export function randomValues(length: number, seed: number, scale = 1): Float32Array {
  const uniform = seededUniform(seed);
  return Float32Array.from({ length }, () => {
    // Three uniforms are near enough to a normal distribution: spread 1/2 about 3/2.
    const centred = 2 * (uniform() + uniform() + uniform() - 1.5);
    return scale * (centred + 0.1);
  });
}

/** `length` integers in [0, limit) from a seed. */
export function randomIntegers(length: number, limit: number, seed: number): Int32Array {
  const uniform = seededUniform(seed);
  return Int32Array.from({ length }, () => Math.floor(uniform() * limit));
}

/**
 * df/dx[i] as (f(x + h) - f(x - h)) / 2h, of a function that reads `x`; `x` is left as it was.
 * The error is about h^2 f''' / 6 plus |f| * 2^-53 / h: h = 1e-5 suits f64, where it is some 1e-10.
 */
export function finiteDifference(f: () => number, x: Float64Array, i: number, h = 1e-5): number {
  const kept = x[i]!;
  x[i] = kept + h;
  const above = f();
  x[i] = kept - h;
  const below = f();
  x[i] = kept;
  return (above - below) / (2 * h);
}
