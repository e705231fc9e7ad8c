// How a model's logits of its intents spread over the questions that it learned. With that, a question like these can be
// told from one unlike them, however sure the model is of its intent.

/** More intents than these are left alone: what is kept of them grows with their square, the work with their cube. */
const MOST_INTENTS = 1024;
/** Questions beyond their intents that a dimension needs, for its variance to mean something. */
const QUESTIONS_A_DIMENSION = 4;
/** Added to every variance, as a share of their mean: what hardly varies must not decide. */
const RIDGE = 1e-3;

/** The intents' logits [n, N] behind n learned questions, and the number of the intent that each asks for [n]. */
export interface LearnedQuestions {
  readonly logits: Float32Array;
  readonly intents: Int32Array;
}

/** The logits of N intents: a normal distribution around a mean for each intent, as wide for all of them. */
export class IntentSpread {
  constructor(
    /** [N, N] The mean logits behind each intent's questions; zeros where there were none. */
    readonly means: Float32Array,
    /**
     * [N, N] Lower triangular; times its transpose the covariance around these means, in units that put a learned question
     * 1 away from its mean (root mean square).
     */
    readonly factor: Float32Array,
  ) {}

  /**
   * How far logits [N] are from the mean of an intent's questions: 1 is usual for one of them. The Mahalanobis distance
   * of Lee et al. 2018. 1, too, where the intent had no questions.
   */
  distance(logits: Float32Array, intent: number): number {
    const N = logits.length;
    const mean = this.means.subarray(intent * N, (intent + 1) * N);
    if (mean.every((value) => value === 0)) return 1;
    return norm(solveLower(this.factor, logits.map((value, i) => value - mean[i]!)));
  }

  /**
   * The spread of N intents' logits over learned questions, or null where these are too few to tell.
   * @param rank most dimensions in which the logits can differ
   */
  static of({ logits, intents }: LearnedQuestions, N: number, rank: number): IntentSpread | null {
    if (N > MOST_INTENTS) return null;
    const counts = new Float64Array(N), means = new Float32Array(N * N);
    intents.forEach((intent, q) => {
      const seen = ++counts[intent]!;
      for (let i = 0; i < N; i++) {
        means[intent * N + i]! += (logits[q * N + i]! - means[intent * N + i]!) / seen;
      }
    });
    const free = intents.length - counts.filter((count) => count > 0).length;
    if (free < QUESTIONS_A_DIMENSION * Math.min(N, rank)) return null;
    const covariance = new Float64Array(N * N);
    const rest = new Float64Array(N);
    intents.forEach((intent, q) => {
      for (let i = 0; i < N; i++) rest[i] = logits[q * N + i]! - means[intent * N + i]!;
      for (let i = 0; i < N; i++) {
        const share = rest[i]! / free;
        for (let j = 0; j <= i; j++) covariance[i * N + j]! += share * rest[j]!;
      }
    });
    let trace = 0;
    for (let i = 0; i < N; i++) trace += covariance[i * N + i]!;
    if (!(trace > 0)) return null;
    for (let i = 0; i < N; i++) covariance[i * N + i]! += RIDGE * trace / N;
    const plain = new IntentSpread(means, Float32Array.from(cholesky(covariance, N)));
    let squares = 0;
    intents.forEach((intent, q) => {
      squares += plain.distance(logits.subarray(q * N, (q + 1) * N), intent) ** 2;
    });
    const usual = Math.sqrt(squares / free);
    return new IntentSpread(means, plain.factor.map((value) => value * usual));
  }
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

/** x [N] with L x = b, for a lower triangular L [N, N]. */
function solveLower(l: Float32Array, b: Float32Array): Float64Array {
  const N = b.length, x = new Float64Array(N);
  for (let i = 0; i < N; i++) {
    let sum = b[i]!;
    for (let k = 0; k < i; k++) sum -= l[i * N + k]! * x[k]!;
    x[i] = sum / l[i * N + i]!;
  }
  return x;
}

function norm(x: Float64Array): number {
  return Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
}
