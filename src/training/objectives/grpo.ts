// GRPO (Shao et al. 2024, "DeepSeekMath"): an answer is as good as it is better than others to the same question, and
// the model stays near the reference. On-policy: every answer is learned from once, by the model that gave it, so that
// the ratio of new to old probabilities is 1 and there is nothing to clip.

/** Keeps a group of equal rewards from dividing by nothing; TRL's number. */
const LEAST_DEVIATION = 1e-4;

/**
 * Rewards in groups of `size`, each less its group's mean and over its standard deviation (by n - 1).
 * @throws RangeError for groups of one, in which nothing can be better, or rewards that do not fill the groups
 */
export function groupAdvantages(rewards: readonly number[], size: number): number[] {
  if (!(size >= 2) || rewards.length % size !== 0) {
    throw new RangeError(`${rewards.length} rewards do not make groups of ${size}, at least 2`);
  }
  return rewards.map((reward, i) => {
    const group = rewards.slice(i - i % size, i - i % size + size);
    const mean = group.reduce((sum, value) => sum + value, 0) / size;
    const squares = group.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    return (reward - mean) / (Math.sqrt(squares / (size - 1)) + LEAST_DEVIATION);
  });
}

export interface AnswerLoss {
  readonly loss: number;
  /** Mean over the tokens of an estimate of the Kullback-Leibler divergence from the reference; never negative. */
  readonly divergence: number;
  /** d loss / d log p of each token [T]. */
  readonly slopes: Float64Array;
}

/**
 * An answer's loss: the mean over its tokens of beta k3 - r advantage. r = p / (p as it was when the answer was given)
 * is 1, but has a slope: d r / d log p = r. k3 = q / p - log(q / p) - 1 with the reference's q (Schulman 2020) has
 * d k3 / d log p = 1 - q / p.
 * @param logProbabilities log p of each token [T]
 * @param reference log q of each token [T]; null with beta 0
 */
export function answerLoss(
  logProbabilities: ArrayLike<number>,
  reference: ArrayLike<number> | null,
  advantage: number,
  beta: number,
): AnswerLoss {
  const T = logProbabilities.length;
  const slopes = new Float64Array(T).fill(-advantage / T);
  if (reference === null) return { loss: -advantage, divergence: 0, slopes };
  let divergence = 0;
  for (let t = 0; t < T; t++) {
    const log = reference[t]! - logProbabilities[t]!, ratio = Math.exp(log);
    divergence += (ratio - log - 1) / T;
    slopes[t]! += beta * (1 - ratio) / T;
  }
  return { loss: beta * divergence - advantage, divergence, slopes };
}
