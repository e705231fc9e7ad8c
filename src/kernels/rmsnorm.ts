// Root-mean-square normalisation: typed wrappers of its kernels.

import type { Tensor } from "./arena.ts";
import { checkMultiple, checkShape, matrixShape } from "./check.ts";
import { columnsPerChunk, rowsPerChunk } from "./chunks.ts";
import type { Runtime } from "./runtime.ts";

/** y [N, C] = x [N, C] * rstd * gamma [C]; fills rstd [N]. */
export function rmsNormForward(
  runtime: Runtime,
  y: Tensor,
  rstd: Tensor,
  x: Tensor,
  gamma: Tensor,
  epsilon: number,
): void {
  const [rows, channels] = matrixShape("rmsNormForward x", x);
  checkShape("rmsNormForward y", y, x.shape);
  checkVectors("rmsNormForward", rstd, gamma, rows, channels);
  runtime.pool.run(
    "rmsnorm_forward",
    rows,
    rowsPerChunk(channels),
    y.pointer,
    rstd.pointer,
    x.pointer,
    gamma.pointer,
    channels,
    epsilon,
  );
}

/** dx [N, C] += gradient through the normalisation; dgamma [C] += its own. */
export function rmsNormBackward(
  runtime: Runtime,
  dx: Tensor,
  dgamma: Tensor,
  dy: Tensor,
  x: Tensor,
  gamma: Tensor,
  rstd: Tensor,
): void {
  const [rows, channels] = matrixShape("rmsNormBackward x", x);
  checkShape("rmsNormBackward dx", dx, x.shape);
  checkShape("rmsNormBackward dy", dy, x.shape);
  checkShape("rmsNormBackward dgamma", dgamma, [channels]);
  checkVectors("rmsNormBackward", rstd, gamma, rows, channels);
  runtime.pool.run(
    "rmsnorm_backward",
    rows,
    rowsPerChunk(channels),
    dx.pointer,
    dy.pointer,
    x.pointer,
    gamma.pointer,
    rstd.pointer,
    channels,
  );
  runtime.pool.run(
    "rmsnorm_backward_parameters",
    channels / 4,
    columnsPerChunk(rows),
    dgamma.pointer,
    dy.pointer,
    x.pointer,
    rstd.pointer,
    rows,
    channels,
  );
}

function checkVectors(
  what: string,
  rstd: Tensor,
  gamma: Tensor,
  rows: number,
  channels: number,
): void {
  checkMultiple(`${what} channels`, channels, 4);
  checkShape(`${what} gamma`, gamma, [channels]);
  checkShape(`${what} rstd`, rstd, [rows]);
}
