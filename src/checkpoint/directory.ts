// Directories that appear whole or not at all: written beside their final name, flushed, then renamed.

import { isSystemError, UserError } from "../errors.ts";

/** What a directory is called while it is written, and while its successor takes its place. */
const writing = (directory: string) => `${directory}.writing`;
const replaced = (directory: string) => `${directory}.replaced`;

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    const isMissing = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory;
    if (isMissing) return false;
    throw error;
  }
}

function removeIfThere(path: string): void {
  if (exists(path)) Deno.removeSync(path, { recursive: true });
}

/** Puts a directory back whose replacement was interrupted between two renames. */
export function recoverDirectory(directory: string): void {
  if (!exists(directory) && exists(replaced(directory))) {
    Deno.renameSync(replaced(directory), directory);
  }
}

/** Writes a file and flushes it. */
export function writeFlushed(path: string, text: string): void {
  using file = Deno.openSync(path, { write: true, create: true, truncate: true });
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
  file.syncSync();
}

/** Flushes a directory's names, where the system can. */
function flushDirectory(path: string): void {
  try {
    using directory = Deno.openSync(path);
    directory.syncSync();
  } catch {
    // Not every file system can; the files themselves are flushed.
  }
}

/**
 * Replaces a directory by what `fill` writes. A reader sees the old one or the new one; when `fill` fails
 * the old one stays.
 * @param marker a file that tells a directory of ours, which may be replaced, from any other
 * @throws UserError when it cannot be written, such as for a full disk, or holds something else
 */
export function replaceDirectory(
  directory: string,
  marker: string,
  fill: (temporary: string) => void,
): void {
  const temporary = writing(directory);
  recoverDirectory(directory);
  if (exists(directory) && !exists(`${directory}/${marker}`)) {
    throw new UserError(`${directory}: holds something else (no ${marker}), so it is not replaced`);
  }
  try {
    removeIfThere(temporary);
    Deno.mkdirSync(temporary, { recursive: true });
    fill(temporary);
    removeIfThere(replaced(directory));
    if (exists(directory)) Deno.renameSync(directory, replaced(directory));
    Deno.renameSync(temporary, directory);
    flushDirectory(directory.slice(0, directory.lastIndexOf("/") + 1) || ".");
    removeIfThere(replaced(directory));
  } catch (error) {
    recoverDirectory(directory);
    try {
      removeIfThere(temporary);
    } catch {
      // The first error says what is wrong.
    }
    if (!isSystemError(error)) throw error;
    throw new UserError(`${directory}: cannot be saved: ${error.message}`);
  }
}

/**
 * Replaces a file by what `fill` writes beside it; when `fill` fails the old one stays.
 * @throws UserError when it cannot be written
 */
export function replaceFile(path: string, fill: (temporary: string) => void): void {
  const temporary = writing(path);
  try {
    fill(temporary);
    Deno.renameSync(temporary, path);
  } catch (error) {
    try {
      removeIfThere(temporary);
    } catch {
      // The first error says what is wrong.
    }
    if (!isSystemError(error)) throw error;
    throw new UserError(`${path}: cannot be saved: ${error.message}`);
  }
}
