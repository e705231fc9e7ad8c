// Byte-pair merging with a heap: n log n, where looking for the best pair anew each time is n^2.

/** A binary min-heap of numbers. */
class Heap {
  readonly #items: number[] = [];

  get size(): number {
    return this.#items.length;
  }

  push(value: number): void {
    const items = this.#items;
    let at = items.length;
    items.push(value);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (items[parent]! <= value) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = value;
  }

  pop(): number {
    const items = this.#items;
    const top = items[0]!, value = items.pop()!;
    const count = items.length;
    if (count === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= count) break;
      if (child + 1 < count && items[child + 1]! < items[child]!) child++;
      if (items[child]! >= value) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = value;
    return top;
  }
}

/** Above any position, so that rank * this + position orders by rank, then leftmost first. */
const POSITIONS = 2 ** 32;

/**
 * The tokens of one piece of text: merges the neighbours whose union has the lowest rank, leftmost first,
 * until no union is a token.
 * @param bytes the piece, a character for each byte
 * @param ranks tokens by their bytes, spelled likewise; every single byte is one
 */
export function mergeBytes(
  bytes: string,
  ranks: Pick<ReadonlyMap<string, number>, "get">,
): number[] {
  const n = bytes.length;
  // Parts as a doubly linked list over their first bytes; next[start] is also a part's end.
  const next = Int32Array.from({ length: n }, (_, i) => i + 1);
  const previous = Int32Array.from({ length: n }, (_, i) => i - 1);
  /** The part's token, and the token of its union with the part behind it; -1 is none. */
  const token = Int32Array.from({ length: n }, (_, i) => ranks.get(bytes[i]!)!);
  const union = new Int32Array(n).fill(-1);
  const heap = new Heap();

  const offer = (start: number) => {
    const middle = next[start]!;
    const rank = middle < n ? ranks.get(bytes.slice(start, next[middle])) : undefined;
    union[start] = rank ?? -1;
    if (rank !== undefined) heap.push(rank * POSITIONS + start);
  };

  for (let start = 0; start < n - 1; start++) offer(start);
  while (heap.size > 0) {
    const entry = heap.pop();
    const start = entry % POSITIONS, rank = (entry - start) / POSITIONS;
    // Offers that a merge has overtaken stay in the heap, and are recognised here.
    if (union[start] !== rank) continue;
    const middle = next[start]!;
    token[start] = rank;
    union[middle] = -1;
    next[start] = next[middle]!;
    if (next[start]! < n) previous[next[start]!] = start;
    offer(start);
    if (previous[start]! >= 0) offer(previous[start]!);
  }

  const tokens: number[] = [];
  for (let start = 0; start < n; start = next[start]!) tokens.push(token[start]!);
  return tokens;
}
