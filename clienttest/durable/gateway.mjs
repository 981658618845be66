// A gateway for the suites of this folder.

import net from 'node:net';
import { once } from 'node:events';
import { Gateway } from '../harness.mjs';

/** A port that nobody listens on. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts a gateway that knows its own address, as the suite wants Location to be absolute. */
export async function start({ args = [], ...rest } = {}) {
  const port = await freePort();
  const redis = process.env.HARK_TEST_REDIS;
  return Gateway.start({
    listen: `127.0.0.1:${port}`,
    ...rest,
    args: [
      `--public-url=http://127.0.0.1:${port}`,
      '--origins=https://example.com', // the page that one test is
      '--long-poll=1s', // some wait for the end of one, for 5 s
      ...(redis ? [`--redis=${redis}`, `--prefix=streams${port}`] : []), ...args,
    ],
  });
}
