// The WebSocket clients, each used as its documentation shows, and what each tells of a close.

import { createRequire } from 'node:module';
import { WebSocket as PartySocket } from 'partysocket';
import { WebSocket as UndiciWebSocket } from 'undici';
import { WebSocket } from 'ws';

const require = createRequire(import.meta.url);
const Faye = require('faye-websocket').Client;
const ReconnectingWebSocket = require('reconnecting-websocket');
const { client: WebSocketClient, w3cwebsocket: W3C } = require('websocket');

const PROTOCOL = 'hark.v1';

/** How long whoever comes back by itself waits. */
const PAUSE = 100;

/** Where a follower is: what it has of its channel, and whether that has ended. */
class Place {
  constructor(url, channel, journal) {
    Object.assign(this, { url: url.replace('http', 'ws'), channel, journal, after: 0, ended: false });
  }

  /** The address to connect to next. */
  get address() { return `${this.url}/v1/ws?channel=${encodeURIComponent(this.channel)}&after=${this.after}`; }

  message(text) {
    const message = JSON.parse(text);
    if (message.op === 'event') {
      this.after = message.offset;
      this.journal.event('message', JSON.stringify(message.event));
      return;
    }
    this.journal.event(message.op, text);
    if (message.op === 'end') this.ended = true;
  }
}

/** Follows with what connects once: open(address, place, closed) returns what closes it, and closed(code, reason) is to be called at its end. */
const again = (open) => (url, channel, journal) => {
  const place = new Place(url, channel, journal);
  let stop; let timer; let stopped = false;
  const connect = () => {
    stop = open(place.address, place, (code, reason) => {
      if (stopped) return;
      journal.closed(code, reason);
      if (!place.ended) timer = setTimeout(connect, PAUSE);
    });
  };
  connect();
  return () => {
    stopped = true;
    clearTimeout(timer);
    stop();
  };
};

/** One that looks like the WebSocket of browsers. */
const standard = (make) => again((address, place, closed) => {
  const socket = make(address);
  socket.onmessage = (e) => place.message(e.data);
  socket.onerror = (e) => place.journal.error(e.error ?? e);
  socket.onclose = (e) => closed(e.code, e.reason);
  return () => socket.close();
});

/** One that comes back by itself, for which the address is a function. */
const reconnecting = (make) => (url, channel, journal) => {
  const place = new Place(url, channel, journal);
  const socket = make(() => place.address);
  socket.onmessage = (e) => {
    place.message(e.data);
    if (place.ended) socket.close();
  };
  socket.onerror = (e) => journal.error(e.error ?? e);
  socket.onclose = (e) => journal.closed(e.code, e.reason);
  return () => socket.close();
};

const options = { WebSocket, minReconnectionDelay: PAUSE, maxReconnectionDelay: PAUSE };

const nodeSocket = again((address, place, closed) => {
  const client = new WebSocketClient();
  let stop = () => client.abort();
  client.on('connectFailed', (e) => closed(-1, e));
  client.on('connect', (connection) => {
    stop = () => connection.close();
    connection.on('message', (m) => place.message(m.utf8Data));
    connection.on('error', (e) => place.journal.error(e));
    connection.on('close', closed);
  });
  client.connect(address, PROTOCOL);
  return () => stop();
});

/** The codes that a client tells, of a connection cut by FIN and by RST, and of what the gateway closes: -1 if it tells none. */
const inNode = {
  'ws 8.23.0': { follow: standard((url) => new WebSocket(url, PROTOCOL)) },
  'undici 7.30.2 WebSocket': { follow: standard((url) => new UndiciWebSocket(url, PROTOCOL)) },
  'websocket 1.0.35, w3cwebsocket': { follow: standard((url) => new W3C(url, PROTOCOL)) },
  'websocket 1.0.35, client': { follow: nodeSocket },
  'faye-websocket 0.11.4': { follow: standard((url) => new Faye(url, [PROTOCOL])), codes: { restart: 1002, busy: 1002 } },
  'reconnecting-websocket 4.4.0 over ws': { follow: reconnecting((url) => new ReconnectingWebSocket(url, PROTOCOL, options)) },
  'partysocket 1.3.0 over ws': { follow: reconnecting((url) => new PartySocket(url, PROTOCOL, options)) },
};

const inGo = {
  'Go coder/websocket 1.8.15': { client: 'coder', codes: { FIN: -1, RST: -1 } },
  'Go gorilla/websocket 1.5.3': { client: 'gorilla', codes: { RST: -1 } },
  'Go lxzan/gws 1.8.9': { client: 'gws', codes: { FIN: -1, RST: -1 } },
  'Go gobwas/ws 1.5.0': { client: 'gobwas', codes: { FIN: -1, RST: -1, restart: -1, busy: -1 } },
};

const codes = { FIN: 1006, RST: 1006, restart: 1012, busy: 1013 };

/** All clients, those in Go by a program that follows with them. */
export function socketClients(go) {
  const all = Object.entries(inNode);
  for (const [name, { client, ...traits }] of Object.entries(inGo)) {
    all.push([name, {
      ...traits,
      follow: again((address, place, closed) => go.follow(client, address, (said) => {
        if (said.kind === 'event') place.message(said.data);
        else if (said.kind === 'error') place.journal.error(said.error);
        else if (said.kind === 'close') closed(said.code, said.error);
      })),
    }]);
  }
  return all.map(([name, traits]) => ({ name, ...traits, codes: { ...codes, ...traits.codes } }));
}
