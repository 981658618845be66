import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { createClient, HarkError, mayReconnect } from './hark.js';

// Nothing here sleeps: fakes stand in for the network, and `until` waits for a condition.

const turn = () => new Promise((resolve) => setImmediate(resolve)); // not of the clock that tests set

async function until(condition, what) {
  const deadline = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > deadline) assert.fail(`waited in vain for ${what ?? condition}`);
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
  const fetch = async (url, init = {}) => {
    init.signal?.throwIfAborted();
    calls.push({ url: url.replace('http://hark.test', ''), ...init });
    return answer(calls.at(-1), calls.length);
  };
  const client = createClient({ base: 'http://hark.test', ...config, EventSource: FakeEventSource, WebSocket: FakeWebSocket, fetch });
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
  return { client, calls, seen, follow, fetch };
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
  const more = { onFailure: 'cancel', result: 'joined', then: { route: 'sum' } };
  await client.submitBatch(requests, more);
  assert.deepEqual(JSON.parse(calls[1].body), { ...more, requests });
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

test('reads it from the same gateway, whatever its public address is', async () => {
  const { client, calls } = world(({ url }) => (url === '/v1/requests' ? new Response('bytes', { headers: { 'Operation-Location': 'https://push.example/v1/requests/r1?expired=failed' } }) : json({ id: 'r1', status: 'failed' })));
  assert.equal((await client.submit(1)).status, 'failed');
  assert.equal(calls[1].url, '/v1/requests/r1?expired=failed');
});

test('reports what the function for the token throws while following, and asks it again', async () => {
  const reported = [];
  const before = globalThis.reportError;
  globalThis.reportError = (error) => reported.push(error.message);
  try {
    for (const transport of ['sse', 'websocket', 'poll']) {
      let asked = 0;
      const token = async () => { if (++asked > 6) return 'good'; throw new TypeError(`no token for ${transport}`); };
      const { seen, follow, client } = world(({ headers }) => (headers.Authorization === 'Bearer good' ? problem(404, 'request-not-found') : problem(401, 'unauthenticated')), { token });
      await assert.rejects(client.get('r1'), /no token/); // who calls gets it
      assert.deepEqual(reported, []);
      const follower = follow({ transport });
      await until(() => asked > 6);
      assert.deepEqual(reported.splice(0), Array(5).fill(`no token for ${transport}`));
      follower.close();
      assert.deepEqual(seen.states.filter((state) => !state.startsWith(transport)), [], 'no other transport, as it is no fault of this one');
    }
  } finally {
    globalThis.reportError = before;
  }
});

test('says of a token that cannot be sent why', async () => {
  const { client, calls } = world(() => json({ id: 'r1' }, 202), { token: 'abc\n' });
  await assert.rejects(client.submit(1), /no header may hold/);
  assert.equal(calls.length, 0);
});

test('a result is bytes, or nothing', async () => {
  const { client } = world(({ url }) => (url.includes('none') ? new Response(null, { status: 204 }) : new Response('bytes')));
  assert.equal(await (await client.result('r1')).text(), 'bytes');
  assert.equal(await client.result('none'), null);
});

test('answers', async () => {
  const { client, calls } = world(() => json({ id: 'a/b', status: 'pending' }));
  assert.equal((await client.answer('a/b', { width: 640 }, 'size')).status, 'pending');
  await client.answer('r1');
  assert.equal(calls[0].url, '/v1/requests/a%2Fb/input');
  assert.deepEqual(JSON.parse(calls[0].body), { answer: { width: 640 }, question: 'size' });
  assert.deepEqual(JSON.parse(calls[1].body), { answer: null });
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

/** A gateway that takes one token alone, and an application that knows another one first. */
const locked = (good, answer) => (call) => (call.headers.Authorization === `Bearer ${good}` ? answer(call) : problem(401, 'unauthenticated'));

test('a call whose token is refused is made once more with another one', async () => {
  const asked = [];
  const token = (refused) => {
    asked.push(refused);
    return refused ? 'new' : 'old';
  };
  const w = world(locked('new', () => json({ id: 'r1' }, 202)), { token });
  assert.deepEqual(await w.client.submit({ a: 1 }), { id: 'r1' });
  assert.deepEqual(asked, [undefined, 'old']);
  assert.deepEqual(w.calls.map(({ headers }) => headers.Authorization), ['Bearer old', 'Bearer new']);
  assert.deepEqual(w.calls.map(({ body }) => JSON.parse(body).content), [{ a: 1 }, { a: 1 }]);
  assert.equal(w.calls[0].headers['Idempotency-Key'], w.calls[1].headers['Idempotency-Key']);
});

test('it is given up if the other one is refused as well, or there is none', async () => {
  const cases = [
    ['fixed', 1, 0],
    [() => 'same', 1, 2],
    [(refused) => (refused ? null : 'old'), 1, 2],
    [(refused) => (refused ? 'other' : 'old'), 2, 2],
  ];
  for (const [token, calls, times] of cases) {
    let asked = 0;
    const counted = typeof token === 'string' ? token : (refused) => { asked++; return token(refused); };
    const w = world(locked('good', () => json({})), { token: counted });
    await assert.rejects(w.client.get('r1'), (error) => error instanceof HarkError && error.status === 401);
    assert.deepEqual([w.calls.length, asked], [calls, times], String(token));
    for (const transport of ['sse', 'poll']) {
      const before = w.calls.length;
      w.seen.end = null;
      w.follow({ transport });
      await until(() => w.seen.end, `the end of ${transport} with ${token}`);
      assert.equal(w.seen.end.error.status, 401);
      assert.equal(w.calls.length - before, calls);
    }
  }
});

for (const transport of ['sse', 'websocket', 'poll']) {
  test(`${transport}: a token that expires on its way is renewed, also if that takes a while`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
    let good = 'k1';
    let known = 'k1';
    let n = 1;
    let refusals = 0;
    const w = world((call) => locked(good, () => {
      if (call.headers.Prefer) return new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason)));
      if (call.url.includes('/events')) return json({ events: Array.from({ length: n }, (_, i) => event(i + 1)), offset: n, recovered: true });
      return json(ticketed(n));
    })(call), { token: (refused) => { if (refused) refusals++; return known; } });
    w.follow({ transport, backoff: undefined });
    const made = () => ({ sse: FakeEventSource, websocket: FakeWebSocket, poll: { made: w.calls } })[transport].made;
    /** Goes on until the newest connection works, as far as the gateway takes its token. */
    const connected = async (times, what) => {
      for (const before = performance.now(); w.seen.states.filter((state) => state === `${transport} open`).length < times; await turn()) {
        assert.ok(performance.now() - before < 5000, what);
        t.mock.timers.tick(50);
        const last = made().at(-1);
        if (transport === 'sse' && last?.readyState === 0) last.open();
        if (transport !== 'websocket' || last?.readyState !== 0) continue;
        last.open();
        if (last.sent[0].token === good) last.accept('r1', n);
        else last.lose(4503);
      }
    };
    await connected(1, 'the first connection');
    if (transport === 'sse') made()[0].send(event(1), 1);
    if (transport === 'websocket') made()[0].event('r1', event(1), 1);
    await until(() => w.seen.events.length === 1);
    // The clock of the application is ten seconds behind.
    good = 'k2';
    n = 2;
    if (transport === 'sse') made()[0].say('unauthenticated', {});
    if (transport === 'websocket') made()[0].lose(4503);
    for (let late = 0; late < 10_000; late += 100) {
      t.mock.timers.tick(100);
      for (let i = 0; i < 10; i++) await turn();
      if (transport === 'websocket' && made().at(-1).readyState === 0) {
        made().at(-1).open();
        made().at(-1).lose(4503);
      }
    }
    if (transport === 'poll') { // the one that waits is answered, and the next is refused
      t.mock.timers.tick(30_000);
      for (let late = 0; late < 10_000; late += 100) {
        t.mock.timers.tick(100);
        for (let i = 0; i < 10; i++) await turn();
      }
    }
    assert.equal(w.seen.end, null);
    assert.ok(refusals > 3, `${refusals} refusals`);
    known = 'k2';
    await connected(2, 'the second one');
    if (transport === 'sse') made().at(-1).send(event(2), 2);
    if (transport === 'websocket') made().at(-1).event('r1', event(2), 2);
    await until(() => w.seen.events.length === 2);
    assert.deepEqual(w.seen.events, [1, 2]);
    assert.deepEqual([...new Set(w.seen.states.map((state) => state.split(' ')[0]))], [transport]);
    // An application that never has another one is not waited for without end.
    good = 'k3';
    if (transport === 'sse') made().at(-1).say('unauthenticated', {});
    if (transport === 'websocket') made().at(-1).lose(4503);
    for (let waited = 0; !w.seen.end; waited += 500) {
      assert.ok(waited < 150_000, 'the end');
      t.mock.timers.tick(500);
      for (let i = 0; i < 10; i++) await turn();
      if (transport === 'websocket' && made().at(-1).readyState === 0) {
        made().at(-1).open();
        made().at(-1).lose(4503);
      }
    }
    assert.equal(w.seen.end.error.status, 401);
  });
}

test('who begins to follow with a token that has expired waits for another one with the transport that was chosen, but not without any', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  let good = 'k1';
  let known = 'k1';
  const w = world((call) => locked(good, () => json(ticketed(1)))(call), { token: () => known });
  await w.client.get('r1');
  good = 'k2';
  w.follow({ backoff: undefined });
  for (let late = 0; late < 20_000; late += 100) {
    t.mock.timers.tick(100);
    for (let i = 0; i < 10; i++) await turn();
  }
  assert.equal(w.seen.end, null);
  assert.deepEqual([FakeEventSource.made.length, FakeWebSocket.made.length], [0, 0]);
  known = undefined; // signed off
  t.mock.timers.tick(20_000);
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].fail(2);
  await until(() => w.seen.end);
  assert.equal(w.seen.end.error.status, 401);
});

test('SSE: a stream whose ticket holds no longer than its token is asked for again, not given up for another transport', async () => {
  let known = 'k1';
  const w = world(() => json(ticketed(1)), { token: () => known });
  w.follow();
  await until(() => FakeEventSource.made.length === 1);
  known = 'k2'; // meanwhile
  FakeEventSource.made[0].fail(2);
  await until(() => FakeEventSource.made.length === 2);
  assert.equal(FakeWebSocket.made.length, 0);
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

// What followers share.

/** Answers as a gateway does where `r1`, `r2`, … are under way and nothing new happens: a poll that waits is answered never. */
const quiet = (more = () => undefined) => (call) => {
  const special = more(call);
  if (special) return special;
  if (call.headers?.Prefer?.startsWith('wait')) return new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason)));
  if (call.url.includes('/events')) return json({ events: [event(1)], offset: 1, recovered: true });
  return json({ id: 'r1', status: 'processing', sequence: 1 });
};

test('eight followers have one stream and one WebSocket', async () => {
  const w = world(quiet());
  const states = new Map();
  const followers = Array.from({ length: 8 }, (_, i) => w.follow({ onState: ({ state, transport }) => states.set(i, `${transport} ${state}`) }, `r${i}`));
  await until(() => states.size === 8 && FakeEventSource.made.length === 1 && FakeWebSocket.made.length === 1);
  const [socket] = FakeWebSocket.made;
  socket.open();
  FakeEventSource.made[0].open();
  const asked = socket.subscribed.map(([id]) => id);
  assert.equal(asked.length, 7);
  for (const id of asked) socket.accept(id);
  await until(() => [...states.values()].every((state) => state.endsWith('open')));
  assert.equal(FakeEventSource.made.length + FakeWebSocket.made.length, 2);
  assert.equal(w.calls.length, 0);

  // Events go to whom they concern, and one that leaves takes nothing from the others.
  socket.event(asked[3], event(1), 1);
  assert.deepEqual(followers.map(({ offset }) => offset).filter(Boolean), [1]);
  followers.find(({ offset }) => offset === 1).close();
  assert.deepEqual(socket.sent.at(-1), { op: 'unsubscribe', channel: `request:${asked[3]}` });
  assert.ok(!socket.closed);
  for (const follower of followers) follower.close();
  assert.ok(socket.closed && FakeEventSource.made[0].closed);
});

test('where there is no WebSocket a few have streams, the others poll in turn, and never more than four connections are in use', async () => {
  const busy = new Set();
  let most = 0;
  const streams = () => FakeEventSource.made.filter(({ closed }) => !closed).length;
  const w = world(async (call) => {
    busy.add(call);
    most = Math.max(most, busy.size + streams());
    try {
      await turn();
      return await quiet()(call);
    } finally {
      busy.delete(call);
    }
  });
  const client = createClient({ base: 'http://hark.test', EventSource: FakeEventSource, WebSocket: undefined, fetch: w.fetch });
  const transports = new Map();
  for (let i = 0; i < 12; i++) open.push(client.follow(`r${i}`, { onState: ({ transport, state }) => state === 'open' && transports.set(i, transport) }));
  await until(() => {
    FakeEventSource.made.forEach((source) => source.readyState === 0 && source.open());
    return transports.size === 12;
  });
  const count = (name) => [...transports.values()].filter((each) => each === name).length;
  assert.deepEqual([count('sse'), count('poll')], [3, 9]);
  assert.ok(most <= 4, `${most} at once`);
  // One that ends makes room for a poll that waits.
  FakeEventSource.made[0].send(event(2, 'succeeded'), 2);
  await until(() => [...busy].some((call) => call.headers.Prefer), 'a poll that waits');
  assert.ok(most <= 4, `${most} at once`);
});

test('polls without a stream: three wait, the others are short and have pauses', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  let waiting = 0;
  let short = 0;
  const w = world(quiet((call) => {
    if (call.headers.Prefer) waiting++;
    else if (!call.url.includes('/events')) short++;
  }));
  for (let i = 0; i < 6; i++) w.follow({ transport: 'poll' }, `r${i}`);
  t.mock.timers.tick(1);
  await until(() => waiting === 3 && short === 3);
  for (let i = 0; i < 50; i++) await turn();
  assert.deepEqual([waiting, short], [3, 3]);
  for (const seen = short; short < seen + 3; await turn()) t.mock.timers.tick(100); // each comes again
  assert.equal(waiting, 3);
});

test('different tokens never share a WebSocket', async () => {
  const tokens = ['a', 'a', 'b', 'a'];
  const w = world(quiet(), { token: () => tokens.shift() });
  for (const id of ['r1', 'r2', 'r3', 'r1']) {
    w.follow({ transport: 'websocket' }, id);
    await until(() => tokens.length === 4 - open.length);
    await turn();
  }
  await until(() => FakeWebSocket.made.length === 2);
  for (const socket of FakeWebSocket.made) socket.open();
  assert.deepEqual(FakeWebSocket.made.map((socket) => [socket.sent[0].token, ...socket.subscribed.map(([id]) => id)]), [['a', 'r1', 'r2'], ['b', 'r3']]);
});

/** Followers of one request on one WebSocket, each with what it was told. */
function crowd(w) {
  const all = [];
  const add = (options) => {
    const each = { offsets: [], resets: [], end: null };
    all.push(each);
    each.handle = w.follow({
      transport: 'websocket',
      onEvent: (_, offset) => each.offsets.push(offset),
      onReset: (_, offset) => each.resets.push(offset),
      onState: ({ state }) => { each.state = state; },
      onEnd: (document, error) => { each.end = document?.status ?? error; },
      ...options,
    });
    return each;
  };
  return { all, add };
}

test('followers of one request share its channel, and each is told what it does not know', async () => {
  let there = 3;
  let answer = () => {};
  const w = world(async ({ url }) => {
    const after = Number(new URL(url, 'http://x').searchParams.get('after') ?? 0);
    const events = Array.from({ length: there - after }, (_, i) => event(after + i + 1));
    await new Promise((resolve) => { answer = resolve; });
    return json({ events, offset: there, recovered: true });
  });
  const { add } = crowd(w);
  const [first, twin, other] = [add(), add(), add({ after: 2 })];
  await until(() => FakeWebSocket.made.length === 1);
  const [socket] = FakeWebSocket.made;
  await until(() => [first, twin, other].every((f) => f.state === 'connecting'));
  socket.open();
  assert.deepEqual(socket.subscribed, [['r1', undefined]]);
  socket.accept('r1', 3);
  assert.deepEqual([first.state, twin.state, other.state], ['open', 'open', 'connecting']);
  socket.event('r1', event(1), 1);
  // What comes live waits until what stands before it has been read.
  await until(() => w.calls.length === 1);
  assert.equal(w.calls[0].url, '/v1/requests/r1/events?after=2');
  for (const n of [2, 3, 4]) socket.event('r1', event(n), n);
  assert.deepEqual([first.offsets, twin.offsets, other.offsets], [[1, 2, 3, 4], [1, 2, 3, 4], []]);
  answer();
  await until(() => other.state === 'open');
  assert.deepEqual(other.offsets, [3, 4]);

  // One that joins what runs already does so, too.
  there = 4;
  const late = add();
  await until(() => w.calls.length === 2);
  socket.event('r1', event(5), 5);
  answer();
  await until(() => late.state === 'open');
  assert.deepEqual(late.offsets, [1, 2, 3, 4, 5]);

  // One that leaves takes nothing from the others.
  const asked = socket.sent.length;
  first.handle.close();
  twin.handle.close();
  assert.equal(socket.sent.length, asked);
  socket.event('r1', event(6, 'succeeded'), 6);
  assert.deepEqual([first.end, other.end, late.end], [null, 'succeeded', 'succeeded']);
  assert.deepEqual(first.offsets, [1, 2, 3, 4, 5]);
  assert.ok(socket.closed);
  assert.equal(FakeWebSocket.made.length, 1);
});

test('who shares a channel is told of no reset of what it has read since, and comes back if it cannot read', async () => {
  let answer;
  let fails = 1;
  const w = world(async ({ url }) => {
    if (!url.includes('/events')) return json({ id: 'r1', status: 'processing', sequence: 8 });
    await new Promise((resolve) => { answer = resolve; });
    if (fails-- > 0) throw new TypeError('fetch failed');
    return json({ events: [event(7), event(8)], offset: 8, recovered: true });
  });
  const { add } = crowd(w);
  const first = add();
  await until(() => FakeWebSocket.made.length === 1);
  const [socket] = FakeWebSocket.made;
  socket.open();
  socket.accept('r1', 6);
  const late = add({ after: 6 });
  await until(() => answer);
  answer();
  await until(() => late.state === 'waiting');
  assert.ok(!socket.closed);
  answer = undefined;
  await until(() => answer);
  socket.event('r1', { ...event(7), type: 'request.reset' }, 7);
  socket.event('r1', event(8), 8);
  socket.event('r1', event(9), 9);
  answer();
  await until(() => late.state === 'open');
  assert.deepEqual([first.resets, first.offsets], [[7], [8, 9]]);
  assert.deepEqual([late.resets, late.offsets], [[], [7, 8, 9]]);
});

test('what a follower does when it is told takes nothing from others of its channel, and tells nobody who has left', async () => {
  const w = world(quiet());
  const { add } = crowd(w);
  const states = [];
  let cut;
  const first = add({ onEvent: () => cut.handle.cut() });
  cut = add({ onState: ({ state }) => states.push(state) });
  await until(() => FakeWebSocket.made.length === 1);
  await turn();
  FakeWebSocket.made[0].open();
  FakeWebSocket.made[0].accept('r1', 1);
  FakeWebSocket.made[0].event('r1', event(1), 1);
  assert.deepEqual(states, ['connecting', 'open', 'waiting']);
  await until(() => cut.offsets.length === 1); // by itself
  assert.equal(first.end, null);
});

test('WebSocket: what comes before a subscription is confirmed belongs to the one before it', async () => {
  const w = world(quiet());
  const stays = w.follow({ transport: 'websocket' }, 'r2');
  const follower = w.follow({ transport: 'websocket' });
  await until(() => FakeWebSocket.made.length === 1);
  const [socket] = FakeWebSocket.made;
  socket.open();
  await until(() => socket.subscribed.length === 2);
  socket.accept('r1');
  socket.event('r1', event(1), 1);
  follower.cut();
  socket.event('r1', event(2), 2); // nobody takes it
  await until(() => socket.subscribed.length === 3);
  socket.event('r1', event(3), 3); // taken, it would hide that 2 is missing
  socket.tell({ op: 'unsubscribed', channel: 'request:r1' });
  socket.accept('r1', 3);
  for (const n of [2, 3, 4]) socket.event('r1', event(n), n);
  assert.deepEqual(w.seen.events, [1, 2, 3, 4]);
  assert.equal(stays.offset, 0);
});

test('WebSocket: a channel that is refused concerns its follower alone', async () => {
  const w = world(({ url }) => (url.includes('r2') ? problem(404, 'request-not-found') : json({ id: 'r1', status: 'processing' })));
  w.follow({ transport: 'websocket', onEnd: () => assert.fail('it goes on') });
  let end;
  w.follow({ transport: 'websocket', onEnd: (_, error) => (end = error) }, 'r2');
  await until(() => FakeWebSocket.made.length === 1);
  const [socket] = FakeWebSocket.made;
  socket.open();
  await until(() => socket.subscribed.length === 2);
  socket.accept('r1');
  socket.tell({ op: 'error', channel: 'request:r2', problem: { type: '/problems/request-not-found', status: 404 } });
  await until(() => end);
  assert.equal(end.status, 404);
  assert.ok(!socket.closed);
});

test('a ticket in the links is used as it is, and the newest event tells the status', async () => {
  const answer = ({ url }) => {
    if (!url.includes('/events')) return json({ type: '/problems/unauthenticated' }, 401);
    const after = Number(new URL(url, 'http://x').searchParams.get('after') ?? 0);
    const all = [event(1), event(2), event(3, 'succeeded')];
    return json({ events: all.slice(after), offset: 3, recovered: true });
  };
  const w = world(answer);
  w.follow({ transport: 'websocket', after: 1 }, ticketed(7));
  await until(() => FakeWebSocket.made.length === 1);
  assert.equal(FakeWebSocket.made[0].url, 'ws://hark.test/v1/ws?channel=request:r1&ticket=t7&after=1');
  FakeWebSocket.made[0].open();
  FakeWebSocket.made[0].lose(4503);
  await until(() => w.seen.end, 'the end');
  assert.deepEqual(w.seen.events, [2, 3]);
  assert.equal(w.seen.end.document.status, 'succeeded');
  assert.deepEqual(FakeWebSocket.made[0].sent.filter(({ op }) => op !== 'ping'), []);
});

// Silence.

test('SSE: a stream that falls silent is made again within three heartbeats, and one that is heard is not', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const w = world(quiet());
  w.follow();
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1);
  const [source] = FakeEventSource.made;
  source.open();
  source.say('heartbeat', { interval: 4 });
  for (let seconds = 0; seconds < 60; seconds += 4) {
    t.mock.timers.tick(4000);
    source.say('heartbeat', { interval: 4 });
  }
  for (let n = 2; n < 10; n++) { // events are signs of life, too
    t.mock.timers.tick(8000);
    source.send(event(n), n);
  }
  assert.ok(!source.closed);
  t.mock.timers.tick(8000);
  assert.ok(!source.closed);
  t.mock.timers.tick(4000);
  t.mock.timers.tick(100);
  assert.ok(source.closed);
  assert.equal(w.seen.states.at(-1), 'sse waiting');
  t.mock.timers.tick(10);
  await until(() => FakeEventSource.made.length === 2);
  assert.match(FakeEventSource.made[1].url, /&after=9$/);
});

test('SSE: after a sleep, in which no timer runs, a stream is made again at once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const w = world(quiet());
  w.follow();
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  const { now } = Date;
  t.mock.method(Date, 'now', () => now() + 3_600_000);
  t.mock.timers.tick(12_500); // of the time that the machine was awake
  assert.ok(!FakeEventSource.made[0].closed); // what has come meanwhile may stand behind the timer
  t.mock.timers.tick(100);
  assert.ok(FakeEventSource.made[0].closed);
});

test('WebSocket: a connection that answers no ping is made again, and one that does is not', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const w = world(quiet());
  w.follow({ transport: 'websocket' });
  t.mock.timers.tick(1);
  await until(() => FakeWebSocket.made.length === 1);
  const [socket] = FakeWebSocket.made;
  const pings = () => socket.sent.filter(({ op }) => op === 'ping').length;
  socket.open();
  socket.accept('r1');
  assert.equal(pings(), 1);
  socket.tell({ op: 'pong', interval: 4 });
  for (let n = 2; n < 12; n++) {
    t.mock.timers.tick(4000);
    assert.equal(pings(), n);
    socket.tell({ op: 'pong', interval: 4 });
  }
  t.mock.timers.tick(4000);
  t.mock.timers.tick(6000);
  assert.ok(!socket.closed);
  t.mock.timers.tick(100);
  assert.ok(socket.closed);
  t.mock.timers.tick(10);
  await until(() => FakeWebSocket.made.length === 2);
});

test('an answer that is held back, whole or behind its head, is a failure of the transport', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  for (const head of [false, true]) {
    const w = world(quiet());
    w.follow();
    t.mock.timers.tick(1);
    await until(() => FakeEventSource.made.length === 1);
    if (head) FakeEventSource.made[0].onopen?.();
    t.mock.timers.tick(9_998);
    assert.ok(!FakeEventSource.made[0].closed);
    t.mock.timers.tick(2);
    assert.ok(FakeEventSource.made[0].closed);
    t.mock.timers.tick(1);
    await until(() => FakeWebSocket.made.length === 1);
    FakeWebSocket.made[0].open(); // and says nothing
    t.mock.timers.tick(10_000);
    assert.ok(FakeWebSocket.made[0].closed);
    t.mock.timers.tick(1);
    await until(() => w.seen.states.includes('poll open'));
    assert.deepEqual(w.seen.states.filter((state) => state.endsWith('open')), ['poll open']);
    open.pop().close();
  }
});

test('how long a connection may take is an option, and others do not try what did not work', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const w = world(quiet());
  w.follow({ openTimeout: 300 });
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1);
  t.mock.timers.tick(300);
  t.mock.timers.tick(1);
  await until(() => FakeWebSocket.made.length === 1);
  FakeWebSocket.made[0].open();
  FakeWebSocket.made[0].accept('r1');
  w.follow({}, 'r2');
  t.mock.timers.tick(1);
  await until(() => FakeWebSocket.made[0].subscribed.length === 2);
  assert.equal(FakeEventSource.made.length, 1);
});

test('when nothing works at all, the first transport has its turn again', async () => {
  const w = world(() => { throw new TypeError('fetch failed'); });
  const handle = w.follow();
  const used = new Set();
  for (let seen = 0, sockets = 0; FakeEventSource.made.length < 4; await turn()) {
    used.add(handle.transport);
    while (seen < FakeEventSource.made.length) FakeEventSource.made[seen++].fail(0);
    while (sockets < FakeWebSocket.made.length) FakeWebSocket.made[sockets++].lose(1006);
  }
  assert.deepEqual([...used], ['sse', 'websocket', 'poll']);
  FakeEventSource.made.at(-1).open();
  assert.equal(w.seen.states.at(-1), 'sse open');
});

test('a poll that is never answered is given up', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  let hang = true;
  const w = world((call) => (hang ? new Promise(() => {}) : quiet()(call)));
  w.follow({ transport: 'poll' });
  t.mock.timers.tick(1);
  await until(() => w.calls.length === 1);
  t.mock.timers.tick(20_000);
  await until(() => w.seen.states.at(-1) === 'poll waiting');
  assert.ok(w.calls[0].signal.aborted);
  hang = false;
  t.mock.timers.tick(10);
  await until(() => w.seen.states.at(-1) === 'poll open');
});

// Coming back.

/** Pauses as told to one follower, of attempts that all fail by `fail`, until it has `n` of them. */
async function pauses(t, w, n, options = {}, begin = () => {}) {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  t.mock.method(Math, 'random', () => 1); // the longest that jitter makes
  const delays = [];
  w.follow({ backoff: undefined, transport: 'sse', onState: ({ state, delay }) => state === 'waiting' && delays.push(Math.round(delay)), ...options });
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  begin(FakeEventSource.made[0]);
  while (delays.length < n) {
    const made = FakeEventSource.made.length;
    FakeEventSource.made[made - 1].fail(0);
    if (delays.length < n) {
      t.mock.timers.tick(delays.at(-1));
      await until(() => FakeEventSource.made.length > made);
    }
  }
  return delays;
}

test('pauses grow to five seconds, to what the gateway says as its pace, or to what the options say', async (t) => {
  const cases = [
    [{}, undefined, [500, 1000, 2000, 4000, 5000, 5000]],
    [{}, { interval: 25, retry: 2400 }, [500, 1000, 2000, 3200, 3200, 3200]],
    [{}, { interval: 25, retry: 100 }, [500, 1000, 1000, 1000, 1000, 1000]],
    [{}, { interval: 25, retry: 600_000 }, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]],
    [{ backoff: { base: 100, max: 700 } }, { interval: 25, retry: 2400 }, [100, 200, 400, 700, 700, 700]],
    [{ backoff: { max: 60_000 } }, undefined, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000]],
  ];
  for (const [options, sign, want] of cases) {
    const w = world(quiet());
    assert.deepEqual(await pauses(t, w, want.length, options, (source) => sign && source.say('heartbeat', sign)), want, JSON.stringify([options, sign]));
    open.pop().close();
    t.mock.reset();
    t.mock.timers.reset();
  }
});

test('one that gets through wakes the others, whatever their transport, but not who was asked to wait', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  let up = true;
  const w = world((call) => {
    if (!up) throw new TypeError('fetch failed');
    return call.url.includes('/busy') ? problem(503, 'unavailable', { 'Retry-After': '60' }) : quiet()(call);
  });
  const states = {};
  const follow = (name, transport, more) =>
    w.follow({ transport, backoff: { base: 200_000, max: 200_000 }, onState: ({ state }) => { states[name] = state; }, ...more }, name);
  const sse = () => FakeEventSource.made.at(-1);
  const socket = () => FakeWebSocket.made.at(-1);
  follow('sse', 'sse', { backoff: { base: 500, max: 500 } });
  follow('socket', 'websocket');
  follow('poll', 'poll');
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1 && FakeWebSocket.made.length === 1 && states.poll === 'open');
  sse().open();
  socket().open();
  socket().accept('socket');
  follow('busy', 'poll', { backoff: { base: 1, max: 1 } });
  t.mock.timers.tick(1);
  await until(() => states.busy === 'waiting');
  up = false;
  sse().fail(0);
  socket().lose(1006);
  t.mock.timers.tick(30_000); // the poll that waits is given up
  await until(() => states.poll === 'waiting');
  await until(() => FakeEventSource.made.length === 2);
  up = true;
  assert.deepEqual([states.socket, FakeWebSocket.made.length], ['waiting', 1]);
  sse().open();
  t.mock.timers.tick(300);
  await until(() => FakeWebSocket.made.length === 2 && states.poll === 'open');
  const asked = () => w.calls.filter(({ url }) => url.includes('/busy')).length;
  assert.equal(asked(), 1);
  t.mock.timers.tick(30_000);
  await until(() => asked() === 2); // when its time has come
});

test('an attempt that hangs is begun again when another one got through, once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const w = world(quiet());
  w.follow({ transport: 'sse', openTimeout: 60_000 }, 'r1');
  w.follow({ transport: 'websocket', backoff: { base: 1, max: 1 } }, 'r2');
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1 && FakeWebSocket.made.length === 1);
  FakeEventSource.made[0].open();
  const through = async (n) => {
    FakeWebSocket.made[n].open();
    FakeWebSocket.made[n].accept('r2');
    FakeWebSocket.made[n].lose(1006);
    t.mock.timers.tick(2);
    await until(() => FakeWebSocket.made.length === n + 2);
  };
  await through(0);
  FakeEventSource.made[0].fail(0);
  t.mock.timers.tick(2);
  await until(() => FakeEventSource.made.length === 2); // which is never answered
  await through(1);
  assert.ok(!FakeEventSource.made[1].closed);
  t.mock.timers.tick(2000);
  assert.ok(FakeEventSource.made[1].closed);
  t.mock.timers.tick(300);
  await until(() => FakeEventSource.made.length === 3);
  await through(2);
  t.mock.timers.tick(2000);
  assert.ok(!FakeEventSource.made[2].closed);
});

test('WebSocket: after failures a call is answered before another one is begun, one for all', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  let up = false;
  const w = world((call) => {
    if (!up) throw new TypeError('fetch failed');
    return quiet()(call);
  });
  for (const id of ['r1', 'r2']) w.follow({ transport: 'websocket' }, id);
  t.mock.timers.tick(1);
  await until(() => FakeWebSocket.made.length === 1);
  FakeWebSocket.made[0].open();
  for (const id of ['r1', 'r2']) FakeWebSocket.made[0].accept(id);
  FakeWebSocket.made[0].lose(1006);
  t.mock.timers.tick(2);
  await until(() => FakeWebSocket.made.length === 2);
  FakeWebSocket.made[1].lose(1006);
  while (w.calls.length < 6) { // tries
    t.mock.timers.tick(2);
    await turn();
  }
  assert.equal(FakeWebSocket.made.length, 2);
  up = true;
  while (FakeWebSocket.made.length < 3) {
    t.mock.timers.tick(2);
    await turn();
  }
  FakeWebSocket.made[2].open();
  await until(() => FakeWebSocket.made[2].subscribed.length === 2);
});

test('polling notices silence within two and a half heartbeats, as soon as it is known how long those are', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const w = world(quiet());
  const states = {};
  w.follow({ transport: 'sse' });
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  FakeEventSource.made[0].say('heartbeat', { interval: 4, retry: 1000 });
  w.follow({ transport: 'poll', onState: ({ state }) => { states.poll = state; } }, 'r2');
  t.mock.timers.tick(1);
  const waiting = () => w.calls.find(({ headers }) => headers.Prefer);
  await until(waiting);
  assert.equal(waiting().headers.Prefer, 'wait=4');
  t.mock.timers.tick(9_999);
  await turn();
  assert.equal(states.poll, 'open');
  t.mock.timers.tick(1);
  await until(() => states.poll === 'waiting');
});

test('a page that nobody sees waits longer, and connects when it is looked at', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  t.mock.method(Math, 'random', () => 1);
  const document = Object.assign(new EventTarget(), { visibilityState: 'hidden' });
  Object.assign(globalThis, { document, addEventListener: () => {} });
  t.after(() => { for (const name of ['document', 'addEventListener']) delete globalThis[name]; });
  const page = await import('./hark.js?page');
  const delays = [];
  FakeEventSource.made = [];
  const client = page.createClient({ base: 'http://hark.test', EventSource: FakeEventSource, WebSocket: undefined, fetch: world(quiet()).fetch });
  open.push(client.follow('r1', { onState: ({ state, delay }) => state === 'waiting' && delays.push(delay) }));
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  for (let n = 1; n < 8; n++) {
    FakeEventSource.made[n - 1].fail(0);
    t.mock.timers.tick(delays.at(-1));
    await until(() => FakeEventSource.made.length === n + 1);
  }
  assert.deepEqual(delays, [500, 1000, 2000, 4000, 8000, 16_000, 20_000]);
  FakeEventSource.made.at(-1).fail(0);
  document.visibilityState = 'visible';
  document.dispatchEvent(new Event('visibilitychange'));
  t.mock.timers.tick(300);
  await until(() => FakeEventSource.made.length === 9);
  FakeEventSource.made.at(-1).fail(0);
  assert.equal(delays.at(-1), 500);
});

test('the worker of all tabs goes by whether a page is seen, and asks it for another token with the one that was refused', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  t.mock.method(Math, 'random', () => 1);
  FakeEventSource.made = [];
  FakeWebSocket.made = [];
  let good = 'k1';
  const own = {
    SharedWorkerGlobalScope: class { static [Symbol.hasInstance]() { return true; } },
    name: 'hark-2', addEventListener: () => {}, EventSource: FakeEventSource, WebSocket: FakeWebSocket,
    fetch: async (_, { headers }) => (headers.Authorization === `Bearer ${good}` ? json(ticketed(1)) : problem(401, 'unauthenticated')),
  };
  const before = Object.fromEntries(Object.keys(own).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
  Object.assign(globalThis, own);
  t.after(() => {
    for (const [name, descriptor] of Object.entries(before)) descriptor ? Object.defineProperty(globalThis, name, descriptor) : delete globalThis[name];
    delete globalThis.onconnect;
  });
  await import('./hark.js?worker');
  const visit = () => {
    const port = { said: [], postMessage: (message) => port.said.push(message), close: () => {} };
    globalThis.onconnect({ ports: [port] });
    port.tell = (data) => port.onmessage({ data });
    return port;
  };
  const at = { offset: 0, sequence: 0 };
  const follow = (port, config, transport = 'sse') =>
    port.tell({ op: 'follow', id: 1, client: 0, config: { base: 'http://hark.test', ...config }, target: { self: '/v1/requests/r1', events: '/v1/requests/r1/events', socket: '/v1/ws?channel=request:r1' }, options: { transport }, at: { ...at } });

  const hidden = visit();
  hidden.tell({ op: 'seen', seen: false });
  follow(hidden, {});
  t.mock.timers.tick(1);
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  const delays = () => hidden.said.filter(({ state }) => state === 'waiting').map(({ more }) => more.delay);
  for (let n = 1; n < 8; n++) {
    FakeEventSource.made[n - 1].fail(0);
    t.mock.timers.tick(delays().at(-1));
    await until(() => FakeEventSource.made.length === n + 1);
  }
  assert.equal(delays().at(-1), 20_000);
  FakeEventSource.made.at(-1).fail(0);
  hidden.tell({ op: 'seen', seen: true });
  t.mock.timers.tick(300);
  await until(() => FakeEventSource.made.length === 9);
  hidden.tell({ op: 'bye' });

  // Two pages with the same token, of which one has to ask for it.
  const [asked, fixed] = [visit(), visit()];
  good = 'k2';
  follow(asked, { keyed: true }, 'sse');
  t.mock.timers.tick(1);
  const question = (n) => asked.said.filter(({ op }) => op === 'token')[n];
  const answers = ['k1', 'k1', 'k2'];
  for (const [n, token] of answers.entries()) { // for the transport, for the ticket, and once more
    await until(() => question(n));
    assert.equal(question(n).refused, n === 2 ? 'k1' : undefined);
    asked.tell({ op: 'token', ask: question(n).ask, token });
  }
  await until(() => FakeEventSource.made.length === 10);
  asked.tell({ op: 'stop', id: 1 });
  follow(asked, { keyed: true }, 'websocket');
  follow(fixed, { token: 'k2' }, 'websocket');
  t.mock.timers.tick(1);
  await until(() => question(3));
  asked.tell({ op: 'token', ask: question(3).ask, token: 'k2' });
  await until(() => FakeWebSocket.made.length === 1);
  for (let i = 0; i < 10; i++) await turn();
  const [socket] = FakeWebSocket.made;
  socket.open();
  assert.deepEqual(socket.sent.filter(({ op }) => op !== 'ping'), [{ op: 'auth', token: 'k2' }, { op: 'subscribe', channel: 'request:r1' }]);
  socket.accept('r1', 1);
  socket.event('r1', event(1), 1);
  for (const port of [asked, fixed]) assert.equal(port.said.filter(({ op }) => op === 'event').length, 1);
  for (const port of [asked, fixed]) port.tell({ op: 'bye' });
  assert.ok(socket.closed);
});

// The end.

/** A gateway whose request has ended with event 23. `fails` says how often the events cannot be had. */
const ended = (fails) => (call) => {
  if (!call.url.includes('/events')) return json({ id: 'r1', status: 'succeeded', sequence: 23 });
  if (fails-- > 0) return problem(503, 'unavailable');
  const after = Number(new URL(call.url, 'http://x').searchParams.get('after') ?? 0);
  const events = Array.from({ length: 23 - after }, (_, i) => event(after + i + 1, after + i + 1 === 23 ? 'succeeded' : 'processing'));
  return json({ events, offset: 23, recovered: true });
};

test('what is missing is fetched before the end is told', async () => {
  for (const fails of [0, 1, 3]) {
    const w = world(ended(fails));
    w.follow({ after: 9, onReset: () => assert.fail('nothing is lost') });
    await until(() => FakeEventSource.made.length === 1);
    FakeEventSource.made[0].open();
    for (const n of [10, 11, 12, 13, 14]) FakeEventSource.made[0].send(event(n), n);
    for (let refused = 0; !w.seen.end; await turn()) {
      while (refused < FakeEventSource.made.length) FakeEventSource.made[refused++].fail(2); // 503
    }
    assert.deepEqual(w.seen.events, Array.from({ length: 14 }, (_, i) => i + 10), `with ${fails} failures`);
    assert.equal(w.seen.end.document.status, 'succeeded');
    assert.equal(w.seen.end.error, undefined);
  }
});

test('if it cannot be had at all, a reset says so, and the end is told', async () => {
  const w = world(ended(Infinity));
  w.follow({ after: 9, onReset: (e, offset) => w.seen.resets.push(offset) });
  for (let refused = 0; !w.seen.end; await turn()) {
    while (refused < FakeEventSource.made.length) FakeEventSource.made[refused++].fail(2);
    for (const socket of FakeWebSocket.made) if (socket.readyState === 0) socket.lose(1006);
  }
  assert.deepEqual([w.seen.events, w.seen.resets], [[], [23]]);
  assert.equal(w.seen.end.document.status, 'succeeded');
});

test('what the application throws is reported, and events and the end come all the same', async (t) => {
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => { delete globalThis.reportError; });
  for (const transport of ['sse', 'websocket', 'poll']) {
    const w = world(({ url }) => {
      if (!url.includes('/events')) return json({ id: 'r1', status: 'processing', sequence: 3 });
      return json({ events: [event(1), event(2), event(3, 'succeeded')], offset: 3, recovered: true });
    });
    reported.length = 0;
    w.follow({
      transport,
      onState: () => { throw new Error('state'); },
      onEvent: (_, offset) => { w.seen.events.push(offset); throw new Error(`event ${offset}`); },
      onEnd: (document) => { w.seen.end = { document }; throw new Error('end'); },
    });
    const made = () => (transport === 'sse' ? FakeEventSource.made[0] : FakeWebSocket.made[0]);
    if (transport !== 'poll') {
      await until(made);
      made().open();
      if (transport === 'websocket') made().accept('r1');
      for (const [n, status] of [[1], [2], [3, 'succeeded']]) {
        if (transport === 'sse') made().send(event(n, status), n);
        else made().event('r1', event(n, status), n);
      }
    }
    await until(() => w.seen.end);
    await turn();
    assert.deepEqual(w.seen.events, [1, 2, 3], transport);
    assert.deepEqual(reported.filter((message) => message !== 'state'), ['event 1', 'event 2', 'event 3', 'end'], transport);
    assert.equal(w.calls.length, transport === 'poll' ? 1 : 0, transport);
  }
});

test('SSE: comes back when the gateway says, without counting that as a failure', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  for (const name of ['busy', 'restart', 'unavailable']) {
    const w = world(quiet());
    w.follow();
    t.mock.timers.tick(1);
    for (let n = 1; n < 6; n++) {
      await until(() => FakeEventSource.made.length === n);
      FakeEventSource.made[n - 1].say(name, { retry: 7000 });
      assert.ok(FakeEventSource.made[n - 1].closed);
      t.mock.timers.tick(6999);
      await turn();
      assert.equal(FakeEventSource.made.length, n, name);
      t.mock.timers.tick(1);
    }
    assert.equal(FakeWebSocket.made.length, 0);
    open.pop().close();
  }
});

test('SSE: a token that ends is renewed without asking with the old ticket', async () => {
  let tickets = 0;
  const w = world(() => json(ticketed(++tickets)), { token: 'k' });
  w.follow();
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  FakeEventSource.made[0].send(event(1), 1);
  FakeEventSource.made[0].say('unauthenticated', { detail: 'The token has expired, or was revoked.' });
  assert.ok(FakeEventSource.made[0].closed);
  await until(() => FakeEventSource.made.length === 2);
  assert.notEqual(FakeEventSource.made[1].url.match(/t\d+/)[0], FakeEventSource.made[0].url.match(/t\d+/)[0]);
});

test('what was changed on the way is a lost connection, not an event', async () => {
  const w = world(quiet());
  w.follow();
  await until(() => FakeEventSource.made.length === 1);
  FakeEventSource.made[0].open();
  FakeEventSource.made[0].onmessage({ data: '{"type":"request.pro', lastEventId: '1' });
  await until(() => FakeEventSource.made.length === 2);
  assert.deepEqual(w.seen.events, []);
});

test('a cursor that is none is refused at once, with what it should be', () => {
  const { client } = world();
  for (const after of ['x', -1, NaN, 1.5, {}]) assert.throws(() => client.follow('r1', { after }), /must be an offset, or the cursor of a follower/);
});

test('SSE: a stream that is ended again and again, as by a service worker, comes back without growing pauses', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const w = world(quiet());
  w.follow({ backoff: { base: 100, max: 20_000 } });
  t.mock.timers.tick(1);
  for (let n = 1; n < 8; n++) {
    await until(() => FakeEventSource.made.length === n);
    FakeEventSource.made[n - 1].open();
    t.mock.timers.tick(30_000);
    FakeEventSource.made[n - 1].fail(2);
    await until(() => w.seen.states.at(-1) === 'sse waiting');
    t.mock.timers.tick(100);
  }
});

// ---- Thin form ------------------------------------------------------------------------------------------------------------

const AT = (second) => `2026-01-02T03:04:0${second}.000Z`;
const THIN = [
  { type: 'request.accepted', topic: 't', time: AT(1), position: 2, route: 'images' },
  { type: 'request.started', time: AT(2) },
  { type: 'request.progress', percent: 40, step: 'resizing', message: 'half' },
  { type: 'request.waiting', time: AT(3), question: { name: 'go', message: 'on?', expiresAt: AT(9) } },
  { type: 'request.answered', time: AT(4) },
  { type: 'request.started', time: AT(5), percent: 40, step: 'resizing', message: 'half' },
  { type: 'request.progress', percent: 50 },
  { type: 'request.succeeded', time: AT(6), result: { type: 'application/json', size: 11 } },
];
const STATUSES = ['pending', 'processing', 'processing', 'waiting', 'pending', 'processing', 'processing', 'succeeded'];

/** What a follower is told of those over a transport, of which `send` sends one. */
async function thinly(transport, send, answer, request = 'r1', more = {}) {
  const w = world(answer);
  const told = [];
  w.follow({ transport, form: 'thin', onEvent: (e) => told.push(e), ...more }, request);
  await send(w, told);
  await until(() => w.seen.end, 'the end');
  return { told, end: w.seen.end, calls: w.calls };
}

const overStream = async (w, told, life = '') => {
  await until(() => FakeEventSource.made.length === 1);
  const [source] = FakeEventSource.made;
  source.open();
  for (const [i, e] of THIN.entries()) source.send(e, `${i + 1}${life && `-${life}`}`);
};

function checkThin(told, life) {
  const id = (n) => (life ? `r1/${life}/${n}` : `r1/${n}`);
  assert.deepEqual(told.map((e) => e.data.status), STATUSES);
  assert.deepEqual(told.map((e) => e.id), THIN.map((_, i) => id(i + 1)));
  assert.deepEqual(told.map((e) => e.data.sequence), THIN.map((_, i) => i + 1));
  assert.deepEqual(told.map((e) => e.data.attempt), [0, 1, 1, 1, 1, 1, 1, 1]);
  assert.deepEqual(told.map((e) => e.data.percent), [null, null, 40, 40, 40, 40, 50, 100]);
  assert.deepEqual(told.map((e) => e.data.step), [null, null, 'resizing', 'resizing', 'resizing', 'resizing', null, null]);
  assert.deepEqual(told.map((e) => e.data.updatedAt), [1, 2, 2, 3, 4, 5, 5, 6].map(AT));
  for (const e of told) {
    assert.deepEqual([e.specversion, e.source, e.subject, e.data.id, e.data.life, e.data.route, e.data.topic, e.data.createdAt], ['1.0', '/v1/requests/r1', 't', 'r1', life, 'images', 't', AT(1)]);
  }
  assert.deepEqual(told[3].data.question, THIN[3].question);
  assert.equal(told[4].data.question, undefined);
  assert.ok(told[3].data.links.some(({ rel, href, method }) => rel === 'input' && href === '/v1/requests/r1/input' && method === 'POST'));
  assert.deepEqual(told[0].data.links.map(({ rel }) => rel), ['self', 'result', 'events', 'socket', 'cancel']);
  assert.deepEqual(told[7].data.links.map(({ rel }) => rel), ['self', 'result', 'events', 'socket']);
  assert.deepEqual(told[7].data.result, { type: 'application/json', size: 11, href: '/v1/requests/r1/result' });
  assert.deepEqual([told[7].data.startedAt, told[7].data.endedAt, told[6].data.endedAt], [AT(2), AT(6), null]);
}

test('thin form: events are whole again, over a stream', async () => {
  for (const life of [undefined, 'k3m9p2q4rz']) {
    const { told, end } = await thinly('sse', (w, told) => overStream(w, told, life));
    assert.match(FakeEventSource.made[0].url, /events\?heartbeat=event&form=thin$/);
    checkThin(told, life);
    assert.equal(end.document, told[7].data);
  }
});

test('thin form: … over a WebSocket, which those in full form do not share', async () => {
  for (const life of [undefined, 'k3m9p2q4rz']) {
    const { told } = await thinly('websocket', async (w) => {
      w.follow({ transport: 'websocket' }, 'r2');
      await until(() => FakeWebSocket.made.length === 2);
      const socket = FakeWebSocket.made.find(({ url }) => url.includes('form=thin'));
      assert.equal(FakeWebSocket.made.filter(({ url }) => url === 'ws://hark.test/v1/ws').length, 1);
      assert.equal(socket.url, 'ws://hark.test/v1/ws?form=thin');
      socket.open();
      socket.tell({ op: 'subscribed', channel: 'request:r1', ...(life && { life }), offset: 0, recovered: true });
      THIN.forEach((e, i) => socket.tell({ op: 'event', channel: 'request:r1', offset: i + 1, ...e }));
    });
    checkThin(told, life);
  }
});

test('thin form: … and from the history, polled', async () => {
  const { told, calls } = await thinly('poll', async () => {}, ({ url }) =>
    (url.includes('/events') ? json({ events: THIN, offset: 8, cursor: '8-k3m9p2q4rz', recovered: true }) : json({ id: 'r1', status: 'succeeded', sequence: 8 })));
  checkThin(told, 'k3m9p2q4rz');
  assert.equal(calls[0].url, '/v1/requests/r1/events?form=thin');
});

test('thin form: who comes back goes on with what was known, and a document says what was before', async () => {
  const known = { id: 'r1', status: 'pending', route: 'images', topic: 't', createdAt: AT(1), expiresAt: AT(8), sequence: 1, links: [{ rel: 'self', href: '/v1/requests/r1' }, { rel: 'events', href: '/v1/requests/r1/events' }, { rel: 'socket', href: '/v1/ws?channel=request:r1' }] };
  const { told } = await thinly('sse', async (w, told) => {
    await until(() => FakeEventSource.made.length === 1);
    FakeEventSource.made[0].open();
    for (const n of [2, 3]) FakeEventSource.made[0].send(THIN[n - 1], n);
    await until(() => told.length === 2);
    FakeEventSource.made[0].fail(0);
    await until(() => FakeEventSource.made.length === 2);
    assert.match(FakeEventSource.made[1].url, /after=3&form=thin$/);
    FakeEventSource.made[1].open();
    FakeEventSource.made[1].send({ type: 'request.failed', time: AT(7), attempt: 2, error: { code: 'c', message: 'm' } }, 4);
  }, undefined, known, { after: 1 });
  assert.deepEqual(told.map((e) => [e.data.route, e.data.topic, e.data.createdAt, e.data.step]), [['images', 't', AT(1), null], ['images', 't', AT(1), 'resizing'], ['images', 't', AT(1), 'resizing']]);
  assert.equal(told[1].data.expiresAt, AT(8));
  assert.deepEqual([told[2].data.status, told[2].data.attempt, told[2].data.error], ['failed', 2, { detail: null, code: 'c', message: 'm' }]);
});

test('thin form: a reset says all, and full events are told as they are', async () => {
  const resets = [];
  const { told } = await thinly('sse', async () => {
    await until(() => FakeEventSource.made.length === 1);
    const [source] = FakeEventSource.made;
    source.open();
    source.send(THIN[2], 3);
    source.send({ type: 'request.reset', topic: 't', time: AT(7), status: 'processing', attempt: 3, percent: 70, route: 'images', createdAt: AT(1), startedAt: AT(2) }, 2);
    await until(() => resets.length === 1);
    source.send(event(4, 'succeeded', { attempt: 3 }), 4);
  }, undefined, 'r1', { onReset: (e) => resets.push(e) });
  const { data } = resets[0];
  assert.deepEqual([data.status, data.attempt, data.percent, data.step, data.route, data.createdAt, data.startedAt, data.sequence], ['processing', 3, 70, null, 'images', AT(1), AT(2), 2]);
  assert.deepEqual(told.at(-1), event(4, 'succeeded', { attempt: 3 }));
});

test('thin form: a batch says how far it is to its end, and what is redriven begins anew', async () => {
  const batch = (failed) => ({ batch: { total: 2, succeeded: 1, failed } });
  const { told } = await thinly('sse', async () => {
    await until(() => FakeEventSource.made.length === 1);
    const [source] = FakeEventSource.made;
    source.open();
    source.send({ type: 'request.accepted', time: AT(1), ...batch(0) }, 1);
    source.send({ type: 'request.progress', percent: 50, ...batch(0) }, 2);
    source.send({ type: 'request.failed', time: AT(3), percent: 100, error: { code: 'c', message: 'm' }, ...batch(1) }, 3);
  });
  assert.deepEqual(told.map((e) => e.data.percent), [null, 50, 100]);

  const known = { id: 'r1', status: 'failed', route: 'images', createdAt: AT(1), startedAt: AT(2), endedAt: AT(3), expiresAt: AT(9), sequence: 3, links: [{ rel: 'self', href: '/v1/requests/r1' }, { rel: 'events', href: '/v1/requests/r1/events' }, { rel: 'socket', href: '/v1/ws?channel=request:r1' }] };
  const again = await thinly('sse', async () => {
    await until(() => FakeEventSource.made.length === 1);
    const [source] = FakeEventSource.made;
    source.open();
    source.send({ type: 'request.redriven', time: AT(4), redriven: 1 }, 4);
    source.send({ type: 'request.started', time: AT(5), attempt: 2 }, 5);
    source.send({ type: 'request.waiting', time: AT(6), attempt: 2, question: { name: 'q', message: 'm', expiresAt: AT(8) } }, 6);
    source.send({ type: 'request.succeeded', time: AT(7), attempt: 2, result: { type: 'text/plain', size: 1 } }, 7);
  }, undefined, known, { after: 3 });
  assert.deepEqual(again.told.map((e) => [e.data.startedAt, e.data.expiresAt]), [[null, null], [AT(5), null], [AT(5), AT(8)], [AT(5), null]]);
});

test('thin form: an unknown form is refused at once', () => {
  assert.throws(() => world().follow({ form: 'thick' }), /form is thick: it must be 'full' or 'thin'/);
});
