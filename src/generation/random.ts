// Seeded random numbers for sampling: the same seed gives the same text.

/** A generator of numbers in [0, 1): sfc32 by Chris Doty-Humphrey (PractRand). */
export function randomNumbers(seed: number): () => number {
  let a = seed >>> 0, b = Math.floor(seed / 2 ** 32) >>> 0, c = 0x9e3779b9, counter = 1;
  const next = () => {
    const sum = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + sum) >>> 0;
    return sum / 2 ** 32;
  };
  // Until the seed has reached every bit of the state.
  for (let i = 0; i < 12; i++) next();
  return next;
}
