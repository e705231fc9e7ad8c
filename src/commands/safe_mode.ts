// V8's flags come from the command line and cannot be taken back, so --safe runs the program again as a
// child process without them.

import { UserError } from "../errors.ts";

/** Takes back the flags that deno.json's tasks pass, should DENO_V8_FLAGS hold them too. */
const SAFE_FLAGS = "--wasm-bounds-checks,--no-experimental-wasm-revectorize";

const PERMISSIONS = ["read", "write", "env", "ffi", "sys"] as const;

/** What ends a program; each is passed on, and the child decides what it means. */
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * The permissions that this process has, as flags for a child. Partly granted counts: --allow-run=deno takes
 * from --allow-write the one file that is deno.
 */
export async function permissionFlags(): Promise<string[]> {
  const flags: string[] = [];
  for (const name of PERMISSIONS) {
    const { state } = await Deno.permissions.query({ name });
    if (state === "granted") flags.push(`--allow-${name}`);
  }
  return flags;
}

/**
 * Runs the program once more without the fast flags, and returns its exit code.
 * @param main the address of main.ts
 * @param args the arguments without --safe, so that the child does not start another child
 * @throws UserError when a child process is not permitted, or in a compiled program
 */
export async function runSafely(main: string, args: readonly string[]): Promise<number> {
  if (Deno.build.standalone) {
    throw new UserError(
      `--safe does not work in the compiled program, whose V8 flags are built in; ` +
        `with Deno, use deno task ${args[0]} --safe`,
    );
  }
  const child = await start(main, args);
  const passOn = SIGNALS.map((signal) => ({ signal, send: () => kill(child, signal) }));
  for (const { signal, send } of passOn) Deno.addSignalListener(signal, send);
  const { code } = await child.status;
  for (const { signal, send } of passOn) Deno.removeSignalListener(signal, send);
  return code;
}

async function start(main: string, args: readonly string[]): Promise<Deno.ChildProcess> {
  try {
    // By name, as --allow-run=deno permits it: deno task and npx both put it on the path.
    return new Deno.Command("deno", {
      args: ["run", ...await permissionFlags(), main, ...args],
      env: { DENO_V8_FLAGS: SAFE_FLAGS },
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable || error instanceof Deno.errors.NotFound)) {
      throw error;
    }
    throw new UserError(
      `--safe cannot start deno again: ${error.message}. Start the program with deno task, ` +
        `or without --v8-flags`,
    );
  }
}

function kill(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch {
    // It has ended meanwhile.
  }
}
