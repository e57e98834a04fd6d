// Sends BYTES bytes of PATH to URL in chunks, one for each piece that the stream yields:
//     node send.js file|pieces URL PATH BYTES
//
// file: `fs.createReadStream` with its default options.
// pieces: a stream of pieces of 64 KiB that are at hand, so that nothing waits for a thread that reads.

const fs = require("node:fs");
const http = require("node:http");
const { Readable } = require("node:stream");

const PIECE_BYTES = 64 * 1024;

function* pieces(path, bytes) {
  const file = fs.openSync(path);
  for (let left = bytes; left > 0; ) {
    const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, left));
    const count = fs.readSync(file, piece);
    if (count === 0) throw new Error(`${path} ends early`);
    left -= count;
    yield piece.subarray(0, count);
  }
}

function fail(error) {
  console.error(String(error));
  process.exit(1);
}

const [how, url, path, bytes] = process.argv.slice(2);
const body =
  how === "file"
    ? fs.createReadStream(path, { end: Number(bytes) - 1 })
    : Readable.from(pieces(path, Number(bytes)), { objectMode: false });
const request = http.request(url, { method: "POST" }, (response) => {
  if (response.statusCode !== 200) fail(`the server answered ${response.statusCode}`);
  response.resume();
});
request.on("error", fail);
body.on("error", fail);
body.pipe(request);
