// Numbers of 16 bits as files hold them: IEEE half precision and bfloat16. Plain loops: a GPT-2 has 124 million
// numbers, and a callback for each would take a minute.

/** bf16 to f32: the missing bits are zeros. */
export function widenBfloat16(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < bits.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}

/** f32 to the nearest bf16, ties to even; NaN stays NaN. */
export function narrowBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; i++) {
    const b = bits[i]!;
    halves[i] = Number.isNaN(values[i]!) ? b >>> 16 | 0x40 : (b + 0x7fff + (b >>> 16 & 1)) >>> 16;
  }
  return halves;
}

let halfTable: Float32Array | undefined;

/** Half precision to f32, by a table of all 65,536. */
export function widenFloat16(halves: Uint16Array): Float32Array {
  const table = halfTable ??= Float32Array.from({ length: 65536 }, (_, half) => valueOfHalf(half));
  const values = new Float32Array(halves.length);
  for (let i = 0; i < values.length; i++) values[i] = table[halves[i]!]!;
  return values;
}

function valueOfHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1, exponent = half >>> 10 & 31, fraction = half & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
