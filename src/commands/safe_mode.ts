// V8's flags come from the command line and cannot be taken back, so --safe runs the program again as a
// child process without them.

import { UserError } from "../errors.ts";

/** The flags that make V8 emit 256-bit code; deno.json's tasks pass them. */
const FAST_FLAGS = ["--no-wasm-bounds-checks", "--experimental-wasm-revectorize"];
/** What takes them back, for a compiled binary that has them built in. */
const SAFE_FLAGS = "--wasm-bounds-checks,--no-experimental-wasm-revectorize";

const PERMISSIONS = ["read", "write", "env", "ffi", "sys"] as const;

/** The permissions that this process has, as flags for a child: never more than its own. */
async function permissionFlags(): Promise<string[]> {
  const flags: string[] = [];
  for (const name of PERMISSIONS) {
    const { state, partial } = await Deno.permissions.query({ name });
    if (state === "granted" && !partial) flags.push(`--allow-${name}`);
  }
  return flags;
}

/**
 * Runs the program once more without the fast flags, and returns its exit code.
 * @throws UserError when a child process is not permitted or cannot be started
 */
export async function runSafely(main: string, args: readonly string[]): Promise<number> {
  // The child decides what Ctrl-C means.
  Deno.addSignalListener("SIGINT", () => {});
  const child = Deno.build.standalone
    ? { command: Deno.execPath(), args: [...args] }
    : { command: "deno", args: ["run", ...await permissionFlags(), main, ...args] };
  try {
    const process = new Deno.Command(child.command, {
      args: child.args,
      env: { DENO_V8_FLAGS: SAFE_FLAGS },
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    return (await process.status).code;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound)) {
      throw error;
    }
    throw new UserError(
      `--safe cannot start deno again (${error.message}); run src/main.ts yourself without ` +
        `--v8-flags=${FAST_FLAGS.join(",")}`,
    );
  }
}
