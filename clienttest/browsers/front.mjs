// What stands between a page and a gateway, and is a proxy, a network or its end, as a scenario has it. It serves the page, too, so that page and
// gateway are of one origin. Each has a loopback address of its own: browsers let connections to one address wait for each other.

import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { FIN, until } from '../harness.mjs';

const script = readFileSync(new URL('page.js', import.meta.url));
const PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>hark.js</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>';

const GUIDE = readFileSync(new URL('../../docs/follow.md', import.meta.url), 'utf8');
const [, lines] = /```js\n((?:(?!```)[^])*?heartbeat=event[^]*?)```/.exec(GUIDE);
const mended = `export default (base, id, show) => {\n${lines.replace('/v1/requests/demo-1/', '${base}/v1/requests/${id}/')}};`;
const WORKER = `
  addEventListener('install', () => skipWaiting());
  addEventListener('activate', (e) => e.waitUntil(clients.claim()));
  addEventListener('fetch', (e) => e.respondWith(fetch(e.request)));`;

const OWN = {
  '/page': [PAGE, 'text/html'], '/page.js': [script, 'text/javascript'], '/worker.js': [WORKER, 'text/javascript'], '/mended.js': [mended, 'text/javascript'],
};

let addresses = 0;

/** A JSON Web Token that is good for some milliseconds. */
export function signed(secret, claims, life) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ ...claims, exp: Math.ceil((Date.now() + life) / 1000) })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

export class Front {
  /** What happens to who asks for a stream, or for a WebSocket: undefined, 'refuse' (403), 'reset', or 'swallow', which is never to answer. */
  streams;
  sockets;
  /** Whether streams are kept back until they have ended; their heads pass. */
  holds = false;
  /** Whether nothing passes, on new connections neither. */
  dark = false;
  /** How many streams to refuse once more, with 503. */
  refusals = 0;
  token; // () => the next token for the page
  tokens = 0; // that the page has fetched
  refused = 0; // calls that the gateway answered with 401
  begun = { stream: 0, socket: 0, call: 0 }; // what was asked for
  #open = new Set();
  #mute = new Set(); // connections that are there, and on which nothing passes any more
  #cuts = [];

  static async start(gateway) {
    const front = new Front();
    front.gateway = gateway;
    front.host = `127.7.${addresses >> 8}.${(addresses++ & 255) + 1}`;
    front.port = 0;
    await front.up();
    front.url = `http://${front.host}:${front.port}`;
    return front;
  }

  /** Listens, at the port where it did before. */
  async up() {
    this.server = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 });
    this.server.on('connection', (socket) => {
      this.#open.add(socket);
      if (this.dark) this.#mute.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#open.delete(socket);
        this.#mute.delete(socket);
      });
    });
    this.server.on('request', (request, response) => this.#request(request, response));
    this.server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.server.listen(this.port, this.host);
    await once(this.server, 'listening');
    this.port = this.server.address().port;
  }

  /** Refuses connections, and breaks those that are there. */
  down() {
    this.server.close();
    for (const socket of this.#open) socket.destroy();
  }

  /** Lets nothing pass any more on the connections that there are. They stay open. */
  silence() {
    for (const socket of this.#open) this.#mute.add(socket);
  }

  /** Cuts connections within the data of an event: as many of each kind as `counts` says. The promise resolves when that is done. */
  cutWithin(sequence, how, counts) {
    const cut = { marker: `"sequence":${sequence},`, how, left: { ...counts } };
    this.#cuts.push(cut);
    const done = until(() => Object.values(cut.left).every((n) => n === 0), () => `cuts at event ${sequence}: ${JSON.stringify(cut.left)} are left`);
    done.catch(() => {}); // a scenario that fails before it waits for this has said why
    return done;
  }

  #cutOf(kind, text) {
    return this.#cuts.find((cut) => cut.left[kind] > 0 && text.includes(cut.marker));
  }

  /** Passes bytes on, cut off if that is their lot. */
  #pass(kind, way, bytes) {
    if (way.done || this.#mute.has(way.socket)) return;
    const before = way.text.length;
    way.text += bytes.toString('latin1');
    const cut = this.#cutOf(kind, way.text);
    if (!cut) {
      way.write(bytes);
      return;
    }
    cut.left[kind]--;
    way.done = true;
    way.stop();
    const at = Math.max(0, way.text.indexOf(cut.marker) + 5 - before); // within a name
    way.write(bytes.subarray(0, at), () => (cut.how === FIN ? way.socket.end() : way.socket.resetAndDestroy()));
  }

  /**
   * A header as the gateway is to get it. Without keys a gateway goes by few names, so it is called by one of them, and so is the page where both are of
   * one origin.
   */
  #header(name, value) {
    if (name === 'host') return `${this.gateway.host}:${this.gateway.port}`;
    return name === 'origin' && value === this.url ? this.gateway.url : value;
  }

  /** Does what a rule says, or returns that there is none. */
  #ruled(rule, socket) {
    if (rule === 'reset') socket.resetAndDestroy();
    else if (rule === 'refuse') socket.end('HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\nForbidden');
    return rule !== undefined;
  }

  #request(request, response) {
    const { socket } = request;
    if (this.#mute.has(socket)) return;
    const own = OWN[new URL(request.url, this.url).pathname];
    if (own) {
      response.writeHead(200, { 'content-type': own[1] });
      response.end(own[0]);
      return;
    }
    if (request.url === '/token') {
      this.tokens++;
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(JSON.stringify(this.token()));
      return;
    }
    const kind = /text\/event-stream/.test(request.headers.accept) ? 'stream' : 'call';
    this.begun[kind]++;
    if (kind === 'stream') {
      if (this.#ruled(this.streams, socket)) return;
      if (this.refusals > 0) {
        this.refusals--;
        response.writeHead(503);
        response.end();
        return;
      }
    }
    const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => name !== 'connection').map(([name, value]) => [name, this.#header(name, value)]));
    const up = http.request({ host: this.gateway.host, port: this.gateway.port, method: request.method, path: request.url, headers, agent: false });
    const stop = () => up.destroy();
    socket.on('close', stop);
    response.on('close', stop);
    request.pipe(up);
    up.on('error', () => { if (!way.done && !this.#mute.has(socket)) socket.destroy(); });
    const way = { socket, text: '', stop, write: (bytes, then) => response.write(bytes, then) };
    up.on('response', (answer) => {
      if (this.#mute.has(socket)) return;
      if (answer.statusCode === 401) this.refused++;
      const { connection: c, 'transfer-encoding': t, 'keep-alive': k, ...rest } = answer.headers;
      response.writeHead(answer.statusCode, rest);
      response.flushHeaders();
      const held = [];
      answer.on('data', (bytes) => {
        if (kind === 'stream' && this.holds) held.push(bytes);
        else this.#pass(kind, way, bytes);
      });
      answer.on('end', () => {
        socket.off('close', stop);
        if (way.done || this.#mute.has(socket)) return;
        for (const bytes of held) response.write(bytes);
        response.end();
      });
      answer.on('error', () => { if (!way.done && !this.#mute.has(socket)) socket.destroy(); });
    });
  }

  #upgrade(request, socket, head) {
    if (this.#mute.has(socket)) {
      socket.resume();
      return;
    }
    this.begun.socket++;
    if (this.#ruled(this.sockets, socket)) {
      socket.resume();
      return;
    }
    const up = net.connect(this.gateway.port, this.gateway.host);
    const lines = [];
    for (let i = 0; i < request.rawHeaders.length; i += 2) {
      // Not compressed, so that events are found in it.
      if (!/^sec-websocket-extensions$/i.test(request.rawHeaders[i])) {
        lines.push(`${request.rawHeaders[i]}: ${this.#header(request.rawHeaders[i].toLowerCase(), request.rawHeaders[i + 1])}`);
      }
    }
    up.write(`GET ${request.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    up.write(head);
    const way = { socket, text: '', stop: () => up.destroy(), write: (bytes, then) => socket.write(bytes, then) };
    socket.on('data', (bytes) => { if (!this.#mute.has(socket)) up.write(bytes); });
    socket.on('close', () => up.destroy());
    up.on('data', (bytes) => this.#pass('socket', way, bytes));
    up.on('end', () => { if (!way.done && !this.#mute.has(socket)) socket.end(); });
    up.on('error', () => { if (!way.done && !this.#mute.has(socket)) socket.destroy(); });
  }

  close() { this.down(); }
}
