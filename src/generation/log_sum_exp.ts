// The normaliser of a vocabulary's logits. Math.exp takes 50 to 200 ns, which for GPT-2's vocabulary is as long as the
// model's forward pass; a table with a short series takes 3.

/** Steps of the table for one unit of the exponent. */
const STEPS = 64;
/** Below exp(-40), a whole vocabulary adds nothing to a double of 1. */
const LOWEST = 40;

const table = Float64Array.from({ length: STEPS * LOWEST + 1 }, (_, i) => Math.exp(-i / STEPS));

/** exp(-below) for a number from 0 to LOWEST, with a relative error below 1e-11. */
function expBelow(below: number): number {
  const step = Math.floor(below * STEPS);
  const rest = step / STEPS - below;
  return table[step]! * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest / 24))));
}

/** log(sum(exp(logits))), with a relative error of the sum below 1e-11. */
export function logSumExp(logits: Float32Array): number {
  let highest = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i]! > highest) highest = logits[i]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    const below = highest - logits[i]!;
    if (!(below <= LOWEST)) continue;
    sum += expBelow(below);
  }
  return highest + Math.log(sum);
}

/**
 * The token at which the probabilities softmax(logits / temperature), added up in the tokens' order, exceed a number from
 * 0 to below 1. Other than sorting the tokens first, as the samplers with a choice of candidates must, it takes two
 * passes.
 * @throws Error when no logit is a number: the model's weights are broken
 */
export function tokenAt(logits: Float32Array, temperature: number, share: number): number {
  let highest = -Infinity, best = 0;
  for (let i = 0; i < logits.length; i++) if (logits[i]! > highest) highest = logits[best = i]!;
  if (highest === -Infinity) throw new Error("the model's logits are not numbers");
  let total = 0;
  for (let i = 0; i < logits.length; i++) {
    const below = (highest - logits[i]!) / temperature;
    if (below <= LOWEST) total += expBelow(below);
  }
  let left = share * total;
  for (let i = 0; i < logits.length; i++) {
    const below = (highest - logits[i]!) / temperature;
    if (below <= LOWEST && (left -= expBelow(below)) < 0) return i;
  }
  return best;
}

/** Subtracts log(sum(exp(logits))), so that they are log-probabilities. */
export function logSoftmax(logits: Float32Array): void {
  const total = logSumExp(logits);
  for (let i = 0; i < logits.length; i++) logits[i]! -= total;
}
