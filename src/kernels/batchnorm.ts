// Batch normalisation: typed wrappers of its kernels.

import type { Tensor } from "./arena.ts";
import { checkMultiple, checkShape, matrixShape } from "./check.ts";
import { columnsPerChunk, rowsPerChunk } from "./chunks.ts";
import type { Runtime } from "./runtime.ts";

/** One number a channel, all [C]. */
export interface ChannelStatistics {
  readonly mean: Tensor;
  /** 1 / sqrt(variance + epsilon) */
  readonly rstd: Tensor;
}

/** y [N, C] = (x [N, C] - mean) * rstd * gamma [C] + beta [C] */
export function batchNormForward(
  runtime: Runtime,
  y: Tensor,
  x: Tensor,
  { mean, rstd }: ChannelStatistics,
  gamma: Tensor,
  beta: Tensor,
): void {
  const [rows, channels] = matrixShape("batchNormForward x", x);
  checkShape("batchNormForward y", y, x.shape);
  checkVectors("batchNormForward", { mean, rstd, gamma, beta }, channels);
  runtime.pool.run(
    "batchnorm_forward",
    rows,
    rowsPerChunk(channels),
    y.pointer,
    x.pointer,
    mean.pointer,
    rstd.pointer,
    gamma.pointer,
    beta.pointer,
    channels,
  );
}

/** Fills mean [C] and the biased variance [C] of x [N, C] over its rows. */
export function batchStatistics(
  runtime: Runtime,
  mean: Tensor,
  variance: Tensor,
  x: Tensor,
): void {
  const [rows, channels] = matrixShape("batchStatistics x", x);
  checkVectors("batchStatistics", { mean, variance }, channels);
  runtime.pool.run(
    "batchnorm_statistics",
    channels / 4,
    columnsPerChunk(rows),
    mean.pointer,
    variance.pointer,
    x.pointer,
    rows,
    channels,
  );
}

/**
 * dx [N, C] += the gradient of batch renormalisation (Ioffe 2017), the batch's own statistics being a function
 * of x; with `batch` null the statistics are fixed numbers. dgamma [C] and dbeta [C] += theirs.
 */
export function batchNormBackward(
  runtime: Runtime,
  dx: Tensor,
  dgamma: Tensor,
  dbeta: Tensor,
  dy: Tensor,
  x: Tensor,
  gamma: Tensor,
  used: ChannelStatistics,
  batch: ChannelStatistics | null,
): void {
  const [rows, channels] = matrixShape("batchNormBackward x", x);
  checkShape("batchNormBackward dx", dx, x.shape);
  checkShape("batchNormBackward dy", dy, x.shape);
  const own = batch ?? used;
  checkVectors("batchNormBackward", { dgamma, dbeta, gamma, ...used }, channels);
  checkVectors("batchNormBackward batch", { ...own }, channels);
  runtime.pool.run(
    "batchnorm_backward",
    channels / 4,
    columnsPerChunk(rows),
    dx.pointer,
    dgamma.pointer,
    dbeta.pointer,
    dy.pointer,
    x.pointer,
    gamma.pointer,
    used.mean.pointer,
    used.rstd.pointer,
    own.mean.pointer,
    own.rstd.pointer,
    rows,
    channels,
    Number(batch === null),
  );
}

function checkVectors(
  what: string,
  vectors: Readonly<Record<string, Tensor>>,
  channels: number,
): void {
  checkMultiple(`${what} channels`, channels, 4);
  for (const [name, vector] of Object.entries(vectors)) {
    checkShape(`${what} ${name}`, vector, [channels]);
  }
}
