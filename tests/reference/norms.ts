// The other normalisations in f64; see layers.ts for the manner.

type Numbers = ArrayLike<number>;

/** y [rows, C] = x * rstd * gamma, rstd = 1 / sqrt(mean of a row's squares + epsilon). */
export function rmsNorm(x: Numbers, gamma: Numbers, rows: number, epsilon = 1e-5) {
  const channels = gamma.length;
  const y = new Float64Array(rows * channels), rstd = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    let squares = 0;
    for (let c = 0; c < channels; c++) squares += x[r * channels + c]! ** 2;
    rstd[r] = 1 / Math.sqrt(squares / channels + epsilon);
    for (let c = 0; c < channels; c++) {
      y[r * channels + c] = x[r * channels + c]! * rstd[r]! * gamma[c]!;
    }
  }
  return { y, rstd };
}

/** dx [rows, C] and dgamma [C] of rmsNorm, from dy [rows, C]. */
export function rmsNormBackward(
  dy: Numbers,
  x: Numbers,
  gamma: Numbers,
  rows: number,
  epsilon = 1e-5,
) {
  const channels = gamma.length;
  const { rstd } = rmsNorm(x, gamma, rows, epsilon);
  const dx = new Float64Array(rows * channels), dgamma = new Float64Array(channels);
  for (let r = 0; r < rows; r++) {
    let projection = 0;
    for (let c = 0; c < channels; c++) {
      const i = r * channels + c, normalized = x[i]! * rstd[r]!;
      projection += dy[i]! * gamma[c]! * normalized / channels;
      dgamma[c]! += dy[i]! * normalized;
    }
    for (let c = 0; c < channels; c++) {
      const i = r * channels + c;
      dx[i] = rstd[r]! * (dy[i]! * gamma[c]! - x[i]! * rstd[r]! * projection);
    }
  }
  return { dx, dgamma };
}

/** Mean and biased variance of each channel of x [rows, C]. */
export function channelStatistics(x: Numbers, rows: number) {
  const channels = x.length / rows;
  const mean = new Float64Array(channels), variance = new Float64Array(channels);
  for (let i = 0; i < x.length; i++) mean[i % channels]! += x[i]! / rows;
  for (let i = 0; i < x.length; i++) {
    variance[i % channels]! += (x[i]! - mean[i % channels]!) ** 2 / rows;
  }
  return { mean, variance };
}

export interface Running {
  mean: Numbers;
  variance: Numbers;
}

/**
 * Batch renormalisation (Ioffe 2017): y = ((x - m) / s * r + d) * gamma + beta, m and s being the batch's mean and
 * deviation. r and d are given, or those that make it (x - mean) / deviation of the running statistics.
 */
export function batchRenorm(
  x: Numbers,
  gamma: Numbers,
  beta: Numbers,
  rows: number,
  corrections: { r: Numbers; d: Numbers },
  epsilon = 1e-5,
): Float64Array {
  const channels = gamma.length, { mean, variance } = channelStatistics(x, rows);
  return Float64Array.from(x, (value, i) => {
    const c = i % channels;
    const normalized = (value - mean[c]!) / Math.sqrt(variance[c]! + epsilon);
    return (normalized * corrections.r[c]! + corrections.d[c]!) * gamma[c]! + beta[c]!;
  });
}

/** r = batch's deviation / running deviation, d = (batch's mean - running mean) / running deviation. */
export function corrections(x: Numbers, rows: number, running: Running, epsilon = 1e-5) {
  const { mean, variance } = channelStatistics(x, rows);
  const deviation = (v: number) => Math.sqrt(v + epsilon);
  return {
    r: variance.map((v, c) => deviation(v) / deviation(running.variance[c]!)),
    d: mean.map((m, c) => (m - running.mean[c]!) / deviation(running.variance[c]!)),
  };
}

/** dx [rows, C], dgamma [C] and dbeta [C] of batchRenorm at constant r and d; of an affine map when `fixed`. */
export function batchRenormBackward(
  dy: Numbers,
  x: Numbers,
  gamma: Numbers,
  rows: number,
  running: Running,
  epsilon = 1e-5,
  fixed = false,
) {
  const channels = gamma.length, { mean, variance } = channelStatistics(x, rows);
  const own = (i: number) =>
    (x[i]! - mean[i % channels]!) / Math.sqrt(variance[i % channels]! + epsilon);
  const scale = (c: number) => 1 / Math.sqrt(running.variance[c]! + epsilon);
  const slopes = new Float64Array(channels), projections = new Float64Array(channels);
  const dgamma = new Float64Array(channels), dbeta = new Float64Array(channels);
  for (let i = 0; i < x.length; i++) {
    const c = i % channels;
    slopes[c]! += dy[i]! / rows;
    projections[c]! += dy[i]! * own(i) / rows;
    dgamma[c]! += dy[i]! * (x[i]! - running.mean[c]!) * scale(c);
    dbeta[c]! += dy[i]!;
  }
  const dx = Float64Array.from(x, (_, i) => {
    const c = i % channels, pull = fixed ? 0 : slopes[c]! + own(i) * projections[c]!;
    return gamma[c]! * scale(c) * (dy[i]! - pull);
  });
  return { dx, dgamma, dbeta };
}
