// Names the streams of counter-based random numbers: two 32-bit keys from a seed, a use and numbers.

/** One round of a 32-bit mixer, keyed. */
function mix(state: number, value: number): number {
  let x = (state ^ value) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return ((x ^ (x >>> 15)) + 0x9e3779b9) >>> 0;
}

/** Two keys for a stream; other arguments give an unrelated stream. Numbers count modulo 2^32. */
export function streamKeys(seed: number, use: string, ...numbers: number[]): [number, number] {
  const parts = [seed, Math.floor(seed / 2 ** 32), ...new TextEncoder().encode(use), ...numbers];
  const fold = (start: number) => parts.reduce(mix, start);
  return [fold(0x243f6a88), fold(0x85a308d3)];
}
