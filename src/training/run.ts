// What a training run works with.

import type { GPT } from "../model/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import type { Corpus } from "./corpus.ts";
import type { TrainingEvent } from "./events.ts";
import type { Teaching } from "./soft_targets.ts";
import type { RunState } from "./state.ts";

/** Tokens of a batch that nothing goes back through: enough for GEMM's speed, and no more memory than a training step takes. */
export const EVALUATION_TOKENS = 256;

export interface TrainOptions {
  readonly model: GPT;
  /** The model as the run began, for recipes that hold to it while they sample. */
  readonly reference?: GPT;
  readonly tokenizer: Tokenizer;
  readonly corpus: Corpus;
  /** What teachers say of the training texts, if there are any. */
  readonly teaching?: Teaching | null;
  /** Where the run stands; its progress is changed as it goes. */
  readonly state: RunState;
  /** The run's directory: `last` and `best` go there. */
  readonly directory: string;
  /** Lines of history.jsonl so far; those of the run are added. */
  readonly history: string[];
  /** Ends the run behind the current step, saved. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: TrainingEvent) => void;
}
