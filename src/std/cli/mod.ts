// A local stand-in for the part of jsr:@std/cli that the commands use.

export * from "./parse_args.ts";
