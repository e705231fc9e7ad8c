// Comparisons that fail on NaN and say where, seeded data, and finite differences, for all tests.

type Numbers = ArrayLike<number>;

/** Fails unless |actual[i] - expected[i]| <= bound for every i; names the worst element. */
export function assertClose(actual: Numbers, expected: Numbers, bound: number, what: string): void {
  const differences = absoluteDifferences(actual, expected, what);
  const failures = differences.filter((difference) => !(difference <= bound)).length;
  if (failures > 0) {
    const worst = indexOfWorst(differences);
    throw new Error(
      `${what}: [${worst}] is ${actual[worst]} instead of ${expected[worst]}, off by ` +
        `${
          differences[worst]
        } where ${bound} is allowed; ${failures} of ${expected.length} are off`,
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
  const differences = absoluteDifferences(actual, expected, what);
  const difference = norm(differences);
  const allowed = bound * norm(Float64Array.from(expected));
  if (!(difference <= allowed)) {
    const worst = indexOfWorst(differences);
    throw new Error(
      `${what}: off by ${difference} in norm where ${allowed} is allowed; ` +
        `worst [${worst}]: ${actual[worst]} instead of ${expected[worst]}`,
    );
  }
}

function absoluteDifferences(actual: Numbers, expected: Numbers, what: string): Float64Array {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} values instead of ${expected.length}`);
  }
  return Float64Array.from(expected, (value, i) => Math.abs(actual[i]! - value));
}

/** The first NaN, or else the largest. */
function indexOfWorst(differences: Float64Array): number {
  const firstNaN = differences.findIndex(Number.isNaN);
  if (firstNaN >= 0) return firstNaN;
  return differences.reduce((worst, value, i) => value > differences[worst]! ? i : worst, 0);
}

function norm(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
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
