// Preloaded into the program: a disk with as many bytes left as the file `free` in the working directory says.
// Behind them, writing fails as it does on a full one.

let free = Number(Deno.readTextFileSync("free"));
const full = Deno.openSync("/dev/full", { write: true });
const write = Deno.FsFile.prototype.writeSync;

Deno.FsFile.prototype.writeSync = function (bytes: Uint8Array): number {
  free -= bytes.length;
  return write.call(free < 0 ? full : this, bytes);
};
