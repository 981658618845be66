// A client behind proxies that people write with npm's libraries. Each is set up as docs/clients.md says, so that a cut is passed on as a cut: a
// loop over fetch takes everything that is complete for the end.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import httpProxy from 'http-proxy';
import * as httpProxy3 from 'http-proxy-3';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { createProxyServer } from 'httpxy';
import { FIN, Gateway, Journal, Life, Proxy, RST, inData, until } from './harness.mjs';
import { streamClients } from './streams.mjs';

const client = streamClients().find((c) => c.name.startsWith('eventsource-parser'));

/** Passes a cut on: what is piped ends with its source, but does not break with it. */
const passCut = (from, _request, to) => from.on('close', () => { if (!from.complete) to.destroy(); });
const destroy = (_error, _request, response) => response.destroy();

const proxies = {
  'http-proxy 1.18.1': (target) => {
    const proxy = httpProxy.createProxyServer({ target }).on('proxyRes', passCut).on('error', destroy);
    return (request, response) => proxy.web(request, response);
  },
  'http-proxy-3 1.23.3': (target) => {
    const proxy = httpProxy3.createProxyServer({ target }).on('proxyRes', passCut).on('error', destroy);
    return (request, response) => proxy.web(request, response);
  },
  'http-proxy-middleware 3.0.11': (target) => createProxyMiddleware({ target, on: { proxyRes: passCut, error: destroy } }),
  'httpxy 0.5.6': (target) => {
    const proxy = createProxyServer({ target }).on('error', destroy);
    return (request, response) => proxy.web(request, response).catch(() => {}); // told by the event
  },
};

describe('proxies', { concurrency: true }, () => {
  let gateway;
  before(async () => { gateway = await Gateway.start(); });
  after(() => gateway.stop());

  for (const [name, make] of Object.entries(proxies)) {
    for (const how of [FIN, RST]) {
      test(`${name}: cut by ${how}`, async (t) => {
        const cutter = await Proxy.start(gateway);
        t.after(() => cutter.close());
        const server = http.createServer(make(cutter.url)).listen(0, '127.0.0.1');
        await once(server, 'listening');
        t.after(() => { server.close(); server.closeAllConnections(); });

        const life = new Life(gateway);
        await life.submit();
        const journal = new Journal();
        t.after(client.follow(`http://127.0.0.1:${server.address().port}/v1/requests/${life.id}/events`, journal));
        await life.start();
        await journal.saw(life, 2);
        const cut = cutter.cutAt(inData(3), how);
        await life.progress();
        await cut;
        await life.progress();
        cutter.release();
        await journal.saw(life, 4);
        cutter.cutNow(how);
        await life.succeed();
        cutter.release();
        await journal.sawName('end');
        assert.deepEqual(journal.sequences(life.id), [1, 2, 3, 4, 5]);
        assert.deepEqual(journal.halves, []);
        await until(() => journal.over, () => `the end of the client: ${journal}`);
        assert.deepEqual(journal.over, { error: undefined, after: 'end' });
      });
    }
  }
});
