// Everything that decides which token comes next, as plain data.

export interface SamplingOptions {
  /** Divides the logits; 0 takes the likeliest token. */
  readonly temperature: number;
  /** Only the k likeliest tokens; 0 for all (Fan et al. 2018). */
  readonly topK: number;
  /** Only the likeliest tokens that together have this probability; 1 for all (Holtzman et al. 2019). */
  readonly topP: number;
  /** Only tokens at least this share as likely as the likeliest; 0 for all (Nguyen et al. 2024). */
  readonly minP: number;
  /** Only the most typical tokens that together have this probability; 1 for all (Meister et al. 2022). */
  readonly typicalP: number;
  readonly seed: number;
}

/** DRY, "don't repeat yourself" (p-e-w, 2024): punishes what would continue a repetition. */
export interface DryOptions {
  /** Penalty of the shortest punished repetition; 0 switches it off. */
  readonly multiplier: number;
  /** Factor for every further token of the repetition. */
  readonly base: number;
  /** Longest repetition that goes unpunished, in tokens. */
  readonly allowedLength: number;
}

export interface LogitOptions {
  /** Divides (multiplies, when negative) the logits of tokens seen before; 1 for none (Keskar et al. 2019). */
  readonly repetitionPenalty: number;
  /** Subtracted for each time that the answer holds the token. */
  readonly frequencyPenalty: number;
  /** Subtracted once when the answer holds the token. */
  readonly presencePenalty: number;
  /** No n-gram of this many tokens comes twice; 0 allows all (Paulus et al. 2017). */
  readonly noRepeatNgram: number;
  readonly dry: DryOptions;
  /** Added to a token's logit. */
  readonly logitBias: ReadonlyMap<number, number>;
  /** Tokens before the text may end. */
  readonly minTokens: number;
}

export interface BeamOptions {
  /** Texts searched side by side; 1 for none. */
  readonly beams: number;
  /** A text's log-probability is divided by its length to this power. */
  readonly lengthPenalty: number;
  /** Ends when there are as many finished texts as beams, not when none can become better. */
  readonly earlyStopping: boolean;
  /** Groups of beams that avoid each other's tokens; 1 for none (Vijayakumar et al. 2016). */
  readonly beamGroups: number;
  /** Subtracted for each earlier group that chose the token in this step. */
  readonly diversityPenalty: number;
}

export interface DecodingOptions extends SamplingOptions, LogitOptions, BeamOptions {
  /** Tokens at most. */
  readonly maxTokens: number;
}

/** Always the likeliest token. */
export const GREEDY: DecodingOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  seed: 0,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  noRepeatNgram: 0,
  dry: { multiplier: 0, base: 1.75, allowedLength: 2 },
  logitBias: new Map(),
  minTokens: 0,
  beams: 1,
  lengthPenalty: 1,
  earlyStopping: false,
  beamGroups: 1,
  diversityPenalty: 0,
  maxTokens: 256,
};
