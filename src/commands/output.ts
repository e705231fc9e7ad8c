// Where commands write: nothing that is there already is replaced.

import { UserError } from "../errors.ts";

/**
 * The directory that --out names, without a slash at its end.
 * @throws UserError when it is a file or not empty
 */
export function newDirectory(out: string): string {
  const directory = out.replace(/(?<=.)\/+$/, "");
  try {
    if (Array.from(Deno.readDirSync(directory)).length === 0) {
      Deno.removeSync(directory);
      return directory;
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return directory;
    if (!(error instanceof Deno.errors.NotADirectory)) throw error;
    throw new UserError(`--out ${directory}: is a file, not a directory`);
  }
  throw new UserError(`--out ${directory}: is not empty; choose another`);
}
