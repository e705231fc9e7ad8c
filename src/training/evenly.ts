// A few of many.

/** At most `count` of the items, evenly spread. */
export function evenly<T>(items: readonly T[], count: number): T[] {
  const every = Math.max(1, items.length / count);
  return Array.from(
    { length: Math.min(count, items.length) },
    (_, i) => items[Math.floor(i * every)]!,
  );
}
