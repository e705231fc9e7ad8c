// What each kernel must compute: plain loops in f64, one obvious formula each, nothing clever. Arrays
// are row-major; inputs are never changed, results are fresh. kernels_test.ts checks these themselves.

type Numbers = ArrayLike<number>;

// --- matrices ----------------------------------------------------------------------------------

export interface MatmulOptions {
  /** `a` is [k, m] rather than [m, k]. */
  transposeA?: boolean;
  /** `b` is [n, k] rather than [k, n]. */
  transposeB?: boolean;
  /** [m, n], added to the product. */
  accumulate?: Numbers;
}

/** C [m, n] = A [m, k] B [k, n], either of which may be stored transposed. */
export function matmul(
  a: Numbers,
  b: Numbers,
  m: number,
  n: number,
  k: number,
  { transposeA = false, transposeB = false, accumulate }: MatmulOptions = {},
): Float64Array {
  const c = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = accumulate?.[i * n + j] ?? 0;
      for (let l = 0; l < k; l++) {
        sum += a[transposeA ? l * m + i : i * k + l]! * b[transposeB ? j * k + l : l * n + j]!;
      }
      c[i * n + j] = sum;
    }
  }
  return c;
}

/** y [rows, outputs] = x [rows, inputs] weight [inputs, outputs] + bias [outputs]. */
export function linear(
  x: Numbers,
  weight: Numbers,
  bias: Numbers | null,
  rows: number,
  inputs: number,
  outputs: number,
): Float64Array {
  const y = matmul(x, weight, rows, outputs, inputs);
  return bias ? y.map((value, i) => value + bias[i % outputs]!) : y;
}

/** The sums over rows of dy [rows, outputs]: the gradient of a bias, [outputs]. */
export function biasGradient(dy: Numbers, rows: number, outputs: number): Float64Array {
  const dbias = new Float64Array(outputs);
  for (let i = 0; i < rows * outputs; i++) dbias[i % outputs]! += dy[i]!;
  return dbias;
}

// --- LayerNorm ---------------------------------------------------------------------------------

/** y [rows, C] = (x - mean) * rstd * gamma + beta, rstd = 1 / sqrt(variance + epsilon). */
export function layerNorm(x: Numbers, gamma: Numbers, beta: Numbers, rows: number, epsilon = 1e-5) {
  const channels = gamma.length;
  const y = new Float64Array(rows * channels);
  const mean = new Float64Array(rows);
  const rstd = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    const at = (c: number) => x[r * channels + c]!;
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += at(c);
    mean[r] = sum / channels;
    let squares = 0;
    for (let c = 0; c < channels; c++) squares += (at(c) - mean[r]!) ** 2;
    rstd[r] = 1 / Math.sqrt(squares / channels + epsilon);
    for (let c = 0; c < channels; c++) {
      y[r * channels + c] = (at(c) - mean[r]!) * rstd[r]! * gamma[c]! + beta[c]!;
    }
  }
  return { y, mean, rstd };
}

/** dx [rows, C], dgamma [C] and dbeta [C] of layerNorm, from dy [rows, C]. */
export function layerNormBackward(
  dy: Numbers,
  x: Numbers,
  gamma: Numbers,
  rows: number,
  epsilon = 1e-5,
) {
  const channels = gamma.length;
  const { mean, rstd } = layerNorm(x, gamma, new Float64Array(channels), rows, epsilon);
  const dx = new Float64Array(rows * channels);
  const dgamma = new Float64Array(channels);
  const dbeta = new Float64Array(channels);
  for (let r = 0; r < rows; r++) {
    const normalized = (c: number) => (x[r * channels + c]! - mean[r]!) * rstd[r]!;
    const slope = (c: number) => dy[r * channels + c]! * gamma[c]!;
    let slopes = 0;
    let projection = 0;
    for (let c = 0; c < channels; c++) {
      slopes += slope(c) / channels;
      projection += slope(c) * normalized(c) / channels;
      dgamma[c]! += dy[r * channels + c]! * normalized(c);
      dbeta[c]! += dy[r * channels + c]!;
    }
    for (let c = 0; c < channels; c++) {
      dx[r * channels + c] = rstd[r]! * (slope(c) - slopes - normalized(c) * projection);
    }
  }
  return { dx, dgamma, dbeta };
}

// --- GELU --------------------------------------------------------------------------------------

/** 1 - erf(x), to about 1e-15 relative, also in the tail. */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2) return 1 - erf(x);
  // Continued fraction, from the inside out; 200 levels are far more than x >= 2 needs.
  let fraction = x;
  for (let n = 200; n >= 1; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction);
}

/** The error function, to about 1e-15. */
export function erf(x: number): number {
  if (Math.abs(x) >= 2) return x > 0 ? 1 - erfc(x) : erfc(-x) - 1;
  // 2/sqrt(pi) exp(-x^2) sum of (2x^2)^n x / (1 * 3 * ... * (2n + 1)): no term is negative.
  let term = x;
  let sum = 0;
  for (let n = 0; sum + term !== sum; n++) {
    sum += term;
    term *= 2 * x * x / (2 * n + 3);
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

/** x * Phi(x), Phi being the normal distribution function: `gelu`. */
export function gelu(x: number): number {
  return x * erfc(-x / Math.SQRT2) / 2;
}

/** Phi(x) + x * phi(x). */
export function geluDerivative(x: number): number {
  return erfc(-x / Math.SQRT2) / 2 + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
}

const tanhScale = Math.sqrt(2 / Math.PI);

/** The approximation by tanh: `gelu_new`. */
export function geluTanh(x: number): number {
  return x / 2 * (1 + Math.tanh(tanhScale * (x + 0.044715 * x ** 3)));
}

export function geluTanhDerivative(x: number): number {
  const t = Math.tanh(tanhScale * (x + 0.044715 * x ** 3));
  return (1 + t) / 2 + x / 2 * (1 - t * t) * tanhScale * (1 + 3 * 0.044715 * x * x);
}

// --- attention ---------------------------------------------------------------------------------

/** 0 or 1 / (1 - p) for the probability with which row `query` looks at row `key` of the batch. */
export type AttentionKeep = (query: number, head: number, key: number) => number;

const keepAll: AttentionKeep = () => 1;

/** The softmax of `scores`. */
export function softmax(scores: Numbers): Float64Array {
  const values = Float64Array.from(scores);
  const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const exponentials = values.map((value) => Math.exp(value - largest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((value) => value / sum);
}

/** Calls `visit` for every (query, head) of a ragged batch with where its sequence starts. */
function eachQuery(
  offsets: Numbers,
  heads: number,
  visit: (first: number, query: number, head: number) => void,
) {
  for (let b = 0; b + 1 < offsets.length; b++) {
    for (let query = offsets[b]!; query < offsets[b + 1]!; query++) {
      for (let head = 0; head < heads; head++) visit(offsets[b]!, query, head);
    }
  }
}

/** How a row of qkv [N, 3C] is laid out: queries of all heads, keys of all heads, values of all. */
function layout(offsets: Numbers, width: number, heads: number) {
  const size = width / heads;
  return {
    size,
    rows: offsets[offsets.length - 1]!,
    q: (row: number, head: number, d: number) => row * 3 * width + head * size + d,
    k: (row: number, head: number, d: number) => row * 3 * width + width + head * size + d,
    v: (row: number, head: number, d: number) => row * 3 * width + 2 * width + head * size + d,
  };
}

/** softmax(q . k / sqrt(D)) of one query over the keys from row `first` to itself, before dropout. */
function attentionProbabilities(
  qkv: Numbers,
  { size, q, k }: ReturnType<typeof layout>,
  first: number,
  query: number,
  head: number,
): Float64Array {
  const scores = new Float64Array(query - first + 1);
  for (let key = first; key <= query; key++) {
    for (let d = 0; d < size; d++) {
      scores[key - first]! += qkv[q(query, head, d)]! * qkv[k(key, head, d)]! / Math.sqrt(size);
    }
  }
  return softmax(scores);
}

/**
 * Causal attention within each sequence of a ragged batch: out [N, C] from qkv [N, 3C], where
 * `offsets` [B+1] says at which row each sequence starts. `keep` drops probabilities after softmax.
 */
export function attention(
  qkv: Numbers,
  offsets: Numbers,
  width: number,
  heads: number,
  keep: AttentionKeep = keepAll,
): Float64Array {
  const at = layout(offsets, width, heads);
  const out = new Float64Array(at.rows * width);
  eachQuery(offsets, heads, (first, query, head) => {
    const probabilities = attentionProbabilities(qkv, at, first, query, head);
    for (let key = first; key <= query; key++) {
      const p = probabilities[key - first]! * keep(query, head, key);
      for (let d = 0; d < at.size; d++) {
        out[query * width + head * at.size + d]! += p * qkv[at.v(key, head, d)]!;
      }
    }
  });
  return out;
}

/** dqkv [N, 3C] of attention, from dout [N, C]. */
export function attentionBackward(
  dout: Numbers,
  qkv: Numbers,
  offsets: Numbers,
  width: number,
  heads: number,
  keep: AttentionKeep = keepAll,
): Float64Array {
  const at = layout(offsets, width, heads);
  const dqkv = new Float64Array(at.rows * 3 * width);
  eachQuery(offsets, heads, (first, query, head) => {
    const probabilities = attentionProbabilities(qkv, at, first, query, head);
    const dprobabilities = new Float64Array(probabilities.length);
    let mean = 0; // of dprobabilities, weighted with the probabilities
    for (let key = first; key <= query; key++) {
      const j = key - first;
      for (let d = 0; d < at.size; d++) {
        const slope = dout[query * width + head * at.size + d]! * keep(query, head, key);
        dprobabilities[j]! += slope * qkv[at.v(key, head, d)]!;
        dqkv[at.v(key, head, d)]! += slope * probabilities[j]!;
      }
      mean += probabilities[j]! * dprobabilities[j]!;
    }
    for (let key = first; key <= query; key++) {
      const j = key - first;
      const dscore = probabilities[j]! * (dprobabilities[j]! - mean) / Math.sqrt(at.size);
      for (let d = 0; d < at.size; d++) {
        dqkv[at.q(query, head, d)]! += dscore * qkv[at.k(key, head, d)]!;
        dqkv[at.k(key, head, d)]! += dscore * qkv[at.q(query, head, d)]!;
      }
    }
  });
  return dqkv;
}

// --- embedding ---------------------------------------------------------------------------------

/** x [N, C] = wte[tokens] + wpe[positions]. */
export function embedding(
  tokens: Numbers,
  positions: Numbers,
  wte: Numbers,
  wpe: Numbers,
  width: number,
): Float64Array {
  return new Float64Array(tokens.length * width).map((_, i) => {
    const [row, c] = [Math.floor(i / width), i % width];
    return wte[tokens[row]! * width + c]! + wpe[positions[row]! * width + c]!;
  });
}

/** dtable [size, C]: the sums of the rows of dx [N, C] that took each row of a table. */
export function embeddingBackward(
  dx: Numbers,
  indices: Numbers,
  size: number,
  width: number,
): Float64Array {
  const dtable = new Float64Array(size * width);
  for (let i = 0; i < indices.length * width; i++) {
    dtable[indices[Math.floor(i / width)]! * width + i % width]! += dx[i]!;
  }
  return dtable;
}
