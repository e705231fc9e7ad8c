// One run at a time in a directory: a lock that the operating system takes back however a run ends.

import { UserError } from "../errors.ts";

/** The lock's file within a run's directory. */
export const LOCK = ".lock";

/**
 * Holds a run's directory, which is made where it is missing, until disposed of.
 * @throws UserError when another program holds it, or it cannot be written
 */
export function lockRun(directory: string): Disposable {
  const path = `${directory}/${LOCK}`;
  let file: Deno.FsFile;
  try {
    Deno.mkdirSync(directory, { recursive: true });
    file = Deno.openSync(path, { create: true, write: true });
  } catch (error) {
    throw new UserError(`${directory}: cannot be written: ${(error as Error).message}`);
  }
  if (!file.tryLockSync(true)) {
    file.close();
    throw new UserError(`${directory}: another run is at work there; wait for it or use --out`);
  }
  // The file stays: removing it would let two others lock different files of the same name.
  return file;
}
