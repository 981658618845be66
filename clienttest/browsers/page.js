// What a page of these tests does: it follows with hark.js, or with the EventSource that the browser has, and writes down what it was told.
// Whoever drives the browser calls the functions of `page` and reads `page.seen`.

import { createClient } from './hark.js';

const query = new URLSearchParams(location.search);

// A token is renewed when it has expired by a clock that is a second behind, so that each is refused for a while before there is another one.
let held;
async function token() {
  if (!held || Date.now() - held.expires > 1000) held = await (await fetch('/token')).json();
  return held.token;
}

if (query.has('service')) {
  await navigator.serviceWorker.register('/worker.js');
  if (!navigator.serviceWorker.controller) await new Promise((resolve) => navigator.serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
}

const client = createClient({
  base: query.get('base') ?? undefined,
  token: query.has('token') ? token : undefined,
  ...(query.has('alone') && { worker: false }),
});
const seen = { followers: {}, answers: {}, faults: [], shown: [] };
const kept = (list, entry) => void (list.push(entry) > 40 && list.shift());

addEventListener('error', (e) => kept(seen.faults, `${e.message} ${e.error?.stack}`));
addEventListener('unhandledrejection', (e) => kept(seen.faults, String(e.reason)));
addEventListener('pageshow', (e) => kept(seen.shown, e.persisted ? 'from the cache' : 'loaded'));

const begun = (name, more) => (seen.followers[name] = { began: Date.now(), offsets: [], sequences: [], states: [], resets: 0, after: 0, ...more });

function note(follower, offset, data) {
  follower.first ??= Date.now();
  if (follower.ended) follower.after++;
  follower.offsets.push(offset);
  follower.sequences.push(data.sequence);
}

const handles = {};

window.page = {
  seen,

  /** Follows a request with hark.js. */
  follow(name, id, options = {}) {
    const follower = begun(name);
    handles[name] = client.follow(id, {
      ...options,
      onEvent: (event, offset) => note(follower, offset, event.data),
      onReset: () => follower.resets++,
      onState: ({ state, transport }) => {
        follower.transport = transport;
        kept(follower.states, `${Date.now() - follower.began} ${state}/${transport}`);
      },
      onEnd: (document, error) => {
        if (follower.ended) follower.after++;
        Object.assign(follower, { ended: Date.now(), status: document?.status, error: error && String(error) });
      },
    });
  },

  /** Follows a request with an EventSource, as docs/follow.md has it, which ends at `end`. */
  native(name, id) {
    const follower = begun(name, { native: true, torn: 0 });
    const source = new EventSource(`${query.get('base') ?? ''}/v1/requests/${encodeURIComponent(id)}/events`);
    source.onopen = () => kept(follower.states, `${Date.now() - follower.began} open`);
    source.onmessage = (e) => {
      let event;
      try {
        event = JSON.parse(e.data);
      } catch {
        follower.torn++;
        return;
      }
      note(follower, parseInt(e.lastEventId, 10), event.data);
      follower.status = event.data.status;
    };
    source.onerror = () => {
      kept(follower.states, `${Date.now() - follower.began} error, readyState ${source.readyState}`);
      if (source.readyState === 2) follower.gaveUp ??= Date.now();
    };
    source.addEventListener('end', () => {
      source.close();
      follower.ended ??= Date.now();
    });
  },

  /** Follows a request by the lines that docs/follow.md has for who takes no library and wants it right all the same. */
  async mended(name, id) {
    const follower = begun(name, { transport: name });
    const { default: begin } = await import('/mended.js');
    begin(query.get('base') ?? '', encodeURIComponent(id), (data) => {
      note(follower, data.sequence, data);
      follower.status = data.status;
      if (data.endedAt !== null) follower.ended = Date.now();
    });
  },

  /** Follows a topic with an EventSource. */
  feed(name, path) {
    const follower = begun(name, { native: true, starts: 0 });
    const source = new EventSource(path);
    source.addEventListener('start', () => follower.starts++);
    source.onmessage = (e) => note(follower, parseInt(e.lastEventId, 10), JSON.parse(e.data).data);
  },

  close: (name) => handles[name].close(),

  /** Calls a function of the client. */
  call(name, method, ...args) {
    const answer = (seen.answers[name] = { asked: Date.now() });
    client[method](...args).then(
      (value) => Object.assign(answer, { at: Date.now(), value }),
      (error) => Object.assign(answer, { at: Date.now(), error: String(error) }),
    );
  },
};
