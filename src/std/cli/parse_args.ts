export function parseArgs(x: string[]) {
  return x;
}
