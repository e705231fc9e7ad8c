// Losses of a pair of answers, one to be preferred to the other: DPO, IPO and SimPO, with their slopes by the
// answers' log-probabilities.

export type PairMethod = "dpo" | "ipo" | "simpo";

/** An answer to a question. */
export interface ScoredAnswer {
  /** log p of the whole answer by the model that learns. */
  readonly logProbability: number;
  /** The same by the reference: the model as it began. `simpo` needs none. */
  readonly reference: number;
  /** Tokens that the answer has, the end of text counted. */
  readonly tokens: number;
}

export interface PairOptions {
  /** How strongly a pair pulls: for `dpo` and `ipo` also how near the model stays to the reference. */
  readonly beta: number;
  /** `simpo`: by how much the chosen answer's reward is to be above the other's. */
  readonly gamma: number;
  /** Weight of the chosen answer's mean cross-entropy beside the pair's loss (RPO, Pang et al. 2024). */
  readonly sftWeight: number;
}

export interface PairLoss {
  readonly loss: number;
  /** Reward of the chosen answer less that of the rejected one, as the method defines rewards. */
  readonly margin: number;
  /** d loss / d log p of each answer. */
  readonly dchosen: number;
  readonly drejected: number;
}

/** -log sigmoid(x), and its derivative -sigmoid(-x), without overflow. */
export function softLoss(x: number): { readonly value: number; readonly slope: number } {
  const e = Math.exp(-Math.abs(x));
  const value = Math.max(-x, 0) + Math.log1p(e);
  return { value, slope: -(x > 0 ? e : 1) / (1 + e) };
}

/** Direct preference optimisation (Rafailov et al. 2023): loss = -log sigmoid(margin), with rewards beta log(p / reference). */
function dpo(chosen: ScoredAnswer, rejected: ScoredAnswer, { beta }: PairOptions): PairLoss {
  const ratio = (answer: ScoredAnswer) => answer.logProbability - answer.reference;
  const margin = beta * (ratio(chosen) - ratio(rejected));
  const { value, slope } = softLoss(margin);
  return { loss: value, margin, dchosen: beta * slope, drejected: -beta * slope };
}

/**
 * Identity preference optimisation (Azar et al. 2023, equation 17): loss = (h - 1 / (2 beta))^2 with h the difference of
 * the mean log-ratios of a token. That they are means is not in the paper, but what its authors computed, as TRL has it.
 */
function ipo(chosen: ScoredAnswer, rejected: ScoredAnswer, { beta }: PairOptions): PairLoss {
  const ratio = (answer: ScoredAnswer) =>
    (answer.logProbability - answer.reference) / answer.tokens;
  const h = ratio(chosen) - ratio(rejected);
  const distance = h - 1 / (2 * beta);
  return {
    loss: distance ** 2,
    margin: beta * h,
    dchosen: 2 * distance / chosen.tokens,
    drejected: -2 * distance / rejected.tokens,
  };
}

/** SimPO (Meng et al. 2024): loss = -log sigmoid(margin - gamma), with rewards beta times the mean log p of a token. */
function simpo(chosen: ScoredAnswer, rejected: ScoredAnswer, o: PairOptions): PairLoss {
  const mean = ({ logProbability, tokens }: ScoredAnswer) => logProbability / tokens;
  const margin = o.beta * (mean(chosen) - mean(rejected));
  const { value, slope } = softLoss(margin - o.gamma);
  return {
    loss: value,
    margin,
    dchosen: o.beta * slope / chosen.tokens,
    drejected: -o.beta * slope / rejected.tokens,
  };
}

const methods = { dpo, ipo, simpo };

/** A pair's loss: the method's, and the chosen answer's cross-entropy where it has a weight. */
export function pairLoss(
  method: PairMethod,
  chosen: ScoredAnswer,
  rejected: ScoredAnswer,
  options: PairOptions,
): PairLoss {
  const pair = methods[method](chosen, rejected, options);
  const share = options.sftWeight / chosen.tokens;
  return {
    ...pair,
    loss: pair.loss - share * chosen.logProbability,
    dchosen: pair.dchosen - share,
  };
}
