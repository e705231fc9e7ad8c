// The files that come with the program.

const DATA = new URL("../../data/", import.meta.url);

/** Path of a file under data/. */
export function dataPath(name: string): string {
  return decodeURIComponent(new URL(name, DATA).pathname);
}

/** The bundled files that a recipe trained on, or null when it is not known or they are gone. */
export function bundledData(recipe: unknown): string[] | null {
  const corpus = (recipe as { corpus?: unknown } | undefined)?.corpus;
  if (!Array.isArray(corpus) || corpus.length === 0) return null;
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
