// How a model's logits of its intents spread over the questions that it learned. With that, a question like these can be
// told from one unlike them, however sure the model is of its intent.

/** Questions that a dimension needs, for its variance to mean something. */
const QUESTIONS_A_DIMENSION = 4;
/** Added to every variance, as a share of their mean: what hardly varies must not decide. */
const RIDGE = 1e-3;

/** Logits [n, N] of N intents behind n learned questions. */
interface LearnedQuestions {
  readonly logits: Float32Array;
  /** [n] The number of the intent that each asks for. */
  readonly intents: Int32Array;
}

/** Two descriptions of logits [N]: of an intent's questions, and of what is asked besides. Both are normal distributions. */
export class IntentSpread {
  constructor(
    /** [N, N] The mean logits behind each intent's questions; zeros where there were none. */
    readonly means: Float32Array,
    /**
     * [N, N] Lower triangular; times its transpose the covariance around these means, alike for all intents, in units that
     * put a learned question 1 away from its mean (root mean square).
     */
    readonly factor: Float32Array,
    /** [N] and [N, N] The same of the background: one mean for all of it. */
    readonly backgroundMean: Float32Array,
    readonly backgroundFactor: Float32Array,
  ) {}

  /**
   * How much farther logits [N] are from an intent's questions than from the background: the difference of the squared
   * Mahalanobis distances (Lee et al. 2018), relative as in Ren et al. 2021. Above 0 the question is rather none of the
   * intent's. 0 where the intent had no questions.
   */
  unlikeness(logits: Float32Array, intent: number): number {
    const N = logits.length;
    const mean = this.means.subarray(intent * N, (intent + 1) * N);
    if (mean.every((value) => value === 0)) return 0;
    return squaredDistance(this.factor, logits, mean) -
      squaredDistance(this.backgroundFactor, logits, this.backgroundMean);
  }

  /**
   * The spread of N intents' logits over learned questions, or null where these are too few to tell.
   * @param background logits [m, N] of what is asked besides
   * @param rank most dimensions in which the logits can differ
   */
  static of(
    { logits, intents }: LearnedQuestions,
    background: Float32Array,
    N: number,
    rank: number,
  ): IntentSpread | null {
    const means = meansOf(logits, intents, N, N), none = new Int32Array(background.length / N);
    const free = intents.length - new Set(intents).size, dimensions = Math.min(N, rank);
    if (Math.min(free, none.length) < QUESTIONS_A_DIMENSION * dimensions) return null;
    const factor = factorOf(logits, intents, means, free);
    const mean = meansOf(background, none, N, 1);
    const backgroundFactor = factorOf(background, none, mean, none.length);
    if (factor === null || backgroundFactor === null) return null;
    return new IntentSpread(means, factor, mean, backgroundFactor);
  }
}

/** The means [count, N] of the rows [n, N] of each of `count` labels; zeros where there are none. */
function meansOf(rows: Float32Array, labels: Int32Array, N: number, count: number): Float32Array {
  const means = new Float32Array(count * N), counts = new Float64Array(count);
  labels.forEach((label, row) => {
    const seen = ++counts[label]!;
    for (let i = 0; i < N; i++) {
      means[label * N + i]! += (rows[row * N + i]! - means[label * N + i]!) / seen;
    }
  });
  return means;
}

/**
 * The Cholesky factor [N, N] of the covariance of rows [n, N] around their labels' means, in units in which their squared
 * distances add up to `free`; null where the rows never differ.
 */
function factorOf(
  rows: Float32Array,
  labels: Int32Array,
  means: Float32Array,
  free: number,
): Float32Array | null {
  const N = rows.length / labels.length;
  const covariance = new Float64Array(N * N), rest = new Float64Array(N);
  labels.forEach((label, row) => {
    for (let i = 0; i < N; i++) rest[i] = rows[row * N + i]! - means[label * N + i]!;
    for (let i = 0; i < N; i++) {
      const share = rest[i]! / free;
      for (let j = 0; j <= i; j++) covariance[i * N + j]! += share * rest[j]!;
    }
  });
  let trace = 0;
  for (let i = 0; i < N; i++) trace += covariance[i * N + i]!;
  if (!(trace > 0)) return null;
  for (let i = 0; i < N; i++) covariance[i * N + i]! += RIDGE * trace / N;
  const factor = Float32Array.from(cholesky(covariance, N));
  let squares = 0;
  labels.forEach((label, row) => {
    const own = rows.subarray(row * N, (row + 1) * N);
    squares += squaredDistance(factor, own, means.subarray(label * N, (label + 1) * N));
  });
  const usual = Math.sqrt(squares / free);
  return factor.map((value) => value * usual);
}

/** L [N, N], lower triangular, with L L^T = a [N, N], of which the lower triangle is read. */
function cholesky(a: Float64Array, N: number): Float64Array {
  const l = new Float64Array(N * N);
  for (let i = 0; i < N; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * N + j]!;
      for (let k = 0; k < j; k++) sum -= l[i * N + k]! * l[j * N + k]!;
      l[i * N + j] = i === j ? Math.sqrt(sum) : sum / l[j * N + j]!;
    }
  }
  return l;
}

/** |x|^2 with L x = logits - mean, for a lower triangular L [N, N]. */
function squaredDistance(l: Float32Array, logits: Float32Array, mean: Float32Array): number {
  const N = mean.length, x = new Float64Array(N);
  let squares = 0;
  for (let i = 0; i < N; i++) {
    let sum = logits[i]! - mean[i]!;
    for (let k = 0; k < i; k++) sum -= l[i * N + k]! * x[k]!;
    x[i] = sum / l[i * N + i]!;
    squares += x[i]! * x[i]!;
  }
  return squares;
}
