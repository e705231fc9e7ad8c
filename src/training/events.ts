// What a run tells whoever watches it.

import type { Diagnosis } from "./diagnosis.ts";
import type { PreferenceFigures } from "./preference/mod.ts";
import type { Verdict } from "./verdict.ts";

/** Teachers are being asked, before training begins. */
export interface TeachingEvent {
  readonly event: "teaching";
  /** Texts done, of so many. */
  readonly texts: number;
  readonly of: number;
  readonly seconds: number;
}

/** What teachers say of all training texts is known. */
export interface TaughtEvent {
  readonly event: "taught";
  readonly texts: number;
  /** Learned tokens, and those of them of which a teacher speaks; the others are learned from the data alone. */
  readonly targets: number;
  readonly taught: number;
  /** Probabilities kept, of all targets together. */
  readonly listed: number;
  /** Whether it was there already, in the run's directory. */
  readonly kept: boolean;
  readonly seconds: number;
}

/** After an optimiser step. */
export interface StepEvent extends PreferenceFigures {
  readonly event: "step";
  /** Counts from 1, as do epochs. */
  readonly step: number;
  readonly epoch: number;
  /** Mean over the step's targets, as trained: with dropout and label smoothing. */
  readonly loss: number;
  /** With teachers: mean cross-entropy with the data, and divergence from the teachers times the temperature squared. */
  readonly cross_entropy?: number;
  readonly distillation?: number;
  readonly learning_rate: number;
  readonly gradient_norm: number;
  /** Targets per second of this step. */
  readonly tokens_per_second: number;
}

/** After an epoch; of pairs, how those set aside are ranked, or else some of those learned. */
export interface EpochEvent extends Pick<PreferenceFigures, "pairs"> {
  readonly event: "epoch";
  readonly epoch: number;
  readonly step: number;
  /** Mean of the epoch's losses as trained. */
  readonly train_loss: number;
  /** The same without label smoothing. */
  readonly train_cross_entropy: number;
  /** With teachers: mean divergence from them, times the temperature squared. */
  readonly train_distillation?: number;
  /** Mean cross-entropy of a sample of the training texts on the footing of `validation_loss`. */
  readonly learned_loss: number;
  /** Mean cross-entropy without dropout or smoothing; null without validation data. */
  readonly validation_loss: number | null;
  /** Whether it is the best so far of what is watched. */
  readonly best: boolean;
}

/** An answer of the model on its way. */
export interface SampleEvent {
  readonly event: "sample";
  readonly epoch: number;
  readonly prompt: string;
  readonly text: string;
}

/** What the model does with texts that it learns and with those set aside. */
export interface DiagnosisEvent extends Diagnosis {
  readonly event: "diagnosis";
  readonly epoch: number;
  /** Validation loss less training loss on the same footing; null without validation data. */
  readonly gap: number | null;
}

/** A checkpoint was written. */
export interface SavedEvent {
  readonly event: "saved";
  readonly directory: string;
}

/** The run is over or interrupted. */
export interface DoneEvent {
  readonly event: "done";
  readonly reason: "epochs" | "early-stop" | "interrupted";
  /** Of training, over all parts of a resumed run. */
  readonly seconds: number;
  readonly steps: number;
  readonly best: { readonly value: number; readonly epoch: number } | null;
  /** What the losses say; null for an interrupted run. */
  readonly verdict: Verdict | null;
  readonly peak_rss_bytes: number;
}

export type TrainingEvent =
  | TeachingEvent
  | TaughtEvent
  | StepEvent
  | EpochEvent
  | DiagnosisEvent
  | SampleEvent
  | SavedEvent
  | DoneEvent;
