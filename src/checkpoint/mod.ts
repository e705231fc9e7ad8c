// Checkpoints: saving, loading, finding.

export {
  type CheckpointInfo,
  loadMoments,
  loadParameters,
  type Metadata,
  readCheckpointInfo,
  readTraining,
  saveCheckpoint,
  type SaveOptions,
  tokenizerOf,
} from "./checkpoint.ts";
export { checkpointOf, findCheckpoint, newestRun, WEIGHTS } from "./find.ts";
export { SafetensorsFile, type TensorSource, writeSafetensors } from "./safetensors.ts";
