// The clients of Server-Sent Events, each used as its documentation shows, and what is known of each. Where a client
// has a way to be told of every event it is used, else listeners for the names that the gateway gives.

import { createRequire } from 'node:module';
import { pageClients } from './browser.mjs';
import { createEventSource } from 'eventsource-client';
import { createParser } from 'eventsource-parser';
import { EventSource as EventSource3 } from 'eventsource3';
import { EventSource as EventSource4 } from 'eventsource4';
import { EventSource as ExtendedEventSource } from 'extended-eventsource';
import { stream as fetchStream } from 'fetch-event-stream';
import ReconnectingEventSource from 'reconnecting-eventsource';
import { EventSource as UndiciEventSource } from 'undici';

const require = createRequire(import.meta.url);
const EventSource2 = require('eventsource2');
const { EventSource: LaunchDarkly } = require('launchdarkly-eventsource');

// These are made for pages. A page's globals are set while they are loaded only as far as each needs them.
const { EventSourcePolyfill } = require('event-source-polyfill'); // with fetch, as long as there is no XMLHttpRequest
globalThis.window = { clearTimeout, setTimeout, fetch };
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = require('@microsoft/fetch-event-source');

/** The names of what is no event of a request. */
const NAMES = ['start', 'end', 'busy', 'restart', 'unavailable', 'unauthenticated'];

/** Follows with what looks like the EventSource of browsers. */
const eventSource = (make) => (url, journal) => {
  const source = make(url);
  source.onmessage = (e) => journal.event('message', e.data, e.lastEventId);
  for (const name of NAMES) source.addEventListener(name, (e) => { if (e.data !== undefined) journal.event(name, e.data, e.lastEventId); });
  source.onerror = (e) => {
    journal.error(e);
    // Some set readyState after they have told the error.
    setTimeout(() => { if (source.readyState === 2) journal.end(e); });
  };
  return () => source.close();
};

/** How long a loop waits that was not told. */
const PAUSE = 100;

/**
 * A loop over fetch, as whoever has only a parser has to write one: it keeps the cursor, and comes back after every error. When the body ends
 * without one, that was the end. read(response, event) resolves when the body has ended; event(name, data, id, retry) is called for what it holds.
 */
const loop = (read) => (url, journal) => {
  const abort = new AbortController();
  (async () => {
    for (let cursor, wait = PAUSE; ;) {
      try {
        const headers = { accept: 'text/event-stream', ...(cursor !== undefined && { 'last-event-id': cursor }) };
        await read(url, { headers, signal: abort.signal }, (name, data, id, retry) => {
          if (id !== undefined) cursor = id;
          if (retry !== undefined) wait = retry;
          if (data !== undefined) journal.event(name, data, id);
        });
        journal.end();
        return;
      } catch (e) {
        if (abort.signal.aborted) return;
        if (e instanceof Refused || e instanceof Response) { // 204 is the end, other statuses will not get better
          journal.end(e);
          return;
        }
        journal.error(e);
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  })();
  return () => abort.abort();
};

class Refused extends Error {}

async function parserLoop(url, init, event) {
  const response = await fetch(url, init);
  if (response.status !== 200) throw new Refused(response.status);
  const parser = createParser({
    onEvent: (e) => event(e.event, e.data, e.id),
    onRetry: (retry) => event(undefined, undefined, undefined, retry),
  });
  const text = new TextDecoder();
  for await (const chunk of response.body) parser.feed(text.decode(chunk, { stream: true }));
}

async function fetchStreamLoop(url, init, event) {
  for await (const e of await fetchStream(url, init)) event(e.event, e.data, e.id === undefined ? undefined : String(e.id), e.retry);
}

function fetchEventSourceClient(url, journal) {
  const abort = new AbortController();
  fetchEventSource(url, {
    signal: abort.signal,
    openWhenHidden: true,
    fetch,
    onmessage: (e) => { if (e.data !== '') journal.event(e.event, e.data, e.id); },
    onerror: (e) => { journal.error(e); }, // it comes back unless this throws
  }).then(() => { if (!abort.signal.aborted) journal.end(); }, (e) => journal.end(e));
  return () => abort.abort();
}

function eventSourceClient(url, journal) {
  const source = createEventSource({
    url,
    onMessage: (e) => journal.event(e.event, e.data, e.id),
    onDisconnect: () => {
      journal.error('disconnected');
      setTimeout(() => { if (source.readyState === 'closed') journal.end(); });
    },
  });
  return () => source.close();
}

/**
 * What a client does where they differ. Whoever is not like the standard's EventSource in something says so; docs/clients.md has the same table.
 *
 *   halves   it hands over what it has of an event that it is cut off in
 *   hasty    it takes the id of such an event over if it has that line: cut off in the one byte behind it, it loses the event
 *   waits    the least part of the time that `retry` says that it waits; 0: it does as it likes; undefined: it may not have seen that
 *   at204    behind the end, without having seen it: it 'stops', 'asks' again and again, or forgets where it was and 'replays' all
 *   away     when its attempt to come back is reset because nothing is there: it 'asks' again, or 'may stop' for good
 *   at404    when it is refused: it 'stops', or 'asks' again and again
 */
const standard = { halves: false, hasty: false, waits: 0.95, away: 'asks', at204: 'stops', at404: 'stops' };

const inNode = {
  'eventsource 2.0.2': { follow: eventSource((url) => new EventSource2(url)), hasty: true },
  'eventsource 3.0.7': { follow: eventSource((url) => new EventSource3(url)) },
  'eventsource 4.1.1': { follow: eventSource((url) => new EventSource4(url)) },
  'undici 7.30.2 EventSource': { follow: eventSource((url) => new UndiciEventSource(url)) },
  'launchdarkly-eventsource 2.2.0': { follow: eventSource((url) => new LaunchDarkly(url)) },
  'extended-eventsource 2.1.0': { follow: eventSource((url) => new ExtendedEventSource(url, { disableLogger: true })), hasty: true },
  'event-source-polyfill 1.0.31 over fetch': { follow: eventSource((url) => new EventSourcePolyfill(url)), at204: 'asks' },
  'reconnecting-eventsource 1.6.5 over eventsource 4': {
    follow: eventSource((url) => new ReconnectingEventSource(url, { eventSourceClass: EventSource4 })),
    at204: 'replays', at404: 'asks',
  },
  '@microsoft/fetch-event-source 2.0.1': { follow: fetchEventSourceClient, hasty: true, at204: 'asks', at404: 'asks' },
  'eventsource-client 1.2.0': { follow: eventSourceClient, at404: 'asks' },
  'eventsource-parser 3.1.1 over fetch': { follow: loop(parserLoop) },
  'fetch-event-stream 0.1.6': { follow: loop(fetchStreamLoop) },
};

const inGo = {
  'Go r3labs/sse 2.10.0': { client: 'r3labs', halves: true, waits: 0, at204: 'asks', at404: 'asks' },
  'Go launchdarkly/eventsource 1.11.0': { client: 'launchdarkly', at204: 'asks' },
  'Go donovanhide/eventsource c59027999da0': { client: 'donovanhide', at204: 'asks' },
  'Go tmaxmax/go-sse 0.12.0 Client': { client: 'tmaxmax', waits: 0.45 },
  'Go tmaxmax/go-sse 0.12.0 Read': { client: 'tmaxmax-read', waits: 0 },
};

/** All clients; those in Go follow by means of a program, `go`, those of pages in a browser, and not at all without it. */
export function streamClients(go, browser) {
  const all = [...Object.entries(inNode), ...pageClients(() => browser)];
  for (const [name, { client, ...traits }] of Object.entries(inGo)) {
    all.push([name, {
      ...traits,
      follow: (url, journal) => go.follow(client, url, (said) => {
        if (said.kind === 'event') journal.event(said.name, said.data ?? '', said.cursor);
        else if (said.kind === 'error') journal.error(said.error);
        else if (said.kind === 'over') journal.end(said.error);
      }),
    }]);
  }
  return all.map(([name, traits]) => ({ name, ...standard, ...traits }));
}
