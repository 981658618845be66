// Clients that poll, by others, against a gateway that knows its address: pollers of long-running operations to each of the ends that a request
// can have, and HTTP clients where they need to be told something. docs/pollers.md tells it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createHttpPoller } from '@azure/core-lro';
import axios from 'axios';
import got from 'got';
import ky from 'ky';
import { Gateway, Life, Proxy, program, until } from '../harness.mjs';
import { Page, here } from './serve.mjs';

const page = await Page.read('pollers.md');

// Its address is that of a proxy, so that whoever makes an address up is noticed.
const proxy = await Proxy.start();
const gateway = await Gateway.start({ args: [`--public-url=${proxy.url}`] });
proxy.gateway = gateway;
/** One that knows no address of its own. */
const plain = await Gateway.start();
after(async () => {
  proxy.close();
  await Promise.all([gateway.stop(), plain.stop()]);
});

/** Polls a submission with azcore. The promise is of what it printed. Both give up when they have seen three times that it has expired. */
async function azcore(url, body) {
  const child = spawn(program('HARK_RECEIVERS'), ['poll', url], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(body));
  let out = '';
  child.stdout.on('data', (b) => { out += b; });
  assert.deepEqual(await once(child, 'close'), [0, null]);
  return JSON.parse(out);
}

/** Polls a submission with @azure/core-lro, as clients do that are made with it: over a client that makes addresses of paths. */
async function coreLro(url, body) {
  const polls = [];
  const stop = new AbortController();
  const answered = async (address, init) => {
    const response = await fetch(new URL(address, url), init);
    const text = await response.json();
    if (!init.method) polls.push(text.status);
    if (polls.filter((status) => status === 'expired').length === 3) stop.abort();
    const { status: statusCode, headers } = response;
    const request = { method: init.method ?? 'GET', url: address };
    return { flatResponse: text, rawResponse: { request, statusCode, headers: Object.fromEntries(headers), body: text } };
  };
  const poller = createHttpPoller({
    sendInitialRequest: () => answered(url, {
      method: 'POST', headers: { 'content-type': 'application/json', prefer: 'respond-async' }, body: JSON.stringify(body),
    }),
    sendPollRequest: (path) => answered(path, {}),
  }, { intervalInMs: 1000 });
  try {
    return { value: await poller.pollUntilDone({ abortSignal: stop.signal }), polls };
  } catch (error) {
    if (error.name === 'AbortError') return { bounded: true, polls };
    const [, code] = /^The long-running operation has failed\. ([^.]*)\./.exec(error.message) ?? [];
    return { code, error: error.message, polls };
  }
}

/** Waits until the gateway knows a request that another one is to submit. */
async function exists(life) {
  let asking;
  let known = false;
  await until(() => {
    asking ??= fetch(`${life.gateway.url}/v1/requests/${life.id}`).then((a) => { known = a.ok; }, () => {}).finally(() => { asking = undefined; });
    return known;
  }, `the request ${life.id}`);
}

/** Waits until a client of the proxy's was told that there is no result yet. */
const toldToWait = (life) => until(
  () => proxy.connections.some((c) => c.asked.includes(`/${life.id}/result`) && c.answered.includes('HTTP/1.1 404 ')), 'the first answer',
);

for (const [name, poll] of [['azcore', azcore], ['core-lro', coreLro]]) {
  describe(name, { concurrency: true }, () => {
    /** Has it submit and poll a request, whose life is led meanwhile. */
    async function followed(lead, { on = gateway, query = '', ...more } = {}) {
      const life = new Life(on, more);
      const polling = poll(`${on === gateway ? proxy.url : on.url}/v1/requests${query}`, { id: life.id, content: 1, ...more });
      await exists(life);
      await lead(life);
      return { life, ...await polling };
    }

    test('to a success', async () => {
      const seen = await followed(async (life) => {
        await life.start();
        await life.progress();
        await life.succeed();
      });
      assert.equal(seen.value.status, 'succeeded');
      assert.deepEqual(seen.value.result.value, { ok: true });
      assert.equal(seen.polls.at(-1), 'succeeded');
      // It went to the address that it was given.
      const asked = proxy.connections.map((c) => c.asked).join('');
      assert.ok(asked.includes(`GET /v1/requests/${seen.life.id} `), 'it did not ask at the public address');
    });

    test('to a failure', async () => {
      const seen = await followed(async (life) => {
        await life.start();
        await gateway.call('PUT', `/v1/work/${life.id}/error`, { attempt: life.attempt, code: 'no-space', message: 'The disk is full.' });
      });
      assert.equal(seen.code, 'no-space', JSON.stringify(seen));
    });

    test('to a cancellation', async () => {
      const seen = await followed((life) => gateway.call('POST', `/v1/requests/${life.id}/cancel`));
      assert.equal(seen.polls.at(-1), 'canceled');
      assert.equal(seen.value, undefined);
      if (poll === coreLro) assert.equal(seen.error, 'Operation was canceled');
    });

    test('to the end of its time, if it asked for expired=failed', async () => {
      const seen = await followed(() => {}, { query: page.quote('?expired=failed'), timeout: '1s' });
      assert.equal(seen.code, 'expired', JSON.stringify(seen));
    });

    test('and else beyond it, for ever', async () => {
      const seen = await followed(() => {}, { timeout: '1s' });
      assert.equal(seen.bounded, true, JSON.stringify(seen));
      assert.equal(seen.polls.filter((status) => status === 'expired').length, 3);
    });

    test('from paths', async () => {
      if (poll === azcore) {
        const { refused } = await followed(() => {}, { on: plain });
        assert.ok(refused.startsWith('invalid Operation-Location URL /v1/requests/'), refused);
        page.quote('`invalid Operation-Location URL /v1/requests/…`');
        return;
      }
      const seen = await followed(async (life) => {
        await life.start();
        await life.succeed();
      }, { on: plain });
      assert.equal(seen.value.status, 'succeeded');
    });
  });
}

/** How each client makes a call, and what it says of the answer: { status, body, headers }, or { error }. */
const clients = {
  axios: {
    call: (method, url, { body, headers, timeout } = {}) => axios.request({ method, url, data: body, headers, timeout })
      .then((a) => ({ status: a.status, body: a.data, headers: a.headers }), (e) => ({ error: e.code, status: e.response?.status })),
    unmodified: { error: 'ERR_BAD_RESPONSE', status: 304 },
    mended: async (url, headers) => (await axios.get(url, { headers, validateStatus: (status) => status < 400 })).status,
    remedy: '`validateStatus: (status) => status < 400`',
  },
  got: {
    call: (method, url, { body, headers, timeout } = {}) => got(url, { method, json: body, headers, timeout: { request: timeout }, retry: { limit: 0 } })
      .then((a) => ({ status: a.statusCode, body: a.body && JSON.parse(a.body), headers: a.headers }))
      .catch((e) => ({ error: e.code, status: e.response?.statusCode })),
    unmodified: { status: 304, body: '' },
    patient: 'retry: { limit: 20, statusCodes: [404] }',
    result: (url) => got(url, { retry: { limit: 20, statusCodes: [404] } }).json(),
  },
  ky: {
    call: (method, url, { body, headers, timeout } = {}) => ky(url, { method, json: body, headers, timeout, retry: 0 })
      .then(async (a) => ({ status: a.status, body: await a.json(), headers: Object.fromEntries(a.headers) }))
      .catch((e) => ({ error: e.name, status: e.response?.status })),
    unmodified: { error: 'HTTPError', status: 304 },
    mended: async (url, headers) => (await ky(url, { headers, throwHttpErrors: false })).status,
    remedy: '`throwHttpErrors: false`',
    patient: 'retry: { limit: 20, statusCodes: [404], afterStatusCodes: [404] }',
    result: (url) => ky(url, { retry: { limit: 20, statusCodes: [404], afterStatusCodes: [404] } }).json(),
  },
};

for (const [name, client] of Object.entries(clients)) {
  describe(name, { concurrency: true }, () => {
    test('gives up waiting, repeats the call with its key, and has the links', async () => {
      const life = new Life(gateway);
      const url = `${proxy.url}/v1/requests`;
      const call = { body: { id: life.id, content: 1 }, headers: { 'idempotency-key': life.id } };
      const first = await client.call('post', url, { ...call, timeout: 2000 });
      assert.ok(first.error && !first.status, JSON.stringify(first));
      await exists(life);
      const again = await client.call('post', url, { ...call, headers: { ...call.headers, prefer: 'respond-async' } });
      assert.equal(again.status, 202, JSON.stringify(again));
      assert.equal(again.headers['idempotency-replayed'], 'true');
      assert.equal(again.headers.location, `${proxy.url}/v1/requests/${life.id}`);
      await life.start();
      await life.succeed();
      const { body } = await client.call('get', again.headers.location);
      assert.equal(body.status, 'succeeded');
    });

    test('is told that nothing has changed', async () => {
      const life = new Life(gateway);
      await life.submit();
      const url = `${proxy.url}/v1/requests/${life.id}`;
      const { headers: { etag } } = await client.call('get', url);
      const { headers, ...seen } = await client.call('get', url, { headers: { 'if-none-match': etag, prefer: 'wait=1' } });
      assert.deepEqual(seen, client.unmodified);
      if (client.mended) {
        page.quote(client.remedy);
        assert.equal(await client.mended(url, { 'if-none-match': etag }), 304);
      }
    });

    if (client.result) {
      test('waits for the result, if it is told to', async () => {
        page.quote(client.patient);
        const life = new Life(gateway);
        await life.submit();
        const result = client.result(`${proxy.url}/v1/requests/${life.id}/result`);
        await toldToWait(life);
        await life.start();
        await life.succeed();
        assert.deepEqual(await result, { ok: true });
      });
    }
  });
}

describe('curl', { concurrency: true }, () => {
  async function curl(...args) {
    const child = spawn('curl', ['--silent', '--show-error', '--max-time', '60', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (b) => { said += b; });
    const [code] = await once(child, 'close');
    return { code, said };
  }

  test('is told that nothing has changed', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'hark-curl-'));
    t.after(() => rm(folder, { recursive: true }));
    const life = new Life(gateway);
    await life.submit();
    const tagged = page.quote('--etag-save tag --etag-compare tag').split(' ').map((word) => (word === 'tag' ? join(folder, word) : word));
    const ask = () => curl(...tagged, '--write-out', ' %{http_code}', `${proxy.url}/v1/requests/${life.id}`);
    const first = await ask();
    assert.ok(first.code === 0 && first.said.endsWith(' 200'), first.said);
    assert.deepEqual(await ask(), { code: 0, said: ' 304' });
    await life.start();
    const next = await ask();
    assert.ok(next.said.includes('"status":"processing"') && next.said.endsWith(' 200'), next.said);
  });

  test('waits for the result, if it is told to', async () => {
    const life = new Life(gateway);
    await life.submit();
    const result = curl(...page.quote('--retry 9 --retry-all-errors --fail').split(' '), `${proxy.url}/v1/requests/${life.id}/result`);
    await toldToWait(life);
    await life.start();
    await life.succeed();
    const { code, said } = await result;
    assert.equal(code, 0, said);
    assert.ok(said.endsWith('{"ok":true}'), said);
  });
});

test('the page says which versions these are', async () => {
  const { dependencies } = JSON.parse(await readFile(join(here, 'package.json'), 'utf8'));
  for (const library of ['@azure/core-lro', 'axios', 'got', 'ky']) page.quote(`| ${library} ${dependencies[library]} (npm) |`);
  page.quote(`| Go azcore ${/sdk\/azcore v([0-9.]+)/.exec(await readFile(join(here, 'go', 'go.mod'), 'utf8'))[1]}, `);
});
