import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { createClient, HarkError, mayReconnect } from './hark.js';

// Nothing here sleeps: fakes stand in for the network, and `until` waits for a condition.

const turn = () => new Promise((resolve) => setTimeout(resolve));

async function until(condition, what) {
  const deadline = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`waited in vain for ${what ?? condition}`);
    await turn();
  }
}

const event = (n, status = 'processing', more = {}) => ({
  specversion: '1.0',
  id: `r1/${n}`,
  type: status === 'processing' ? 'request.progress' : `request.${status}`,
  data: { id: 'r1', status, sequence: n, ...more },
});

class FakeEventSource extends EventTarget {
  static made = [];
  readyState = 0;
  constructor(url) {
    super();
    this.url = url;
    FakeEventSource.made.push(this);
  }
  /** The head of the answer comes, and the first block. */
  open() { this.readyState = 1; this.onopen?.(); this.say('heartbeat', { interval: 25 }); }
  say(name, data) { this.dispatchEvent(Object.assign(new Event(name), { data: JSON.stringify(data) })); }
  send(e, offset) { this.onmessage?.({ data: JSON.stringify(e), lastEventId: String(offset) }); }
  end(offset) { this.say('end', { offset }); }
  fail(readyState) { this.readyState = readyState; this.onerror?.(); }
  close() { this.readyState = 2; this.closed = true; }
}

class FakeWebSocket {
  static made = [];
  readyState = 0;
  constructor(url, protocol) {
    Object.assign(this, { url, protocol, sent: [] });
    FakeWebSocket.made.push(this);
  }
  open() { this.readyState = 1; this.onopen?.(); }
  /** The channels that were asked for, each with the cursor. */
  get subscribed() { return this.sent.filter(({ op }) => op === 'subscribe').map(({ channel, after }) => [channel.replace('request:', ''), after]); }
  accept(id, offset = 0) { this.tell({ op: 'subscribed', channel: `request:${id}`, offset, recovered: true }); }
  event(id, e, offset) { this.tell({ op: 'event', channel: `request:${id}`, offset, event: e }); }
  tell(message) { this.onmessage?.({ data: JSON.stringify(message) }); }
  send(text) { this.sent.push(JSON.parse(text)); }
  lose(code) { this.readyState = 3; this.onclose?.({ code }); }
  close() { this.readyState = 3; this.closed = true; }
}

/** @type {{close(): void}[]} */
const open = [];
afterEach(() => { while (open.length) open.pop().close(); });

/** A client over fakes. `answer` answers HTTP calls, `config` is the client's. */
function world(answer = () => new Response('{}', { status: 404 }), config = {}) {
  FakeEventSource.made = [];
  FakeWebSocket.made = [];
  const calls = [];
  const client = createClient({
    base: 'http://hark.test',
    ...config,
    EventSource: FakeEventSource,
    WebSocket: FakeWebSocket,
    fetch: async (url, init = {}) => {
      init.signal?.throwIfAborted();
      calls.push({ url: url.replace('http://hark.test', ''), ...init });
      return answer(calls.at(-1), calls.length);
    },
  });
  const seen = { events: [], resets: [], states: [], end: null };
  const follow = (options, request = 'r1') => {
    const follower = client.follow(request, {
      backoff: { base: 1, max: 2 },
      onEvent: (e, offset) => seen.events.push(offset),
      onState: (state) => seen.states.push(`${state.transport} ${state.state}`),
      onEnd: (document, error) => (seen.end = { document, error }),
      ...options,
    });
    open.push(follower);
    return follower;
  };
  return { client, calls, seen, follow };
}

const json = (value, status = 200, headers = {}) => new Response(JSON.stringify(value), { status, headers: { 'Content-Type': 'application/json', ...headers } });
const problem = (status, type, headers) => json({ type: `/problems/${type}`, title: type, status }, status, headers);

test('submits JSON with its options', async () => {
  const { client, calls } = world(() => json({ id: 'r1' }, 202));
  assert.deepEqual(await client.submit({ a: 1 }, { route: 'sleep', priority: 0, topic: '', idempotencyKey: 'k' }), { id: 'r1' });
  const [call] = calls;
  assert.equal(call.method, 'POST');
  assert.equal(call.url, '/v1/requests');
  assert.deepEqual(JSON.parse(call.body), { content: { a: 1 }, route: 'sleep', priority: 0 });
  assert.equal(call.headers.Prefer, 'respond-async');
  assert.equal(call.headers['Idempotency-Key'], '"k"');
});

test('submits bytes as they are, with the options in the query', async () => {
  const { client, calls } = world(() => json({ id: 'r1' }, 202));
  const blob = new Blob(['x'], { type: 'image/png' });
  await client.submit(blob, { route: 'images', topic: 'a&b' });
  assert.equal(calls[0].url, '/v1/requests?route=images&topic=a%26b');
  assert.equal(calls[0].body, blob);
  assert.equal(calls[0].headers['Content-Type'], 'image/png');
});

test('submits a batch', async () => {
  const { client, calls } = world(() => json({ id: 'b1' }, 202));
  const requests = [{ content: 1, route: 'sleep' }, { content: null }];
  assert.deepEqual(await client.submitBatch(requests, { id: 'b1', idempotencyKey: 'k' }), { id: 'b1' });
  assert.equal(calls[0].url, '/v1/batches');
  assert.deepEqual(JSON.parse(calls[0].body), { id: 'b1', requests });
  assert.equal(calls[0].headers['Idempotency-Key'], '"k"');
});

test('repeats a submission with the same key when the gateway is busy', async () => {
  const { client, calls } = world((_, n) => (n === 1 ? problem(503, 'unavailable', { 'Retry-After': '0' }) : json({ id: 'r1' }, 202)));
  await client.submit(null);
  assert.equal(calls.length, 2);
  assert.equal(calls[0].headers['Idempotency-Key'], calls[1].headers['Idempotency-Key']);
});

test('throws problems, and does not repeat what would fail again', async () => {
  const { client, calls } = world(() => problem(422, 'invalid-request'));
  await assert.rejects(client.submit(1), (error) => error instanceof HarkError && error.status === 422 && error.type === '/problems/invalid-request');
  assert.equal(calls.length, 1);
});

test('reads the status of a request that has ended already', async () => {
  const { client } = world(({ url }) => (url === '/v1/requests' ? new Response('bytes', { headers: { 'Operation-Location': '/v1/requests/r1' } }) : json({ id: 'r1', status: 'succeeded' })));
  assert.equal((await client.submit(1)).status, 'succeeded');
});

test('a result is bytes, or nothing', async () => {
  const { client } = world(({ url }) => (url.includes('none') ? new Response(null, { status: 204 }) : new Response('bytes')));
  assert.equal(await (await client.result('r1')).text(), 'bytes');
  assert.equal(await client.result('none'), null);
});

test('list and cancel', async () => {
  const { client, calls } = world(() => json({ requests: [], next: null }));
  await client.list({ status: 'failed', cursor: undefined, limit: 5 });
  await client.cancel('a/b');
  assert.equal(calls[0].url, '/v1/requests?status=failed&limit=5');
  assert.equal(calls[1].url, '/v1/requests/a%2Fb/cancel');
});

test('SSE: tells each event once and ends', async () => {
  const { seen, follow } = world();
  follow();
  await until(() => FakeEventSource.made.length === 1);
  const [source] = FakeEventSource.made;
  assert.equal(source.url, 'http://hark.test/v1/requests/r1/events?heartbeat=event');
  source.open();
  for (const n of [1, 2, 2, 1, 3]) source.send(event(n), n);
  source.send(event(4, 'succeeded'), 4);
  assert.deepEqual(seen.events, [1, 2, 3, 4]);
  assert.equal(seen.end.document.status, 'succeeded');
  assert.ok(source.closed);
  assert.deepEqual(seen.states, ['sse connecting', 'sse open', 'sse ended']);
});

test('SSE: makes a new stream after every loss, and resumes', async () => {
  const { seen, follow } = world();
  const handle = follow();
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  FakeEventSource.made[0].send(event(1), 1);
  FakeEventSource.made[0].fail(0);
  assert.equal(seen.states.at(-1), 'sse waiting');
  assert.ok(FakeEventSource.made[0].closed);
  await until(() => FakeEventSource.made.length === 2);
  assert.match(FakeEventSource.made[1].url, /&after=1$/);
  FakeEventSource.made[1].open();
  FakeEventSource.made[1].send(event(2), 2);
  handle.cut();
  assert.ok(FakeEventSource.made[1].closed);
  await until(() => FakeEventSource.made.length === 3);
  assert.match(FakeEventSource.made[2].url, /&after=2$/);
  FakeEventSource.made[2].open();
  FakeEventSource.made[2].send(event(2), 2);
  FakeEventSource.made[2].send(event(3, 'failed'), 3);
  assert.deepEqual(seen.events, [1, 2, 3]);
  assert.equal(seen.end.document.status, 'failed');
});

test('SSE: names the life of a request whose id may be used again', async () => {
  const { seen, follow } = world();
  const handle = follow({ onReset: (e, offset) => seen.resets.push([e.data.life, offset]) });
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  FakeEventSource.made[0].send(event(1, 'processing', { life: '0123456789' }), '1-0123456789');
  FakeEventSource.made[0].send(event(2, 'processing', { life: '0123456789' }), '2-0123456789');
  assert.equal(handle.cursor, '2-0123456789');
  handle.cut();
  await until(() => FakeEventSource.made.length === 2);
  assert.match(FakeEventSource.made[1].url, /&after=2-0123456789$/);
  FakeEventSource.made[1].open();
  FakeEventSource.made[1].send({ ...event(1, 'processing', { life: 'abcdefghjk' }), type: 'request.reset' }, '1-abcdefghjk');
  FakeEventSource.made[1].send(event(2, 'succeeded', { life: 'abcdefghjk' }), '2-abcdefghjk');
  assert.deepEqual(seen.events, [1, 2, 2]);
  assert.deepEqual(seen.resets, [['abcdefghjk', 1]]);
  const again = follow({ after: handle.cursor });
  assert.equal(again.offset, 2);
  await until(() => FakeEventSource.made.length === 3);
  assert.match(FakeEventSource.made[2].url, /&after=2-abcdefghjk$/);
  again.close();
});

test('SSE: when it gives up on a request that has ended, that is the end', async () => {
  const { seen, follow } = world(() => json({ id: 'r1', status: 'canceled', sequence: 3 }));
  follow({ after: 3 });
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].fail(2); // 204
  await until(() => seen.end);
  assert.equal(seen.end.document.status, 'canceled');
});

test('SSE: when it gives up on a request that is gone, there is an error', async () => {
  const { seen, follow } = world(() => problem(404, 'request-not-found'));
  follow();
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].fail(2);
  await until(() => seen.end);
  assert.equal(seen.end.error.type, '/problems/request-not-found');
});

test('SSE: a gateway that is away is tried again, not given up', async () => {
  let up = false;
  const { seen, follow } = world(() => {
    if (!up) throw new TypeError('fetch failed');
    return json({ id: 'r1', status: 'succeeded', sequence: 0 });
  });
  follow();
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  FakeEventSource.made[0].fail(2);
  await until(() => FakeEventSource.made.length === 2);
  up = true;
  FakeEventSource.made[1].fail(2);
  await until(() => seen.end);
  assert.equal(seen.end.document.status, 'succeeded');
});

test('a reset is told even if its offset is not new, and goes to onEvent by default', async () => {
  for (const own of [true, false]) {
    const { seen, follow } = world();
    follow({ after: 9, ...(own && { onReset: (e, offset) => seen.resets.push(offset) }) });
    await until(() => FakeEventSource.made.length === 1);
    const [source] = FakeEventSource.made;
    source.open();
    source.send({ ...event(4), type: 'request.reset' }, 4);
    source.send(event(5), 5);
    assert.deepEqual(own ? [seen.resets, seen.events] : [[], seen.events], own ? [[4], [5]] : [[], [4, 5]]);
  }
});

test('WebSocket: subscribes, resumes after a loss and ends', async () => {
  const { seen, follow } = world();
  follow({ transport: 'websocket' });
  await until(() => FakeWebSocket.made.length === 1);
  const [first] = FakeWebSocket.made;
  assert.equal(first.url, 'ws://hark.test/v1/ws');
  assert.equal(first.protocol, 'hark.v1');
  first.open();
  assert.deepEqual(first.subscribed, [['r1', undefined]]);
  first.accept('r1', 1);
  first.event('r1', event(1), 1);
  first.lose(4000);
  await until(() => FakeWebSocket.made.length === 2);
  const [, second] = FakeWebSocket.made;
  second.open();
  assert.deepEqual(second.subscribed, [['r1', '1']]);
  second.accept('r1', 2);
  second.event('r1', event(1), 1);
  second.event('r1', event(2, 'expired'), 2);
  assert.deepEqual(seen.events, [1, 2]);
  assert.equal(seen.end.document.status, 'expired');
  assert.ok(second.closed);
});

test('WebSocket: falls back when it never opens, and when told not to reconnect', async () => {
  for (const lose of [(socket) => socket.lose(1006), (socket) => socket.lose(4501)]) {
    const { seen, follow } = world(() => json({ id: 'r1', status: 'processing' }));
    const handle = follow({ transport: 'websocket' });
    for (let lost = 0; handle.transport === 'websocket'; ) {
      await until(() => FakeWebSocket.made.length > lost || handle.transport !== 'websocket');
      while (lost < FakeWebSocket.made.length) lose(FakeWebSocket.made[lost++]);
    }
    assert.equal(handle.transport, 'sse');
    assert.equal(seen.end, null);
  }
});

test('what close codes ask', () => {
  for (const code of [1000, 1001, 1006, 1011, 1012, 1013, 4000, 4001, 4499]) assert.ok(mayReconnect(code), String(code));
  for (const code of [1008, 1009, 4500, 4501, 4999]) assert.ok(!mayReconnect(code), String(code));
});

test('polls when there is neither SSE nor WebSocket', async () => {
  const events = [event(1, 'accepted', { status: 'pending' }), event(2), event(3), event(4, 'succeeded')];
  let there = 2;
  const calls = [];
  const client = createClient({
    EventSource: undefined,
    WebSocket: undefined,
    fetch: async (url, init) => {
      calls.push([url, init.headers]);
      if (url.includes('/events')) {
        const after = Number(new URL(url, 'http://x').searchParams.get('after') ?? 0);
        return json({ events: events.slice(after, there), offset: there });
      }
      there = events.length; // something happened while it waited
      return json(events[there - 1].data);
    },
  });
  const seen = [];
  const end = await new Promise((resolve) => client.follow('r1', { onEvent: (e, offset) => seen.push(offset), onEnd: resolve }));
  assert.equal(end.status, 'succeeded');
  assert.deepEqual(seen, [1, 2, 3, 4]);
  const wait = calls.find(([, headers]) => headers.Prefer);
  assert.match(wait[1].Prefer, /^wait=\d+$/);
  assert.equal(wait[1]['If-None-Match'], 'W/"2"');
});

test('polling ends although the events are gone', async () => {
  const { seen, follow } = world(({ url }) => (url.includes('/events') ? json({ events: [], offset: 7 }) : json({ id: 'r1', status: 'succeeded', sequence: 7 })));
  follow({ transport: 'poll', after: 7 });
  await until(() => seen.end);
  assert.equal(seen.end.document.status, 'succeeded');
});

test('polling is told of events that are gone, as streams are', async () => {
  const w = world(({ url }) => {
    if (!url.includes('/events')) return json({ id: 'r1', status: 'processing', sequence: 9 });
    const after = Number(new URL(url, 'http://x').searchParams.get('after') ?? 0);
    if (after < 7) return json({ events: [event(8), event(9)], offset: 9, recovered: false, oldest: 8 });
    return json({ events: [event(10, 'succeeded')], offset: 10, recovered: true });
  });
  w.follow({ transport: 'poll', after: 3, onReset: (e, offset) => w.seen.resets.push([e.type, e.data.sequence, offset]) });
  await until(() => w.seen.end);
  assert.deepEqual(w.seen.resets, [['request.reset', 9, 9]]);
  assert.deepEqual(w.seen.events, [10]);

  // Nothing is lost for one who knows nothing yet.
  const fresh = world(() => json({ events: [event(8), event(9, 'failed')], offset: 9, recovered: false, oldest: 8 }));
  fresh.follow({ transport: 'poll' });
  await until(() => fresh.seen.end);
  assert.deepEqual(fresh.seen.events, [8, 9]);
});

test('polling survives an outage', async () => {
  const { seen, follow } = world((_, n) => (n < 4 ? problem(502, 'x') : json({ events: [event(1, 'canceled')], offset: 1 })));
  follow({ transport: 'poll' });
  await until(() => seen.end);
  assert.deepEqual(seen.events, [1]);
});

test('nothing is told after close', async () => {
  const { seen, follow } = world();
  const handle = follow();
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  handle.close();
  FakeEventSource.made[0].send(event(1), 1);
  handle.cut();
  await turn();
  assert.deepEqual(seen.events, []);
  assert.equal(FakeEventSource.made.length, 1);
});

const ticketed = (n) => ({
  id: 'r1', status: 'processing', sequence: 1,
  links: [
    { rel: 'self', href: '/v1/requests/r1', method: 'GET' },
    { rel: 'events', href: `/v1/requests/r1/events?ticket=t${n}`, method: 'GET' },
    { rel: 'socket', href: `/v1/ws?channel=request:r1&ticket=t${n}`, method: 'GET' },
  ],
});

test('a token goes with calls, and a ticket opens streams', async () => {
  let tickets = 0;
  let tokens = 0;
  const w = world(() => json(ticketed(++tickets)), { token: async () => `k${++tokens}` });
  await w.client.get('r1');
  assert.equal(w.calls[0].headers.Authorization, 'Bearer k1');
  const follower = w.follow();
  await until(() => FakeEventSource.made.length === 1, 'a stream');
  const [source] = FakeEventSource.made;
  assert.match(w.calls[1].url, /^\/v1\/requests\/r1\?ticket=true$/);
  assert.match(w.calls[1].headers.Authorization, /^Bearer k/);
  assert.equal(source.url, 'http://hark.test/v1/requests/r1/events?ticket=t2&heartbeat=event');
  source.open();
  source.send(event(1), 1);
  source.fail(2); // the ticket has expired meanwhile: the status is asked for, then there is a new one
  await until(() => FakeEventSource.made.length === 2, 'another stream');
  assert.match(FakeEventSource.made[1].url, /events\?ticket=t\d+&heartbeat=event&after=1$/);
  assert.notEqual(FakeEventSource.made[1].url.match(/t\d+/)[0], 't2');
  follower.close();
});

test('a WebSocket is told the token, not its URL, and comes back with another one when that has expired', async () => {
  let tokens = 0;
  const w = world(() => json({ id: 'r1', status: 'processing', sequence: 1 }), { token: () => `k${++tokens}` });
  w.follow({ transport: 'websocket' });
  for (let n = 0; n < 2; n++) {
    await until(() => FakeWebSocket.made.length === n + 1, 'a socket');
    const socket = FakeWebSocket.made[n];
    assert.equal(socket.url, 'ws://hark.test/v1/ws');
    socket.open();
    assert.deepEqual(socket.sent[0], { op: 'auth', token: n ? `k${tokens}` : 'k1' });
    assert.equal(socket.sent[1].op, 'subscribe');
    socket.accept('r1', 1);
    if (n === 0) socket.lose(4503);
  }
  assert.notEqual(FakeWebSocket.made[1].sent[0].token, 'k1');
  assert.ok(w.calls.every(({ url }) => !url.includes('ticket')));
});

test('a token that is not taken by WebSocket either ends the following', async () => {
  const w = world(() => json({ type: '/problems/unauthenticated' }, 401), { token: 'old' });
  w.follow({ transport: 'websocket' });
  await until(() => FakeWebSocket.made.length === 1, 'a socket');
  FakeWebSocket.made[0].open();
  FakeWebSocket.made[0].lose(4503);
  await until(() => w.seen.end, 'the end');
  assert.equal(w.seen.end.error.status, 401);
});

test('without a token no ticket is asked for, and one that is not taken ends the following', async () => {
  const open = world(undefined, { token: () => null });
  const follower = open.follow();
  await until(() => FakeEventSource.made.length === 1, 'a stream');
  assert.equal(open.calls.length, 0);
  follower.close();

  const refused = world(() => json({ type: '/problems/unauthenticated' }, 401), { headers: { authorization: 'Bearer old' } });
  refused.follow();
  await until(() => refused.seen.end, 'the end');
  assert.equal(refused.seen.end.error.status, 401);
  assert.equal(FakeEventSource.made.length, 0);
});

test('a follower that is closed while it waits for a ticket opens nothing', async () => {
  let give;
  const w = world(() => new Promise((resolve) => { give = () => resolve(json(ticketed(1))); }), { token: 'k' });
  const follower = w.follow();
  await until(() => give, 'the call for a ticket');
  follower.close();
  give();
  await turn();
  await turn();
  assert.equal(FakeEventSource.made.length, 0);
  assert.equal(w.seen.states.at(-1), 'sse closed');
});
