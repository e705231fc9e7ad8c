// Checkpoints: saving, loading, finding.

export {
  type CheckpointInfo,
  loadParameters,
  type Metadata,
  readCheckpointInfo,
  readTraining,
  saveCheckpoint,
  type SaveOptions,
  saveWeights,
  tokenizerOf,
} from "./checkpoint.ts";
export { AdapterFile, isAdapter, loadAdapter } from "./adapter.ts";
export { isFile } from "./files.ts";
export { replaceFile } from "./directory.ts";
export { weightsFingerprint } from "./fingerprint.ts";
export { exportGguf, modelfile } from "./gguf_model.ts";
export { exportHuggingFace } from "./huggingface.ts";
export { checkpointOf, findCheckpoint, newestRun, WEIGHTS } from "./find.ts";
export { readIntentSpread } from "./intents.ts";
export { LOCK, lockRun } from "./lock.ts";
export { SafetensorsFile, writeSafetensors } from "./safetensors.ts";
export type { TensorSource } from "./tensors.ts";
export {
  checkNormalizationFits,
  checkTokens,
  loadWeights,
  openTorchWeights,
  openWeights,
  readWeightsInfo,
  Weights,
} from "./weights.ts";
export { hasMoments, loadMoments, loadStates } from "./moments.ts";
