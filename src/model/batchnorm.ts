// Batch normalisation (Ioffe and Szegedy 2015) for a causal model. Statistics of the batch at hand would carry the
// content of later tokens to earlier ones, so forward knows only those of earlier steps, in training too: batch
// renormalisation (Ioffe 2017) without bounds on its corrections r and d, which makes y exactly this:
//
//   y = (x - running mean) / sqrt(running variance + epsilon) * weight + bias
//
// Backward is batch renormalisation's: r and d are constants, the batch's own mean and variance are functions of x.
// Without that, nothing would hold the activations' scale, since a step would not see what it does to them.

import {
  batchNormBackward,
  batchNormForward,
  batchStatistics,
  type ChannelStatistics,
  type Tensor,
} from "../kernels/mod.ts";
import { gradientOf, type Norm, type NormSaved } from "./norm.ts";
import type { Parameters } from "./parameters.ts";
import type { Pass } from "./pass.ts";

/** What a step's statistics count in the running ones, as in PyTorch; more while there are fewer than ten. */
const STATISTICS_MOMENTUM = 0.1;

/** Tensors beside weight and bias that no gradient changes, under PyTorch's names. */
export const RUNNING_STATISTICS = ["running_mean", "running_var", "num_batches_tracked"] as const;

export class BatchNorm implements Norm {
  constructor(
    readonly parameters: Parameters,
    readonly name: string,
    readonly epsilon: number,
  ) {}

  /** y [N, C] = (x - running_mean) / sqrt(running_var + epsilon) * weight + bias */
  forward(pass: Pass, x: Tensor): NormSaved {
    const y = pass.runtime.arena.allocate(x.shape);
    const rstd = this.#rstd(pass, this.#vector("running_var"));
    const used = { mean: this.#vector("running_mean"), rstd };
    batchNormForward(pass.runtime, y, x, used, this.#vector("weight"), this.#vector("bias"));
    return { y, rstd };
  }

  /**
   * dx [N, C] += the gradient through the normalisation of dy [N, C]. Where parameters learn, also notes the
   * batch's statistics; else the running ones are constants, and the gradient is that of an affine function.
   */
  backward(pass: Pass, dx: Tensor, dy: Tensor, x: Tensor, { rstd }: NormSaved): void {
    const { runtime } = pass, { parameters, name } = this;
    runtime.arena.scope(() => {
      const dweight = gradientOf(pass, parameters, `${name}.weight`);
      const dbias = gradientOf(pass, parameters, `${name}.bias`);
      const used = { mean: this.#vector("running_mean"), rstd };
      const batch = parameters.has("gradient") ? this.#note(pass, x) : null;
      const weight = this.#vector("weight");
      batchNormBackward(runtime, dx, dweight, dbias, dy, x, weight, used, batch);
    });
  }

  /** Adds the statistics of x [N, C] to those of the step, where a parameter's gradient would be added up. */
  #note(pass: Pass, x: Tensor): ChannelStatistics {
    const { runtime } = pass, [rows, C] = x.shape as [number, number];
    const mean = runtime.arena.allocate([C]), variance = runtime.arena.allocate([C]);
    batchStatistics(runtime, mean, variance, x);
    const sums = this.#step();
    const means = runtime.f32(mean), variances = runtime.f32(variance);
    const unbiased = rows / Math.max(1, rows - 1);
    for (let c = 0; c < C; c++) {
      sums.running_mean[c]! += means[c]!;
      sums.running_var[c]! += variances[c]! * unbiased;
    }
    sums.num_batches_tracked[0]! += 1;
    return { mean, rstd: this.#rstd(pass, variance) };
  }

  /** Takes the step's statistics, the mean of its batches', into the running ones. */
  update(): void {
    if (!this.parameters.has("gradient")) return;
    const step = this.#step(), running = this.#views("parameter");
    const batches = step.num_batches_tracked[0]!;
    if (batches === 0) return;
    const momentum = Math.max(STATISTICS_MOMENTUM, 1 / ++running.num_batches_tracked[0]!);
    for (const part of ["running_mean", "running_var"] as const) {
      const values = running[part];
      step[part].forEach((sum, c) => values[c]! += momentum * (sum / batches - values[c]!));
    }
    for (const values of Object.values(step)) values.fill(0);
  }

  /** 1 / sqrt(variance [C] + epsilon) */
  #rstd({ runtime }: Pass, variance: Tensor): Tensor {
    const rstd = runtime.arena.allocate(variance.shape), values = runtime.f32(rstd);
    runtime.f32(variance).forEach((v, c) => values[c] = 1 / Math.sqrt(v + this.epsilon));
    return rstd;
  }

  #vector(part: string): Tensor {
    return this.parameters.plain(`${this.name}.${part}`);
  }

  /** Sums of the step's statistics. */
  #step() {
    return this.#views("gradient");
  }

  #views(kind: "parameter" | "gradient") {
    const [running_mean, running_var, num_batches_tracked] = RUNNING_STATISTICS.map((part) =>
      this.parameters.runtime.f32(this.parameters.plain(`${this.name}.${part}`, kind))
    ) as [Float32Array, Float32Array, Float32Array];
    return { running_mean, running_var, num_batches_tracked };
  }
}
