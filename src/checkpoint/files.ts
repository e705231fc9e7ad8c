// Reading and writing files in pieces, with the mistakes of a user's path told in one line.

import { UserError } from "../errors.ts";

/** @throws UserError when the file is missing or may not be read */
export function openFile(path: string): Deno.FsFile {
  try {
    return Deno.openSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new UserError(`${path}: there is no such file`);
    }
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    throw new UserError(`${path}: there is no permission to read it`);
  }
}

export function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}

/** Fills the whole array; false when the file ends before. */
export function readAll(file: Deno.FsFile, bytes: Uint8Array): boolean {
  for (let done = 0; done < bytes.length;) {
    const count = file.readSync(bytes.subarray(done));
    if (count === null) return false;
    done += count;
  }
  return true;
}

/** The `length` bytes at `start`; null when the file ends before. */
export function readAt(
  file: Deno.FsFile,
  start: number,
  length: number,
): Uint8Array<ArrayBuffer> | null {
  const bytes = new Uint8Array(length);
  file.seekSync(start, Deno.SeekMode.Start);
  return readAll(file, bytes) ? bytes : null;
}

export function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** @throws UserError when the file is no JSON object */
export function readJsonObject(path: string): Record<string, unknown> {
  return readJson(path, "is not complete: it") as Record<string, unknown>;
}

/** A JSON object; `complaint` is what a missing file means for its directory. */
export function readJson(path: string, complaint: string): unknown {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) {
      throw error;
    }
    const slash = path.lastIndexOf("/");
    throw new UserError(`${path.slice(0, slash)}: ${complaint} has no ${path.slice(slash + 1)}`);
  }
  try {
    const value = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Said below.
  }
  throw new UserError(`${path}: is damaged: not a valid JSON object`);
}
