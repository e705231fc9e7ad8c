// All kernels. Those that run on several threads take a half-open range [start, end) of their parallel
// dimension first; how the range is cut never changes the order in which one element is summed.

export { adamw, average, column_sums, normal, sum_of_squares } from "./adamw";
export { attention_backward, attention_cached, attention_forward } from "./attention";
export { batchnorm_backward, batchnorm_forward, batchnorm_statistics } from "./batchnorm";
export { add_softened, distillation, top_k } from "./distillation";
export { dropout, residual_dropout } from "./dropout";
export {
  embedding_backward,
  embedding_bf16,
  embedding_forward,
  embedding_int8,
  embedding_rounded,
  gather_rows,
  scatter_rows,
} from "./embedding";
export { gelu_backward, gelu_forward } from "./gelu";
export { gemm, set_scratch } from "./gemm";
export { gemv, gemv_bf16, gemv_int8 } from "./gemv";
export { layernorm_backward, layernorm_backward_parameters, layernorm_forward } from "./layernorm";
export { lion } from "./lion";
export { fma_peak, memory_read } from "./measure";
export { adamw_bf16, adamw_int8, narrow_moments, widen_moments } from "./moments";
export { muon_momentum, muon_polynomial, muon_scale, muon_step } from "./muon";
export {
  from_panels,
  pack_rows,
  pack_rows_transposed,
  to_panels,
  to_panels_transposed,
} from "./pack";
export { narrow_bf16, narrow_int8, quantize_rows, widen_bf16, widen_int8 } from "./quantize";
export { rmsnorm_backward, rmsnorm_backward_parameters, rmsnorm_forward } from "./rmsnorm";
export { agreement, cross_entropy, softmax } from "./softmax";
export { choose_tile } from "./tile";
