// The files that come with the program.

import { learnsFromPairs, type Recipe } from "../training/mod.ts";

const DATA = new URL("../../data/", import.meta.url);

/** Path of a file under data/. */
export function dataPath(name: string): string {
  return decodeURIComponent(new URL(name, DATA).pathname);
}

/**
 * The bundled files that a recipe trained on, or null when it is not known, they are gone, or they are pairs, whose
 * answers the model did not learn by heart.
 */
export function bundledData(recipe: unknown): string[] | null {
  const known = recipe as (Partial<Pick<Recipe, "preference">> & { corpus?: unknown }) | undefined;
  const corpus = known?.corpus;
  if (!Array.isArray(corpus) || corpus.length === 0) return null;
  if (learnsFromPairs({ preference: known?.preference ?? "none" })) return null;
  const paths = corpus.map((name) => dataPath(String(name)));
  const exists = (path: string) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  };
  return paths.every(exists) ? paths : null;
}
