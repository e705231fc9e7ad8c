// Beam search: several texts grow side by side, and the likeliest whole one wins. The decisions are those of
// Hugging Face's beam search; groups of beams avoid each other's tokens (Vijayakumar et al. 2016).

import type { CachedSequence, GPT } from "../model/mod.ts";
import type { Tokenizer } from "../tokenizer/mod.ts";
import { keepOnly, sureness } from "./intent.ts";
import type { LogitProcessor } from "./logits.ts";
import { logSoftmax } from "./log_sum_exp.ts";
import type { BeamOptions } from "./options.ts";
import {
  AnswerText,
  type Ending,
  type Generated,
  processorFor,
  type WriterOptions,
} from "./writer.ts";

/** A text that still grows. */
interface Beam {
  readonly tokens: readonly number[];
  /** Sum of its tokens' log-probabilities. */
  readonly score: number;
  readonly sequence: CachedSequence;
}

/** A text that ended. */
interface Hypothesis {
  readonly tokens: readonly number[];
  /** Log-probability divided by length ^ lengthPenalty. */
  readonly score: number;
  readonly ending: Ending;
}

/** A beam with one more token. */
interface Candidate {
  readonly beam: Beam;
  readonly token: number;
  readonly score: number;
}

/** The `count` best continuations of the beams by their scores [V] each, best first. */
function bestCandidates(
  beams: readonly Beam[],
  scores: readonly Float32Array[],
  count: number,
): Candidate[] {
  const best: Candidate[] = [];
  beams.forEach((beam, b) => {
    const row = scores[b]!;
    let least = best.length < count ? -Infinity : best.at(-1)!.score - beam.score;
    for (let token = 0; token < row.length; token++) {
      if (!(row[token]! > least)) continue;
      const score = beam.score + row[token]!;
      let at = best.length;
      while (at > 0 && best[at - 1]!.score < score) at--;
      best.splice(at, 0, { beam, token, score });
      if (best.length > count) best.pop();
      if (best.length === count) least = best[count - 1]!.score - beam.score;
    }
  });
  return best;
}

/** One group of beams and the texts that it finished. */
class Group {
  beams: readonly Beam[];
  finished: Hypothesis[] = [];
  done = false;

  constructor(first: readonly Beam[], readonly width: number, readonly o: BeamOptions) {
    this.beams = first;
  }

  /**
   * Takes the beams' log-probabilities; returns the continuations that go on.
   * @param ends why a text with this token more would end, or null
   */
  advance(
    scores: readonly Float32Array[],
    ends: (beam: Beam, token: number) => Ending | null,
  ): Candidate[] {
    const { lengthPenalty, earlyStopping } = this.o;
    const candidates = bestCandidates(this.beams, scores, 2 * this.width);
    const going: Candidate[] = [];
    candidates.forEach((candidate, rank) => {
      const { beam, token, score } = candidate;
      const ending = ends(beam, token);
      if (ending === null) {
        if (going.length < this.width) going.push(candidate);
      } else if (rank < this.width && !(earlyStopping && this.#full)) {
        const length = beam.tokens.length + 1;
        const tokens = ending === "end-of-text" ? beam.tokens : [...beam.tokens, token];
        this.finished.push({ tokens, score: score / length ** lengthPenalty, ending });
      }
    });
    this.finished.sort((a, b) => b.score - a.score);
    this.finished.length = Math.min(this.finished.length, this.width);
    this.done = going.length === 0 || this.#full && (earlyStopping || !this.#canImprove(going));
    return going;
  }

  get #full(): boolean {
    return this.finished.length === this.width;
  }

  #canImprove(going: readonly Candidate[]): boolean {
    const { beam, score } = going[0]!;
    const best = score / (beam.tokens.length + 1) ** this.o.lengthPenalty;
    return best > this.finished.at(-1)!.score;
  }
}

/** Gives each continuation its sequence: the beam's own for the first, forks for the others. */
function grow(beams: readonly Beam[], going: readonly Candidate[]): Beam[] {
  const owners = new Set<Beam>();
  const grown = going.map(({ beam, token, score }) => {
    const sequence = owners.has(beam) ? beam.sequence.fork() : beam.sequence;
    owners.add(beam);
    return { tokens: [...beam.tokens, token], score, sequence };
  });
  for (const beam of beams) if (!owners.has(beam)) beam.sequence.release();
  return grown;
}

/** The scores of one group's beams, the tokens of earlier groups made less likely. */
function scoresOf(
  logits: readonly Float32Array[],
  beams: readonly Beam[],
  prompt: readonly number[],
  process: LogitProcessor,
  taken: readonly number[],
  diversityPenalty: number,
): readonly Float32Array[] {
  beams.forEach(({ tokens }, b) => {
    logSoftmax(logits[b]!);
    process(logits[b]!, { tokens: [...prompt, ...tokens], promptLength: prompt.length });
    for (const token of taken) logits[b]![token]! -= diversityPenalty;
  });
  return logits;
}

/**
 * Leaves only the likeliest intent to begin with, where answers begin with one and somebody asks how sure the model is.
 * @returns whether it is sure enough to answer
 */
function decideIntent(logits: Float32Array, { unsure }: WriterOptions): boolean {
  const intents = unsure?.intents ?? [];
  if (unsure === undefined || intents.length === 0) return true;
  const best = intents.reduce((a, b) => logits[b]! > logits[a]! ? b : a);
  const probability = Math.exp(sureness(logits, intents, best, unsure.spread));
  keepOnly(logits, [best]);
  return probability >= unsure.probability;
}

/** The likeliest answer to a prompt that `o.beams` texts side by side find. */
export async function searchBeams(
  model: GPT,
  tokenizer: Tokenizer,
  prompt: readonly number[],
  o: WriterOptions & { readonly signal?: AbortSignal },
): Promise<Generated> {
  const { beams: width, beamGroups } = o;
  const { endOfText } = tokenizer.special;
  const limit = Math.min(o.maxTokens, model.configuration.n_positions - prompt.length + 1);
  const process = processorFor(o, tokenizer);
  const cache = model.createCache({
    tokens: prompt.length + 2 * width * limit,
    sequences: 2 * width,
  });
  try {
    const first = cache.sequence();
    let logits = [first.append(prompt)];
    if (!decideIntent(logits[0]!, o)) {
      const { answer } = o.unsure!;
      o.onText?.(answer);
      return { text: answer, tokens: [], ending: "unsure", removals: [] };
    }
    const groups = Array.from({ length: beamGroups }, (_, g) => {
      const sequence = g === 0 ? first : first.fork();
      return new Group([{ tokens: [], score: 0, sequence }], width / beamGroups, o);
    });
    logits = groups.map((_, g) => g === 0 ? logits[0]! : logits[0]!.slice());
    const ends = (beam: Beam, token: number): Ending | null => {
      if (token === endOfText) return "end-of-text";
      if (beam.tokens.length + 1 >= limit) return "length";
      return endsText(tokenizer, o, [...beam.tokens, token]) ? "stop-text" : null;
    };
    while (!o.signal?.aborted) {
      const taken: number[] = [];
      let row = 0;
      for (const group of groups) {
        const { beams } = group;
        const own = logits.slice(row, row += beams.length);
        if (beams.length === 0) continue;
        const scores = scoresOf(own, beams, prompt, process, taken, o.diversityPenalty);
        const going = group.advance(scores, ends);
        taken.push(...going.map(({ token }) => token));
        group.beams = grow(beams, group.done ? [] : going);
      }
      const open = groups.flatMap(({ beams }) => beams);
      if (open.length === 0) break;
      const steps = open.map(({ sequence, tokens }) => ({ sequence, tokens: [tokens.at(-1)!] }));
      logits = cache.append(steps);
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    return answerOf(groups, tokenizer, o, o.signal?.aborted ?? false);
  } finally {
    cache.dispose();
  }
}

/** Whether a text's last token completes a stop text. */
function endsText(tokenizer: Tokenizer, o: WriterOptions, tokens: readonly number[]): boolean {
  if (o.stopTexts.length === 0) return false;
  const text = tokenizer.decode(tokens);
  return o.stopTexts.some((stop) => text.includes(stop));
}

function answerOf(
  groups: readonly Group[],
  tokenizer: Tokenizer,
  o: WriterOptions,
  aborted: boolean,
): Generated {
  const finished = groups.flatMap((group) => group.finished).sort((a, b) => b.score - a.score);
  const open = groups.flatMap(({ beams }) => beams).sort((a, b) => b.score - a.score)[0];
  const best = finished[0] ??
    { tokens: open?.tokens ?? [], score: 0, ending: "aborted" as const };
  const text = new AnswerText(tokenizer, o);
  let ending: Ending = aborted ? "aborted" : best.ending;
  for (const token of best.tokens) {
    const early = text.push(token);
    if (early === null) continue;
    ending = early;
    break;
  }
  return { ...text.finish(ending), tokens: [...best.tokens], ending };
}
