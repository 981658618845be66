// What the tests of this room stand on: gateways as processes, a proxy that cuts, requests whose life the test drives, and
// the journal of what one client saw of it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** The longest that anything is waited for. It is never reached unless something is wrong, or the machine very busy. */
const PATIENCE = Number(process.env.HARK_PATIENCE ?? 60_000);

/** How long a client is watched that is to do nothing: several times as long as the gateway tells clients to wait. */
export const WATCHED = 1_500;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves as soon as condition() holds. `what` is a text, or makes one of how far it came. */
export async function until(condition, what) {
  const deadline = Date.now() + PATIENCE;
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`waited in vain for ${typeof what === 'function' ? what() : what}`);
    await pause(5);
  }
}

/** The path of a program that the tests are given. */
export function program(variable) {
  const path = process.env[variable];
  if (!path) throw new Error(`${variable} is not set: run this with \`make test-clients\`, which builds the programs`);
  return path;
}

/** A gateway of its own process. Without `data` it has a folder that goes with it. `headers` go with each call of the tests, and
 * `listen` is where it is to be, if not at any port. */
export class Gateway {
  static async start({ data, args = [], headers, listen = '127.0.0.1:0' } = {}) {
    const gateway = new Gateway();
    gateway.headers = headers;
    gateway.temporary = data ? undefined : await mkdtemp(join(tmpdir(), 'hark-clients-'));
    gateway.child = spawn(program('HARK_GATEWAY'), [
      `--listen=${listen}`, `--data=${data ?? gateway.temporary}`, '--routes=default', '--samples=false',
      '--retry=100ms', '--drain=100ms', '--heartbeat=5m', '--log-level=warn', ...args,
    ], { stdio: ['ignore', 'pipe', 'pipe'] });
    gateway.said = '';
    gateway.child.stderr.on('data', (b) => { gateway.said += b; });
    gateway.ended = once(gateway.child, 'close');
    let out = '';
    for await (const chunk of gateway.child.stdout) {
      out += chunk;
      const url = /http:\/\/([0-9.]+):([0-9]+)/.exec(out);
      if (url) {
        [gateway.url, gateway.host, gateway.port] = [url[0], url[1], Number(url[2])];
        gateway.child.stdout.resume();
        return gateway;
      }
    }
    throw new Error(`the gateway has ended without a word of where it listens: ${gateway.said}`);
  }

  /** Has it drain, and waits for its end. */
  async stop() {
    this.child.kill('SIGTERM');
    const [code, signal] = await this.ended;
    if (this.temporary) await rm(this.temporary, { recursive: true, force: true });
    assert.deepEqual([code, signal], [0, null], `the gateway did not end well: ${this.said}`);
    assert.doesNotMatch(this.said, /DATA RACE|^panic:/m);
  }

  /** Ends it at once, as a crash would. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  async call(method, path, body) {
    const response = await fetch(this.url + path, {
      method,
      headers: { 'content-type': 'application/json', prefer: 'respond-async', ...this.headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }
}

let requests = 0;

/** The life of a request. Each of its steps makes one event; `sequence` is that of the last one. */
export class Life {
  constructor(gateway, more = {}) {
    this.gateway = gateway;
    this.more = more;
    this.id = `life-${process.pid}-${++requests}`;
    this.sequence = 0;
  }

  async submit() {
    await this.gateway.call('POST', '/v1/requests', { id: this.id, content: {}, ...this.more });
    return ++this.sequence;
  }

  async start() {
    ({ attempt: this.attempt } = await this.gateway.call('POST', `/v1/work/${this.id}/start`));
    return ++this.sequence;
  }

  async progress() {
    const step = `step ${this.sequence}`;
    await this.gateway.call('POST', `/v1/work/${this.id}/progress`, { attempt: this.attempt, step, percent: this.sequence, message: 'x'.repeat(200) });
    return ++this.sequence;
  }

  async succeed() {
    await this.gateway.call('PUT', `/v1/work/${this.id}/result?attempt=${this.attempt}`, { ok: true });
    return ++this.sequence;
  }

  /** As a processor does that was told to cancel. */
  async giveUp() {
    await this.gateway.call('PUT', `/v1/work/${this.id}/error`, { attempt: this.attempt, code: 'gave-up', message: 'It was to be canceled.' });
    return ++this.sequence;
  }
}

/** A way to end a connection: FIN tells the client that nothing follows, RST that the connection is broken. */
export const FIN = 'FIN';
export const RST = 'RST';

/** A request for events. It may stand right behind the body of another one. */
const ASKED = /GET \/\S*\/events/;

/**
 * A TCP proxy in front of one gateway, for one client. `connections` are all that it was asked for, in order, each with the
 * text of what was `asked` and `answered`, when it came for events, and when it was told something last.
 */
export class Proxy {
  connections = [];
  #open = new Set();
  #rules = [];
  #held; // connections that wait, while it holds them

  static async start(gateway) {
    const proxy = new Proxy();
    proxy.gateway = gateway; // undefined: nothing is there, and who asks for events is reset
    proxy.server = net.createServer((client) => proxy.#take(client));
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    proxy.port = proxy.server.address().port;
    proxy.url = `http://127.0.0.1:${proxy.port}`;
    return proxy;
  }

  #take(client) {
    const connection = { client, asked: '', answered: '', came: undefined, told: undefined };
    this.connections.push(connection);
    client.on('error', () => {});
    client.on('data', (b) => {
      connection.asked += b;
      if (ASKED.test(connection.asked)) connection.came ??= Date.now();
      if (connection.server) connection.server.write(b);
      else if (!connection.held) this.#connect(connection);
    });
    client.on('close', () => {
      connection.server?.destroy();
      this.#open.delete(connection);
    });
    this.#open.add(connection);
    connection.held = this.#held !== undefined;
    if (connection.held) this.#held.push(connection);
    else this.#connect(connection);
  }

  #connect(connection) {
    const { client } = connection;
    if (client.destroyed) return;
    if (!this.gateway) {
      if (connection.came) client.resetAndDestroy(); // else as soon as it has asked
      return;
    }
    const server = net.connect(this.gateway.port, this.gateway.host);
    connection.server = server;
    server.write(connection.asked);
    server.on('data', (b) => this.#pass(connection, b));
    server.on('end', () => { if (!connection.cut) client.end(); });
    server.on('error', () => { if (!connection.cut) client.resetAndDestroy(); });
  }

  #pass(connection, bytes) {
    if (connection.cut) return;
    const before = connection.answered.length;
    connection.told = Date.now();
    connection.answered += bytes.toString('latin1');
    const rule = this.#rules[0];
    const at = rule ? rule.where(connection.answered) : -1;
    if (at < 0) {
      connection.client.write(bytes);
      return;
    }
    this.#rules.shift();
    connection.answered = connection.answered.slice(0, at);
    const last = bytes.subarray(0, Math.max(0, at - before));
    if (rule.how) {
      this.hold();
      this.#cut(connection, rule.how, last);
    } else {
      connection.cut = true; // the rest is swallowed
      connection.client.write(last);
    }
    rule.cut = true;
  }

  #cut(connection, how, last = Buffer.alloc(0)) {
    connection.cut = true;
    connection.server?.destroy();
    connection.client.write(last, () => {
      if (how === FIN) connection.client.end();
      else connection.client.resetAndDestroy();
    });
  }

  /** The connections by which the client has asked for events, in that order. A page has others, too. */
  get streams() { return this.connections.filter((c) => c.came).sort((a, b) => a.came - b.came); }

  /** How many times the client has asked for events, also by one connection. */
  get asked() { return this.streams.reduce((n, c) => n + c.asked.match(new RegExp(ASKED, 'g')).length, 0); }

  /** Whether the client was answered with an HTTP status. */
  answered(status) { return this.connections.some((c) => c.answered.includes(`HTTP/1.1 ${status} `)); }

  /**
   * Cuts the next connection whose answer gets so far that where(answer) is the number of bytes that may pass. Who
   * comes back then waits until `release`. The promise resolves at the cut. Without `how` the connection stays there, and nothing more passes.
   */
  cutAt(where, how) {
    const rule = { where, how, cut: false };
    this.#rules.push(rule);
    const cut = until(() => rule.cut, () => `a cut in what was answered: ${this.connections.at(-1)?.answered}`);
    cut.catch(() => {}); // a test that fails before it waits for this has said why
    return cut;
  }

  /** Cuts every connection that is open, and lets who comes back wait until `release`. */
  cutNow(how) {
    this.hold();
    for (const connection of this.#open) if (connection.server) this.#cut(connection, how);
  }

  hold() { this.#held ??= []; }

  release() {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const connection of held) {
      connection.held = false;
      this.#connect(connection);
    }
  }

  close() {
    this.server.close();
    for (const connection of this.#open) connection.client.destroy();
  }
}

/** Takes n of the gateway's places for connections. */
export const occupy = (gateway, n) => Promise.all(Array.from({ length: n }, () => new Promise((resolve, reject) => {
  const place = net.connect(gateway.port, gateway.host, () => place.write('GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n'));
  let answer = '';
  place.on('data', (b) => {
    answer += b;
    if (answer.includes('event: start')) resolve(place);
  });
  place.on('error', reject);
})));

/** Where in an answer an event is to be cut; a number below 0 as long as its bytes are not there. */
export const inData = (sequence) => (answer) => {
  const at = answer.indexOf(`"sequence":${sequence},`);
  return at < 0 ? -1 : at;
};
const within = (sequence, marker) => (answer) => {
  const begin = inData(sequence)(answer);
  const at = begin < 0 ? -1 : answer.indexOf(marker, begin);
  return at < 0 ? -1 : at + marker.length;
};
export const behindData = (sequence) => within(sequence, '}\n');
export const behindID = (sequence) => (answer) => {
  const id = within(sequence, '\nid: ')(answer);
  const end = id < 0 ? -1 : answer.indexOf('\n', id);
  return end < 0 ? -1 : end + 1;
};
export const behindEvent = (sequence) => (answer) => {
  const at = behindID(sequence)(answer);
  return at < 0 || answer.length < at + 1 ? -1 : at + 1;
};

/** What one client said. It is handed to the client's adapter, which calls its methods. */
export class Journal {
  events = []; // those of requests, parsed: as often as the client handed them over
  names = []; // of everything else, in order
  halves = []; // what is no JSON
  errors = [];
  closes = []; // of a WebSocket: { code, reason }
  over = undefined; // { error } once the client has given up, or is done

  event(name, data, cursor) {
    if (this.over) this.over.not = `it went on: ${name} ${data}`;
    if (name === 'start') { // whose data may have a torn event in front, which is what it is for
      this.names.push(name);
      return;
    }
    let parsed;
    try {
      parsed = JSON.parse(data);
    } catch {
      this.halves.push(data);
      return;
    }
    if (name && name !== 'message') this.names.push(name);
    else this.events.push({ ...parsed, cursor });
  }

  error(error) { this.errors.push(String(error?.message ?? error?.type ?? error)); }

  closed(code, reason) { this.closes.push({ code, reason: String(reason ?? '') }); }

  end(error) { this.over ??= { error: error && String(error.message ?? error.type ?? error), after: this.names.includes('end') ? 'end' : `${this.events.length} events` }; }

  /** The numbers of a request's events, in the order in which they came. */
  sequences(id) { return this.events.filter((e) => e.data.id === id).map((e) => e.data.sequence); }

  /** What it was told besides events, but for the `start` of each stream. */
  get said() { return this.names.filter((name) => name !== 'start'); }

  saw(life, sequence) {
    return until(() => this.sequences(life.id).includes(sequence), () => `event ${sequence}: ${this}`);
  }

  sawName(name) { return until(() => this.names.includes(name), () => `${name}: ${this}`); }

  toString() {
    return JSON.stringify({
      events: this.events.map((e) => `${e.data.id}/${e.data.sequence}`), names: this.names, halves: this.halves.length,
      errors: this.errors.slice(-5), closes: this.closes, over: this.over,
    });
  }
}

/** The program that follows with clients written in Go; see follow/main.go. */
export class Follow {
  #journals = new Map();
  #last = 0;

  static start() {
    const follow = new Follow();
    follow.child = spawn(program('HARK_FOLLOW'), { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface(follow.child.stdout).on('line', (line) => {
      const said = JSON.parse(line);
      follow.#journals.get(said.id)?.(said);
    });
    return follow;
  }

  /** Begins to follow and returns what stops it. */
  follow(client, url, said) {
    const id = String(++this.#last);
    this.#journals.set(id, said);
    this.child.stdin.write(`${JSON.stringify({ id, client, url })}\n`);
    return () => {
      this.#journals.delete(id);
      this.child.stdin.write(`${JSON.stringify({ id })}\n`);
    };
  }

  stop() { this.child.stdin.end(); }
}
