// Layer normalisation: typed wrappers of its kernels.

import type { Tensor } from "./arena.ts";
import { checkMultiple, checkShape, matrixShape } from "./check.ts";
import { columnsPerChunk, rowsPerChunk } from "./chunks.ts";
import type { Runtime } from "./runtime.ts";

export interface LayerNormSaved {
  readonly mean: Tensor; // [N]
  readonly rstd: Tensor; // [N]
}

/** y [N, C] = layer norm of x [N, C]; fills mean and rstd. */
export function layerNormForward(
  runtime: Runtime,
  y: Tensor,
  saved: LayerNormSaved,
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  epsilon: number,
): void {
  const [rows, channels] = matrixShape("layerNormForward x", x);
  checkShape("layerNormForward y", y, x.shape);
  checkStatistics("layerNormForward", saved, gamma, rows, channels);
  checkShape("layerNormForward beta", beta, [channels]);
  runtime.pool.run(
    "layernorm_forward",
    rows,
    rowsPerChunk(channels),
    y.pointer,
    saved.mean.pointer,
    saved.rstd.pointer,
    x.pointer,
    gamma.pointer,
    beta.pointer,
    channels,
    epsilon,
  );
}

/** dx [N, C] += gradient through the layer norm; dgamma [C] and dbeta [C] += theirs. */
export function layerNormBackward(
  runtime: Runtime,
  dx: Tensor,
  dgamma: Tensor,
  dbeta: Tensor,
  dy: Tensor,
  x: Tensor,
  gamma: Tensor,
  saved: LayerNormSaved,
): void {
  const [rows, channels] = matrixShape("layerNormBackward x", x);
  checkShape("layerNormBackward dx", dx, x.shape);
  checkShape("layerNormBackward dy", dy, x.shape);
  checkStatistics("layerNormBackward", saved, gamma, rows, channels);
  checkShape("layerNormBackward dgamma", dgamma, [channels]);
  checkShape("layerNormBackward dbeta", dbeta, [channels]);
  const { mean, rstd } = saved;
  runtime.pool.run(
    "layernorm_backward",
    rows,
    rowsPerChunk(channels),
    dx.pointer,
    dy.pointer,
    x.pointer,
    gamma.pointer,
    mean.pointer,
    rstd.pointer,
    channels,
  );
  runtime.pool.run(
    "layernorm_backward_parameters",
    channels / 4,
    columnsPerChunk(rows),
    dgamma.pointer,
    dbeta.pointer,
    dy.pointer,
    x.pointer,
    mean.pointer,
    rstd.pointer,
    rows,
    channels,
  );
}

function checkStatistics(
  what: string,
  saved: LayerNormSaved,
  gamma: Tensor,
  rows: number,
  channels: number,
): void {
  checkMultiple(`${what} channels`, channels, 4);
  checkShape(`${what} gamma`, gamma, [channels]);
  checkShape(`${what} mean`, saved.mean, [rows]);
  checkShape(`${what} rstd`, saved.rstd, [rows]);
}
