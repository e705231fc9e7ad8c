// Numbers of 16 bits as files hold them: IEEE half precision and bfloat16.

/** bf16 to f32: the missing bits are zeros. */
export function widenBfloat16(halves: Uint16Array): Float32Array {
  const bits = Uint32Array.from(halves, (half) => half << 16 >>> 0);
  return new Float32Array(bits.buffer);
}

/** f32 to the nearest bf16, ties to even; NaN stays NaN. */
export function narrowBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (b, i) => {
    if (Number.isNaN(values[i]!)) return b >>> 16 | 0x40;
    return (b + 0x7fff + (b >>> 16 & 1)) >>> 16;
  });
}

/** Half precision to f32. */
export function widenFloat16(halves: Uint16Array): Float32Array {
  return Float32Array.from(halves, (half) => {
    const sign = half & 0x8000 ? -1 : 1, exponent = half >>> 10 & 31, fraction = half & 1023;
    if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1024 + fraction) * 2 ** (exponent - 25);
  });
}
