/**
 * A client for Hark in one file without dependencies: submit requests, follow
 * them live, fetch what came out. Copy it.
 *
 *     import { submit, follow, result } from './hark.js';
 *
 *     const request = await submit({ url: 'https://example.org/' }, { route: 'fetch' });
 *     follow(request, {
 *       onEvent: (event) => show(event.data),
 *       onEnd: async (document) => use(await result(document.id)),
 *     });
 *
 * The functions speak to the origin that the page came from. For another one, with
 * other headers, or with a token, make a client of your own: `createClient({ base, headers, token })`.
 *
 * @module
 */

/**
 * @typedef {'pending'|'processing'|'waiting'|'succeeded'|'failed'|'canceled'|'expired'} Status
 *
 * @typedef {object} Link
 * @property {'self'|'result'|'events'|'socket'|'cancel'|'input'|'requests'} rel
 * @property {string} href
 * @property {string} method
 *
 * @typedef {object} StatusDocument Where a request stands.
 * @property {string} id
 * @property {Status} status
 * @property {string|null} route null of a batch
 * @property {string|null} topic
 * @property {string|null} step
 * @property {number|null} percent
 * @property {string|null} message
 * @property {number} attempt
 * @property {number|null} position
 * @property {string|null} eta
 * @property {{code: string, message: string, detail: string|null}|null} error
 * @property {{type: string, size: number, href: string, value?: any}|null} result
 * @property {number} sequence
 * @property {string} createdAt
 * @property {string} updatedAt
 * @property {string|null} startedAt
 * @property {string|null} endedAt
 * @property {string} expiresAt
 * @property {string} [batchId] the batch that it is one of
 * @property {number} [redriven] how often it was redriven after it had failed
 * @property {{total: number, open: number, succeeded: number, failed: number, canceled: number, expired: number, onFailure?: string, result?: string, then?: string}} [batch] of a batch only
 * @property {{name: string, message: string, schema?: any, default?: any, expiresAt: string}} [question] what it asks while it is waiting, see `answer`
 * @property {Link[]} links
 *
 * @typedef {object} HarkEvent A CloudEvent.
 * @property {string} id
 * @property {string} type  `request.accepted`, `.started`, `.progress`, `.retrying`, `.waiting`, `.answered`, `.redriven`, `.succeeded`, `.failed`, `.canceled`, `.expired`, `.reset`
 * @property {string} source
 * @property {string} [subject]
 * @property {string} [time]
 * @property {StatusDocument} data
 *
 * @typedef {object} ThinEvent What the gateway says of an event to who follows with `form: 'thin'`. What is absent is null, or as the type implies it, or
 *   has not changed. A follower makes a HarkEvent of it.
 * @property {string} type
 * @property {string} [time] absent of progress
 * @property {string} [topic]
 * @property {Status} [status]
 * @property {number} [attempt] absent: 1; of `request.accepted` and of a batch 0
 * @property {number} [percent]
 * @property {string} [step]
 * @property {string} [message]
 * @property {{code: string, message: string, detail?: string}} [error]
 * @property {{type: string, size: number}} [result]
 * @property {number} [position]
 * @property {StatusDocument['question']} [question]
 * @property {StatusDocument['batch']} [batch]
 * @property {number} [redriven]
 * @property {string} [route] of `request.accepted` and `request.reset`, as the following
 * @property {string} [concurrencyKey]
 * @property {string} [batchId]
 * @property {string} [createdAt] of `request.reset`, as the following
 * @property {string} [startedAt]
 * @property {string} [endedAt]
 *
 * @typedef {'sse'|'websocket'|'poll'} Transport
 *
 * @typedef {object} State How a follower is connected.
 * @property {'connecting'|'open'|'waiting'|'ended'|'closed'} state
 * @property {Transport} transport
 * @property {number} offset  of the newest event that is known
 * @property {number} [delay] milliseconds until the next attempt, while waiting
 *
 * @typedef {object} FollowOptions
 * @property {Transport} [transport] what to try first; default `sse`, of which there is one: further followers share a WebSocket
 * @property {'full'|'thin'} [form] `thin`: a quarter of the bytes travel. Of events the document is made here, of what they say and of those before, so it has
 *   no value of the result, no `eta`, no `position` that is not said, null for `expiresAt`, and null for what was said before `after`, or before the first event
 *   that is kept (`route`, `topic`, `createdAt`, `startedAt`), unless `request` is a document that has it. Default `full`
 * @property {number|string} [after] the offset of the last event that is known, or the cursor of another follower; default 0
 * @property {(event: HarkEvent, offset: number) => void} [onEvent] once for each event, in order
 * @property {(event: HarkEvent, offset: number) => void} [onReset]
 *   events were missed for good, `event.data` is how the request stands now; default `onEvent`
 * @property {(document: StatusDocument|null, error?: Error) => void} [onEnd]
 *   the request has ended, or it cannot be followed at all, and then there is an error
 * @property {(state: State) => void} [onState]
 * @property {{base?: number, max?: number}} [backoff] milliseconds of the first pause and of the longest one; default 500, and while the
 *   page is seen what the gateway says (`--retry`) or 5000, else 20000
 * @property {number} [openTimeout] milliseconds that a connection may take to say something before the next transport is tried; default 10000
 *
 * @typedef {object} Follower
 * @property {() => void} close stop following; no callback comes after it
 * @property {() => void} cut drop the connection as an accident would, to see it resume
 * @property {number} offset of the newest event that is known
 * @property {string} cursor of it: the offset, and which of all requests that ever had the id it is of, if there may be several
 * @property {Transport} transport in use
 *
 * @typedef {object} SubmitOptions
 * @property {string} [id]
 * @property {string} [route]
 * @property {string} [topic]
 * @property {number} [priority] 0 to 9
 * @property {string} [delay] such as `90s`
 * @property {string} [timeout]
 * @property {string} [retention]
 * @property {number} [maxAttempts]
 * @property {string} [retryDelay]
 * @property {string} [concurrencyKey] of the requests with the same one so many at a time are worked on as the limit says
 * @property {number} [concurrencyLimit]
 * @property {string} [idempotencyKey] default a new one, so that a repeat is harmless
 * @property {string} [type] media type of bytes that do not know theirs
 * @property {number} [retries] how often to repeat when the gateway cannot be reached or is busy; default 2
 * @property {AbortSignal} [signal]
 */

/** What the gateway answers when it cannot do what was asked (RFC 9457). */
export class HarkError extends Error {
  /** @param {number} status @param {Record<string, any>} problem @param {number} [retryAfter] seconds */
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.name = 'HarkError';
    this.status = status;
    /** The kind of problem, such as `/problems/request-not-found`. */
    this.type = problem.type || 'about:blank';
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

const ENDED = new Set(['succeeded', 'failed', 'canceled', 'expired']);

/** Whether it has ended: nothing follows, unless what has failed is redriven. @param {Status} status */
export const hasEnded = (status) => ENDED.has(status);

const OPTIONS = ['id', 'route', 'topic', 'priority', 'delay', 'timeout', 'retention', 'maxAttempts', 'retryDelay', 'concurrencyKey', 'concurrencyLimit'];

/**
 * @typedef {object} ClientConfig
 * @property {string} [base] origin of the gateway; default the page's own
 * @property {Record<string, string>} [headers] sent with every HTTP call
 * @property {string | ((refused?: string) => string|null|undefined|Promise<string|null|undefined>)} [token] an API key or a
 *   JSON Web Token, or what returns one that is still good; what it throws while following is reported, and it is asked again. If the gateway refuses one, such
 *   a function is asked once more, with that one, and should return another; if it cannot yet, followers come back for a minute. No long-lived token stands in a URL: a stream is opened with a ticket for the
 *   request, a WebSocket is told the token by its first message.
 * @property {string|URL|false} [worker] where this file is, if it is part of a bundle, so that all tabs can share their connections in
 *   a SharedWorker; false: each tab has its own. Default: where the page has it from, if it is called hark.js and
 *   the gateway is of that origin.
 * @property {typeof globalThis.fetch} [fetch] with one of the following three of your own each client has its own connections
 * @property {any} [EventSource]
 * @property {any} [WebSocket]
 */

/**
 * What calls one gateway, and what its followers share.
 * @param {ClientConfig} config
 * @param {(error: any) => void} [tell] gets what `token` throws where a follower asks for it, as there is no caller to throw it to
 */
function gatewayOf(config, tell = report) {
  const env = {
    fetch: config.fetch ?? ((...args) => globalThis.fetch(...args)),
    EventSource: 'EventSource' in config ? config.EventSource : globalThis.EventSource,
    WebSocket: 'WebSocket' in config ? config.WebSocket : globalThis.WebSocket,
  };
  const injected = ['fetch', 'EventSource', 'WebSocket'].some((name) => name in config);
  const base = config.base ?? globalThis.location?.origin ?? '';
  const url = (path) => (base ? new URL(path, base).href : path);
  if (!injected && !pools.has(base)) pools.set(base, new Pool(base));
  const pool = injected ? new Pool(null) : pools.get(base);

  const ask = async (refused) => {
    const bearer = typeof config.token === 'function' ? await config.token(refused) : config.token;
    if (bearer && !/^[!-~]+$/.test(bearer)) throw new Error('The token has characters that no header may hold: give it as it was issued, without spaces and line ends.');
    return bearer;
  };
  const token = async (refused) => {
    try {
      return await ask(refused);
    } catch (error) {
      tell(error);
      throw new NoToken('there is no token', { cause: error });
    }
  };
  const authorization = Object.entries(config.headers ?? {}).find(([name]) => name.toLowerCase() === 'authorization')?.[1];

  const renews = typeof config.token === 'function' && authorization === undefined;

  /** Calls the gateway; anything but success and 304 is a {@link HarkError}. */
  async function call(path, { headers, ...init } = {}, bearerOf = ask) {
    const send = (bearer) => env.fetch(url(path), { ...init, headers: { ...(bearer && { Authorization: `Bearer ${bearer}` }), ...config.headers, ...headers } });
    let bearer = await bearerOf();
    let response = await send(bearer);
    let stale = false;
    if (response.status === 401 && renews) { // it may have expired on its way
      const newer = await bearerOf(bearer);
      stale = Boolean(bearer) && newer === bearer && gateway.taken !== undefined;
      if (newer && newer !== bearer) {
        response.body?.cancel().catch(() => {});
        bearer = newer;
        response = await send(bearer);
      }
    }
    if (response.ok || response.status === 304) {
      if (bearer) gateway.taken = bearer;
      return response;
    }
    const problem = await response.json().catch(() => ({}));
    throw new (stale ? Stale : HarkError)(response.status, problem ?? {}, seconds(response.headers.get('Retry-After')));
  }

  /**
   * Who calls, for transports that cannot send headers: the token, if it is one, and whether there is something else.
   * @param {AbortSignal} signal @returns {Promise<{bearer?: string, own: boolean}>}
   */
  async function credentials(signal) {
    const late = () => new NoToken(`no token within ${PATIENCE} ms`);
    const bearer = authorization === undefined ? await limited(signal, PATIENCE, () => token(), late) : /^bearer +(\S+)$/i.exec(authorization)?.[1];
    return { bearer: bearer || undefined, own: authorization !== undefined };
  }

  /** A call of a follower's. */
  const read = (path, init) => call(path, init, token);

  /** `taken` is the token that the gateway took last. */
  const gateway = { ...env, config, injected, base, url, pool, token, renews, call, read, credentials, taken: undefined };
  return gateway;
}

/** @param {ClientConfig} [config] */
export function createClient(config = {}) {
  const gateway = gatewayOf(config);
  const { call } = gateway;

  /**
   * Submits a request and returns its first status document. Blobs, buffers and
   * typed arrays go as the bytes that they are, everything else as JSON.
   *
   * @param {any} content
   * @param {SubmitOptions} [options]
   * @returns {Promise<StatusDocument>}
   */
  async function submit(content, options = {}) {
    const chosen = OPTIONS.filter((name) => options[name] != null && options[name] !== '').map((name) => [name, options[name]]);
    if (!isBytes(content)) return await post('/v1/requests', JSON.stringify({ content, ...Object.fromEntries(chosen) }), 'application/json', options);
    const query = new URLSearchParams(chosen.map(([name, value]) => [name, String(value)]));
    const path = chosen.length ? `/v1/requests?${query}` : '/v1/requests';
    return await post(path, content, options.type || content.type || 'application/octet-stream', options);
  }

  /**
   * Submits many requests at once, of which all are taken or none, and returns where the batch stands that they are: it can be followed
   * and canceled like a request, and ends when they have ended. With `result: 'joined'` it has their results as one array, with
   * `onFailure: 'cancel'` the first failure ends the others, and `then` is a request that follows them.
   * @param {{content: any, [option: string]: any}[]} requests up to 1000, each with its content and its options
   * @param {{id?: string, topic?: string, retention?: string, onFailure?: 'continue'|'cancel', result?: 'joined', then?: {content?: any, [option: string]: any}, idempotencyKey?: string, retries?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<StatusDocument>}
   */
  async function submitBatch(requests, { id, topic, retention, onFailure, result, then, ...options } = {}) {
    return await post('/v1/batches', JSON.stringify({ id, topic, retention, onFailure, result, then, requests }), 'application/json', options);
  }

  /** Posts a submission, again if the gateway is busy or cannot be reached, with one key. */
  async function post(path, body, type, options) {
    const headers = {
      Accept: 'application/json',
      Prefer: 'respond-async',
      'Idempotency-Key': `"${options.idempotencyKey ?? randomKey()}"`,
      'Content-Type': type,
    };
    for (let left = options.retries ?? 2; ; left--) {
      try {
        const response = await call(path, { method: 'POST', headers, body, signal: options.signal });
        if (response.status === 202) return await response.json();
        // The same request, which has ended already: this is its result.
        const status = response.headers.get('Operation-Location') ?? response.headers.get('Location');
        const { pathname, search } = new URL(status, 'http://localhost'); // of the same gateway, by whatever name it is known elsewhere
        return await (await call(pathname + search)).json();
      } catch (error) {
        const busy = error instanceof HarkError ? error.status === 429 || error.status === 503 : error instanceof TypeError;
        if (!busy || left <= 0 || options.signal?.aborted) throw error;
        await sleep(Math.min(error.retryAfter ?? 1, 10) * 1000 * (0.75 + Math.random() / 2));
      }
    }
  }

  /** @param {string} id @returns {Promise<StatusDocument>} */
  const get = async (id) => (await call(`/v1/requests/${encodeURIComponent(id)}`, { headers: { Accept: 'application/json' } })).json();

  /**
   * One's own requests, newest first.
   * @param {{status?: Status, route?: string, topic?: string, cursor?: string, limit?: number}} [query]
   * @returns {Promise<{requests: StatusDocument[], next: string|null}>}
   */
  async function list(query = {}) {
    const params = new URLSearchParams(Object.entries(query).filter(([, value]) => value != null && value !== '').map(([k, v]) => [k, String(v)]));
    return (await call(`/v1/requests${params.size ? `?${params}` : ''}`, { headers: { Accept: 'application/json' } })).json();
  }

  /**
   * Asks for the end. Pending work is never started; a running processor is asked
   * to stop, so the request may end a little later, or as something else.
   * @param {string} id @returns {Promise<StatusDocument>}
   */
  const cancel = async (id) => (await call(`/v1/requests/${encodeURIComponent(id)}/cancel`, { method: 'POST' })).json();

  /**
   * Answers what a request asks, which is the `question` of its document. A question is answered once: another answer throws
   * `/problems/question-answered`, also this one made again.
   * @param {string} id @param {any} value @param {string} [question] the name of the one that is meant; default whichever it asks
   * @returns {Promise<StatusDocument>}
   */
  const answer = async (id, value, question) =>
    (await call(`/v1/requests/${encodeURIComponent(id)}/input`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ answer: value ?? null, question }),
    })).json();

  /** Forgets a request that has ended. @param {string} id */
  const forget = async (id) => void (await call(`/v1/requests/${encodeURIComponent(id)}`, { method: 'DELETE' }));

  /**
   * What came out; null if the request succeeded without a result. A failed request
   * throws its failure, one that is not done `/problems/result-not-ready`.
   * @param {string} id @returns {Promise<Blob|null>}
   */
  async function result(id) {
    const response = await call(`/v1/requests/${encodeURIComponent(id)}/result`);
    return response.status === 204 ? null : response.blob();
  }

  /**
   * Follows a request until it ends. Connections that break, or that fall silent, are made again, with
   * growing, jittered pauses, which end as soon as another follower gets through, and resume after the last event that is known; no
   * event is told twice, and what was missed is fetched before the end is told. If a transport does not work at all, the next is tried:
   * Server-Sent Events, WebSocket, and polling in the end. Any number of followers hold at most three of
   * the connections that a browser has for a host.
   *
   * @param {string|StatusDocument|Link[]} request its id, its document or its links
   * @param {FollowOptions} [options]
   * @returns {Follower}
   */
  function follow(request, options = {}) {
    const target = targetOf(request);
    const known = options.form === 'thin' && request?.id ? knownOf(request, options.after) : undefined;
    return new Following(options, known, (at, sink) =>
      followInWorker(gateway, target, options, at, sink) ?? new Connector(gateway, target, options, at, sink));
  }

  return { submit, submitBatch, follow, get, list, cancel, answer, forget, result };
}

// ---- Following: cursor, callbacks, and the life of the page ---------------------------------------------------------------

/** What a WebSocket close code asks of the client. @param {number} code */
export function mayReconnect(code) {
  return !(code === 1008 || code === 1009 || (code >= 4500 && code <= 4999));
}

const FALLBACK = { sse: ['sse', 'websocket', 'poll'], websocket: ['websocket', 'sse', 'poll'], poll: ['poll'] };
const FAILURES = 3; // connections in a row that never opened, before the next transport is tried
const OPENING = 10_000; // milliseconds that a connection may take to say something, unless the options say otherwise
const HEARTBEAT = 25; // seconds between two signs of life, until the gateway has said
const SILENCE = 2.5; // heartbeats without a byte, after which a connection is dead
const PATIENCE = 10_000; // milliseconds to wait for an answer that is due at once
const BRIEF = 20_000; // milliseconds that a short call may take
const WAIT = 20; // seconds of one long poll
const UNREAD = 100; // milliseconds for what had arrived when a timer fired, after a sleep or a long task of the page
const PACE = 2000; // milliseconds between short polls
const SEEN = 5000; // milliseconds that a page that is seen waits at most before it connects again, until the gateway has said
const UNSEEN = 20_000; // and one that is not
const HASTE = 1000; // and at least at most, whatever the gateway says
const AWAKE = 300; // milliseconds within which those begin that another one has woken
const DOUBT = 2000; // milliseconds that an attempt gets to open when another one got through
const STEADY = 10_000; // milliseconds after which a connection counts as one that works
const HELD = 3; // connections that followers hold of the six that a browser has for a host over HTTP/1.1
const PAGE = 1000; // events of one answer at most
const CROWD = 200; // channels of one WebSocket
const UNFIT = 5 * 60_000; // milliseconds for which a transport that did not work for one follower is not tried by others
const RENEWAL = 60_000; // milliseconds that an application may take to have a newer token
const LAST_TRIES = 5; // to get the last events of a request that has ended
const EXPIRED = 4503; // close code: come back with another token

/** What `follow` returns: it tells the application, and has a connector, here or in the worker of all tabs, that connects. */
class Following {
  #options; #start; #connector = null; #done = false;
  #at;
  #transport;

  /**
   * @param {FollowOptions} options
   * @param {StatusDocument|undefined} known how the request stood, for who follows in thin form
   * @param {(at: Cursor, sink: Sink) => Connector|RemoteConnector} start
   */
  constructor(options, known, start) {
    if (![undefined, 'full', 'thin'].includes(options.form)) throw new TypeError(`form is ${options.form}: it must be 'full' or 'thin'`);
    const [, offset, life] = /^(\d+)(?:-([0-9a-z]+))?$/.exec(String(options.after ?? 0)) ?? [];
    if (offset === undefined) throw new TypeError(`after is ${options.after}: it must be an offset, or the cursor of a follower, such as 7 or '7-k3m9p2q4rz'`);
    this.#at = { offset: Number(offset), life, sequence: 0, known };
    this.#options = options;
    this.#start = start;
    this.#transport = (FALLBACK[options.transport] ?? FALLBACK.sse)[0];
    followings.add(this);
    this.resume();
  }

  get offset() { return this.#at.offset; }
  get cursor() { return cursorText(this.#at); }
  get transport() { return this.#transport; }

  close() {
    if (this.#stop()) this.#tell('onState', { state: 'closed', transport: this.#transport, offset: this.offset });
  }

  cut() {
    this.#connector?.cut();
  }

  /** Lets go of the connection: a page that is left or frozen must hold none, because it counts among those that the browser has for a host. */
  suspend() {
    if (!this.#connector) return;
    this.#disconnect();
    this.#state('waiting', this.#transport);
  }

  /** Connects, after what is known, if nothing else does. */
  resume() {
    if (this.#done || this.#connector) return;
    let connector = null;
    const current = () => this.#connector === connector && connector !== null;
    connector = this.#start(this.#at, {
      event: (event, offset, reset) => current() && this.#tell(reset && this.#options.onReset ? 'onReset' : 'onEvent', event, offset),
      state: (state, transport, more) => current() && this.#state(state, transport, more),
      end: (document, error) => current() && this.#end(document, error),
      seen: isSeen,
      moved: () => {
        if (!current()) return;
        this.#disconnect();
        this.resume();
      },
    });
    this.#connector = connector;
  }

  #state(state, transport, more) {
    this.#transport = transport;
    this.#tell('onState', { state, transport, offset: this.offset, ...more });
  }

  #end(document, error) {
    if (!this.#stop()) return;
    this.#tell('onState', { state: 'ended', transport: this.#transport, offset: this.offset });
    this.#tell('onEnd', document, error);
  }

  #stop() {
    if (this.#done) return false;
    this.#done = true;
    this.#disconnect();
    followings.delete(this);
    return true;
  }

  #disconnect() {
    const connector = this.#connector;
    this.#connector = null;
    connector?.stop();
  }

  /** Calls the application. What it throws is its own affair: reported as if nobody had called it, and no reason to stop. */
  #tell(name, ...values) {
    try {
      this.#options[name]?.(...values);
    } catch (error) {
      report(error);
    }
  }
}

/** @type {Set<Following>} */
const followings = new Set();

/** Whether somebody may look at what is followed. */
const isSeen = () => typeof document === 'undefined' || document.visibilityState !== 'hidden';

if (typeof document !== 'undefined') {
  const suspend = () => {
    for (const each of [...followings]) each.suspend();
    tabs?.leave();
  };
  const resume = () => {
    for (const each of [...followings]) each.resume();
  };
  addEventListener('pagehide', suspend);
  addEventListener('pageshow', resume);
  document.addEventListener('freeze', suspend);
  document.addEventListener('resume', resume);
  document.addEventListener('visibilitychange', () => {
    tabs?.post({ op: 'seen', seen: isSeen() });
    if (!isSeen()) return;
    resume();
    for (const each of [...connectors]) each.wake();
  });
}

// ---- Connecting: transports, pauses, and what was missed ------------------------------------------------------------------

/** @type {Set<Connector>} */
const connectors = new Set();

let changed = 0; // when the network did, last

/** Another network: connections over the one before may be dead, and what did not work there may work here. */
function networkChanged() {
  if (Date.now() - changed < 1000) return; // each tab tells the worker
  changed = Date.now();
  for (const each of [...connectors]) each.networkChanged();
}
globalThis.addEventListener?.('online', () => {
  networkChanged();
  tabs?.post({ op: 'online' });
});

/**
 * Follows one request: one attempt after the other, each over one transport, until the request has ended. What an attempt holds
 * hangs off its signal, and goes when that is aborted.
 *
 * @typedef {{offset: number, life?: string, sequence: number, known?: StatusDocument}} Cursor `known` is how the request stood there, of who follows in thin form
 * @typedef {object} Sink whom a connector tells
 * @property {(event: HarkEvent, offset: number, reset: boolean) => void} event
 * @property {(state: State['state'], transport: Transport, more?: object) => void} state
 * @property {(document: StatusDocument|null, error?: Error) => void} end
 * @property {() => boolean} seen whether somebody may look at it
 * @property {() => void} moved the connector is of no more use: make another one
 */
class Connector {
  #gateway; #pool; #target; #options; #at; #sink;
  #order; #transport;
  #unfit = new Set(); // transports that did not work
  #fresh = true; // this transport has never opened
  #misses = 0; // connections in a row that never opened
  #failures = 0; // since the last sign that it works
  #opened = 0; // when the connection of the moment did; 0: not yet
  #asked = 0; // until when the gateway asked to wait
  #woken = false; // since it was open
  #lastTries = 0;
  #bearer; // the token of the attempt
  #stale = 0; // since when the application has no newer token
  #attempt = null; // an AbortController; null while waiting
  #timer; #stopped = false;

  constructor(gateway, target, options, at, sink) {
    this.#gateway = gateway;
    this.#pool = gateway.pool;
    this.#target = target;
    this.#options = options;
    this.#at = at;
    this.#sink = sink;
    this.#order = FALLBACK[options.transport] ?? FALLBACK.sse;
    this.#transport = this.#order[0];
    connectors.add(this);
    this.#pool.connectors.add(this);
    this.#connectIn(0); // not now, so that the caller has the handle when the first callback comes
  }

  stop() {
    if (this.#stopped) return;
    this.#stopped = true;
    connectors.delete(this);
    this.#pool.connectors.delete(this);
    this.#disconnect();
    clearTimeout(this.#timer);
  }

  cut() {
    if (this.#attempt) this.#lost();
  }

  networkChanged() {
    this.#unfit.clear();
    this.#pool.unfit.clear();
    this.#failures = 0;
    this.#disconnect();
    this.#sink.state('waiting', this.#transport, { delay: 0 });
    this.#connectIn(Math.random() * AWAKE);
  }

  /**
   * Connects soon if it waits because of failures: the gateway is there, or somebody looks. An attempt that is under way has to open soon then,
   * or is begun again, once: it may be one of the time when nothing passed.
   */
  wake() {
    if (this.#stopped || this.#opened || Date.now() < this.#asked) return;
    const again = () => {
      this.#failures = 0;
      this.#disconnect();
      this.#connectIn(Math.random() * AWAKE);
    };
    if (!this.#attempt) return this.#failures ? again() : undefined;
    if (this.#woken) return;
    this.#woken = true;
    const { signal } = this.#attempt;
    const timer = setTimeout(() => this.#opened || again(), DOUBT);
    signal.addEventListener('abort', () => clearTimeout(timer));
  }

  // Attempts.

  #disconnect() {
    const attempt = this.#attempt;
    this.#attempt = null;
    if (this.#opened && Date.now() - this.#opened >= STEADY) this.#failures = 0;
    this.#opened = 0;
    attempt?.abort(new Error('disconnected'));
  }

  /** Ends the attempt of the moment, and returns the signal of a new one. */
  #begin() {
    this.#disconnect();
    this.#attempt = new AbortController();
    return this.#attempt.signal;
  }

  #connectIn(delay) {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    this.#timer = setTimeout(() => this.#connect(this.#begin()), delay);
  }

  async #connect(signal) {
    const transport = await this.#choose(signal);
    if (signal.aborted) return;
    if (transport !== this.#transport) {
      this.#transport = transport;
      this.#fresh = true;
      this.#misses = 0;
    }
    this.#sink.state('connecting', transport);
    if (signal.aborted) return;
    try {
      if (transport === 'sse') await this.#stream(signal);
      else if (transport === 'websocket') await this.#socket(signal);
      else await this.#poll(signal);
    } catch (error) {
      if (!signal.aborted) this.#failed(error);
    }
  }

  /** An attempt has failed. */
  #failed(error) {
    if (error instanceof Stale) this.#stale ||= Date.now();
    if (isFinal(error) || (error instanceof Stale && Date.now() - this.#stale > RENEWAL)) this.#finish(null, error);
    else if (error instanceof NotHere) this.#next();
    else if (error instanceof NoToken) this.#lost({ asked: true });
    else this.#lost({ least: (error?.retryAfter ?? 0) * 1000, asked: error instanceof Stale });
  }

  /**
   * Takes the first transport that may work. One follower has a stream of its own; more of them share a WebSocket, which is none of the
   * six connections; where that does not work, a few have streams, and the others poll. A page that cannot know what other tabs hold has
   * a stream only if it was asked for.
   */
  async #choose(signal) {
    const one = this.#pool.counts || this.#options.transport ? 1 : 0;
    const fit = (transport) => !this.#unfit.has(transport) && !this.#pool.isUnfit(transport);
    const hasSocket = this.#gateway.WebSocket && this.#order.includes('websocket') && fit('websocket');
    for (const transport of this.#order) {
      if (transport === 'poll') return transport;
      if (!fit(transport)) continue;
      if (transport === 'sse' && this.#gateway.EventSource && (await this.#pool.hold(hasSocket ? one : HELD, signal))) return transport;
      if (transport === 'websocket' && hasSocket) return transport;
    }
    return 'poll';
  }

  /** The connection is there. */
  #open() {
    if (this.#opened) return;
    this.#opened = Date.now();
    this.#fresh = this.#woken = false;
    this.#stale = 0;
    if (this.#bearer) this.#gateway.taken = this.#bearer;
    this.#misses = 0;
    this.#pool.unfit.delete(this.#transport);
    this.#sink.state('open', this.#transport);
    if (this.#failures) this.#pool.wake(this);
  }

  /**
   * The connection is gone; make a new one, later each time.
   * @param {object} [why]
   * @param {number} [why.least] milliseconds that the gateway asks to wait
   * @param {boolean} [why.late] it did not open in time
   * @param {boolean} [why.asked] the gateway asked for it: no failure of the transport
   */
  #lost({ least = 0, late = false, asked = false } = {}) {
    if (this.#stopped) return;
    const never = !this.#opened && !asked;
    this.#disconnect();
    if (never && this.#fresh && (late || ++this.#misses >= FAILURES)) return this.#next();
    if (late) this.#fresh = true; // it worked before: one more try
    const { base = 500, max = this.#sink.seen() ? this.#pool.longest : UNSEEN } = this.#options.backoff ?? {};
    const delay = Math.max(least, Math.min(max, base * 2 ** this.#failures++) * (0.5 + Math.random() / 2));
    this.#asked = least > 0 ? Date.now() + least : 0;
    this.#sink.state('waiting', this.#transport, { delay });
    this.#connectIn(delay);
  }

  /** This transport does not work; take the next. If none does, it is no fault of theirs. */
  #next() {
    const transport = this.#transport;
    this.#fresh = true;
    this.#misses = 0;
    this.#unfit.add(transport);
    if (transport === this.#order.at(-1)) {
      this.#unfit.clear();
      for (const each of this.#order) this.#pool.unfit.delete(each);
      return this.#lost({ asked: true });
    }
    this.#pool.unfit.set(transport, Date.now() + UNFIT);
    this.#disconnect();
    this.#connectIn(0);
  }

  #finish(document, error) {
    if (this.#stopped) return;
    this.stop();
    this.#sink.end(document, error);
  }

  /** @param {string} [life] of the request, as what brought the event says it */
  #deliver(event, offset, life) {
    const reset = event.type.endsWith('.reset');
    if (this.#stopped || (!reset && !(offset > this.#at.offset))) return; // told already
    this.#failures = this.#lastTries = 0;
    if (!event.specversion) event = whole(event, this.#target.self, offset, life, this.#at.known);
    advance(this.#at, event, offset, this.#thin);
    this.#sink.event(event, offset, reset);
    if (hasEnded(event.data.status)) this.#finish(event.data);
  }

  // Calls.

  /** A short call, one at a time for all followers, so that the page's own calls find a connection. */
  #errand(signal, task, time) {
    return this.#pool.errand(signal, task, time);
  }

  /** Reads a document; null if it has not changed. */
  async #read(address, signal, headers) {
    const response = await this.#gateway.read(address, { headers: { Accept: 'application/json', ...headers }, signal });
    return response.status === 304 ? null : response.json();
  }

  /** Tells how the request stands. @returns {Promise<StatusDocument>} */
  async #status(signal, headers) {
    try {
      return await this.#read(this.#target.self, signal, headers);
    } catch (error) {
      if (error?.status !== 401 || !isTicketed(this.#target.events)) throw error;
      // Who has nothing but a ticket may not ask for the status; the newest event has it.
      const before = { ...this.#at, offset: Math.max(this.#at.offset - 1, 0) };
      const { events } = await this.#read(withQuery(this.#target.events, { after: before.offset && cursorText(before) }), signal);
      if (!events.length) throw error;
      return events.at(-1).data;
    }
  }

  /** Reads what is stored after the cursor. */
  #history(signal) {
    return this.#read(withQuery(this.#target.events, { after: this.#after(), form: this.#form }), signal);
  }

  /** Delivers what was read, and reports whether there may be more. */
  async #take(answer, signal) {
    if (answer.recovered === false && this.#at.offset > 0) {
      // As a stream tells it: how the request stands now, and on from there.
      this.#reset(await this.#status(signal));
      return true;
    }
    // The list is without gaps, so the last offset gives those before it.
    const life = lifeOf(answer.cursor);
    answer.events.forEach((event, i) => this.#deliver(event, answer.offset - (answer.events.length - 1 - i), life));
    return answer.events.length >= PAGE;
  }

  #reset(document) {
    const { id, life, sequence } = document;
    this.#deliver({ specversion: '1.0', id: [id, life, sequence].filter(Boolean).join('/'), type: 'request.reset', source: `/v1/requests/${id}`, data: document }, sequence);
  }

  #after() { return this.#at.offset && cursorText(this.#at); }

  get #thin() { return this.#options.form === 'thin'; }
  get #form() { return this.#thin && 'thin'; }

  /**
   * The transport gave up. The status says whether there is anything left to follow; if not, what was missed comes before the end.
   * @param {boolean} [expired] that is why
   */
  async #ask(expired = false) {
    const signal = this.#begin();
    let document = null;
    try {
      document = await this.#errand(signal, (own) => this.#status(own));
      if (!hasEnded(document.status)) {
        if (expired) return this.#lost({ asked: true });
        const renewed = this.#gateway.renews && this.#bearer !== this.#gateway.taken; // which may have been why
        if (this.#fresh && !renewed) return this.#next();
        this.#fresh = true; // it worked before, or may now: one more try
        return this.#lost();
      }
      const known = () => this.#at.offset >= document.sequence && (this.#at.life ?? document.life) === document.life;
      const catchUp = async (own) => this.#take(await this.#history(own), own);
      while (!this.#stopped && !known() && (await this.#errand(signal, catchUp)));
      this.#finish(document);
    } catch (error) {
      if (signal.aborted) return;
      const ended = document && hasEnded(document.status);
      if (ended && (isFinal(error) || ++this.#lastTries >= LAST_TRIES)) {
        this.#reset(document); // which ends it, too
        this.#finish(document);
      } else this.#failed(error);
    }
  }

  async #credentials(signal) {
    const who = await this.#gateway.credentials(signal);
    this.#bearer = who.bearer;
    return who;
  }

  /** The links with a fresh ticket, for who says who it is and cannot say it in the transport. */
  async #ticketed(signal) {
    const { self } = this.#target;
    const links = targetOf(await this.#errand(signal, (own) => this.#read(withQuery(self, { ticket: true }), own)));
    this.#bearer = this.#gateway.taken;
    return links;
  }

  /** Gives a connection up that does not open in time: something may hold back what it says. */
  #openWithin(signal) {
    const timer = setTimeout(() => this.#opened || this.#lost({ late: true }), this.#options.openTimeout ?? OPENING);
    const stop = () => clearTimeout(timer);
    signal.addEventListener('abort', stop);
    return { stop };
  }

  // Transports.

  async #stream(signal) {
    const { bearer, own } = await this.#credentials(signal);
    const links = bearer || own ? await this.#ticketed(signal) : this.#target;
    if (signal.aborted) return;
    const address = withQuery(this.#gateway.url(links.events), { heartbeat: 'event', after: this.#after(), form: this.#form });
    const source = made(() => new this.#gateway.EventSource(address));
    const silence = new Silence(HEARTBEAT * SILENCE * 1000, () => this.#lost());
    signal.addEventListener('abort', () => {
      source.onmessage = source.onerror = null;
      source.close();
      silence.stop();
    });
    this.#openWithin(signal);
    // EventSource would come back by itself, but not with another ticket, not in Firefox to another origin, and not from silence. That
    // it has the head of the answer (`onopen`) says nothing: what holds back the body lets that through.
    const on = (name, take) => source.addEventListener(name, ({ data }) => {
      if (signal.aborted) return;
      silence.heard();
      take(parsed(data));
    });
    on('heartbeat', (sign) => {
      if (sign.interval > 0) silence.within(sign.interval * SILENCE * 1000);
      this.#pool.told(sign);
      this.#open();
    });
    for (const name of ['busy', 'restart', 'unavailable']) on(name, ({ retry }) => this.#lost({ least: retry || 0, asked: true }));
    on('unauthenticated', () => this.#ask(true));
    on('end', () => this.#ask());
    source.onmessage = ({ data, lastEventId }) => {
      if (signal.aborted) return;
      silence.heard();
      const event = parsed(data);
      if (!event.type) return this.#lost();
      this.#open();
      this.#deliver(event, parseInt(lastEventId, 10), lifeOf(lastEventId));
    };
    source.onerror = () => {
      if (source.readyState === 2) this.#ask(); // 204, or an answer that is not a stream
      else this.#lost();
    };
  }

  /**
   * After failures a WebSocket is begun only if the gateway answers a call: browsers hold one back that comes after others that failed, Firefox for
   * 14 s after ten.
   */
  async #knock(signal) {
    if (this.#failures < 2) return;
    await this.#pool.knock(signal, async (own) => {
      try {
        await this.#read(this.#target.self, own);
      } catch (error) {
        if (!(error instanceof HarkError) || error.status >= 500) throw error; // others are the gateway's, or may be
      }
    });
  }

  async #socket(signal) {
    await this.#knock(signal);
    const { bearer, own } = await this.#credentials(signal);
    const links = own && !bearer ? await this.#ticketed(signal) : this.#target;
    if (signal.aborted) return;
    const [path, query] = links.socket.split('?');
    const channel = new URLSearchParams(query).get('channel');
    const { WebSocket } = this.#gateway;
    const late = this.#openWithin(signal);
    let held = null; // what came before it is known what stands between; null: nothing does
    // Who shares a channel may be told of what came after it has left, by what another one did when it was told.
    const current = (task) => (...values) => (signal.aborted ? undefined : task(...values));
    const subscriber = {
      opened: current(() => held || this.#open()),
      event: current((event, offset, life) => (held ? held.push([event, offset, life]) : this.#deliver(event, offset, life))),
      joined: current(async () => {
        held = [];
        late.stop();
        try {
          while (!signal.aborted && (await this.#errand(signal, async (own) => this.#take(await this.#history(own), own))));
        } catch (error) {
          return signal.aborted ? undefined : this.#failed(error);
        }
        if (signal.aborted) return;
        const came = held;
        held = null;
        this.#open();
        for (const [event, offset, life] of came) {
          if (signal.aborted) return;
          // Not a reset by which the others were told of what has been read since.
          if ((event.data?.life ?? life) !== this.#at.life || offset > this.#at.offset) this.#deliver(event, offset, life);
        }
      }),
      over: current(() => this.#ask()),
      lost: current((code) => {
        if (code && !mayReconnect(code)) this.#ask(code === EXPIRED);
        else this.#lost({ least: code === 1013 ? 2000 : 0, asked: code === 1013 || code === 1012 });
      }),
    };
    let socket;
    if (isTicketed(links.socket) && !bearer) {
      // A ticket is for one request, and who comes back may do so with an old one if the URL says so.
      const address = withQuery(this.#gateway.url(links.socket), { after: this.#after(), form: this.#form });
      socket = made(() => new Socket(this.#pool, WebSocket, address.replace(/^http/, 'ws')));
      socket.add(channel, subscriber);
    } else {
      const address = withQuery(this.#gateway.url(path), { form: this.#form }).replace(/^http/, 'ws'); // another one of each form
      socket = made(() => this.#pool.socket(WebSocket, address, bearer, channel));
      socket.subscribe(channel, subscriber, this.#after());
    }
    signal.addEventListener('abort', () => socket.leave(channel, subscriber));
  }

  async #poll(signal) {
    let newest = null;
    let long = false;
    for (let first = true; !signal.aborted; first = false) {
      // A poll that waits holds a connection, of which there are few; without one it is short and has its turn.
      long ||= await this.#pool.hold(HELD, signal);
      const { interval } = this.#pool;
      const call = (task, time = this.#pool.silence(BRIEF)) => (long ? limited(signal, time, task) : this.#errand(signal, task, time));
      const more = await call(async (own) => {
        const answer = await this.#history(own);
        this.#open();
        return this.#take(answer, own);
      });
      if (this.#stopped) return;
      if (more) continue;
      if (newest && hasEnded(newest.status)) return this.#finish(newest); // its events are gone
      this.#failures = 0;
      if (!long && !first) await pause(PACE * (0.75 + Math.random() / 2), signal);
      const asked = Date.now();
      const since = this.#at.sequence;
      // It waits no longer than a heartbeat, so that silence is noticed as elsewhere.
      const wait = interval ? Math.min(WAIT, interval) : WAIT;
      const headers = { 'If-None-Match': `W/"${this.#at.life ? `${this.#at.life}-` : ''}${since}"`, ...(long && { Prefer: `wait=${wait}` }) };
      const status = await call((own) => this.#status(own, headers), long ? this.#pool.silence(WAIT * 1000 + PATIENCE) : undefined);
      if (status) {
        newest = status;
        this.#at.sequence = status.sequence;
        if (status.sequence !== since || hasEnded(status.status)) continue;
      }
      // A server that does not wait must not be asked without a pause.
      if (Date.now() - asked < wait * 500 && Date.now() - asked < 1000) await pause(500 + Math.random() * 500, signal);
    }
  }
}

// ---- Connections that followers share -------------------------------------------------------------------------------------

/**
 * What the followers of one gateway share, in this page or in the worker of all tabs: WebSockets, how many connections they
 * hold, the turns of their short calls, and what is known to work.
 */
class Pool {
  /** @type {Map<Transport, number>} until when a transport is not tried */
  unfit = new Map();
  /** @type {Set<Connector>} */
  connectors = new Set();
  /** @type {number|undefined} seconds between two signs of life, as soon as the gateway has said */
  interval;
  /** Milliseconds that a page that is seen waits at most before it connects again. */
  longest = SEEN;
  #name;
  #knock = null;
  /** @type {Map<string, Socket[]>} by address and token */
  #sockets = new Map();
  #held = new Set();
  #turn = Promise.resolve();

  /** @param {string|null} name under which tabs share the connections that they hold; null: they do not */
  constructor(name) { this.#name = name; }

  /** Whether what other tabs hold is counted, too. */
  get counts() { return !this.#name || typeof document === 'undefined' || Boolean(globalThis.navigator?.locks); }

  isUnfit(transport) { return (this.unfit.get(transport) ?? 0) > Date.now(); }

  /** Takes one of the connections that may be held, until the signal; false if all are taken. */
  async hold(most, signal) {
    for (let i = 0; i < most && !signal.aborted; i++) {
      if (this.#held.has(i)) continue;
      this.#held.add(i);
      const release = await lock(this.#name && `hark:${this.#name}:${i}`);
      const free = () => {
        this.#held.delete(i);
        release?.();
      };
      if (!release || signal.aborted) free();
      else {
        signal.addEventListener('abort', free);
        return true;
      }
    }
    return false;
  }

  /** What the gateway says of itself with a sign of life. */
  told({ interval, retry }) {
    if (interval > 0) this.interval = interval;
    if (retry >= 0) this.longest = Math.min(UNSEEN, Math.max(HASTE, (retry * 4) / 3));
  }

  /** Milliseconds after which a connection is dead on which nothing comes, but not more than so many. */
  silence(most) { return this.interval ? Math.min(most, this.interval * SILENCE * 1000) : most; }

  /** One got through: so may the others. */
  wake(who) {
    this.#knock = null;
    for (const each of [...this.connectors]) if (each !== who) each.wake();
  }

  /** Asks whether the gateway is there. All who want to know at a time share the answer. */
  knock(signal, task) {
    if (!this.#knock) {
      const forget = () => { if (this.#knock === knock) this.#knock = null; };
      const knock = (this.#knock = limited(new AbortController().signal, this.silence(PATIENCE), task));
      knock.then(forget, forget);
    }
    const knock = this.#knock;
    return limited(signal, PATIENCE, () => knock);
  }

  /** Runs a short call when those before it are done. */
  async errand(signal, task, time = BRIEF) {
    const before = this.#turn;
    let done;
    this.#turn = new Promise((resolve) => { done = resolve; });
    try {
      await before;
      return await limited(signal, time, task);
    } finally {
      done();
    }
  }

  /** A WebSocket of a caller on which a channel is subscribed to, or can be. Different tokens never share one. */
  socket(WebSocket, address, token, channel) {
    const key = `${address}\n${token ?? ''}`;
    const sockets = this.#sockets.get(key) ?? [];
    this.#sockets.set(key, sockets);
    const there = sockets.find((each) => each.has(channel)) ?? sockets.find((each) => each.hasRoom);
    if (there) return there;
    const socket = new Socket(this, WebSocket, address, token, () => {
      sockets.splice(sockets.indexOf(socket), 1);
      if (!sockets.length) this.#sockets.delete(key);
    });
    sockets.push(socket);
    return socket;
  }
}

/** @type {Map<string, Pool>} of each gateway */
const pools = new Map();

/** One WebSocket with many channels, each of one follower or more. It closes when the last one has left. */
class Socket {
  #pool; #socket; #token; #gone; #probe;
  /**
   * By name. Who comes later than the first one, with another cursor, has to read what stands between by itself.
   * @type {Map<string, {subscribers: Set<any>, later: Set<any>, after?: any, ready: boolean, asked: boolean, life?: string}>}
   */
  #channels = new Map();

  constructor(pool, WebSocket, address, token, gone) {
    this.#pool = pool;
    this.#token = token;
    this.#gone = gone;
    const socket = (this.#socket = new WebSocket(address, 'hark.v1'));
    this.#probe = new Probe(() => this.#send({ op: 'ping' }), () => this.#end());
    socket.onopen = () => {
      if (this.#token) this.#send({ op: 'auth', token: this.#token });
      for (const [name, channel] of this.#channels) this.#ask(name, channel);
      this.#probe.start();
    };
    socket.onmessage = ({ data }) => {
      this.#probe.heard();
      this.#take(parsed(data));
    };
    socket.onclose = ({ code }) => this.#end(code);
  }

  has(name) { return this.#channels.has(name); }
  get hasRoom() { return this.#channels.size < CROWD; }

  /** Has a channel whose subscription is made by the URL. */
  add(name, subscriber) { this.#channels.set(name, { subscribers: new Set([subscriber]), later: new Set(), ready: true, asked: true }); }

  subscribe(name, subscriber, cursor) {
    const after = cursor || undefined;
    const there = this.#channels.get(name);
    if (there) {
      there.subscribers.add(subscriber);
      if (there.ready) subscriber.joined();
      else if (there.after !== after) there.later.add(subscriber);
      return;
    }
    const channel = { subscribers: new Set([subscriber]), later: new Set(), after, ready: false, asked: false };
    this.#channels.set(name, channel);
    if (this.#socket.readyState === 1) this.#ask(name, channel);
  }

  leave(name, subscriber) {
    const channel = this.#channels.get(name);
    if (!channel?.subscribers.delete(subscriber) || channel.subscribers.size) return;
    this.#channels.delete(name);
    if (!this.#channels.size) this.#end();
    else if (this.#socket.readyState === 1) this.#send({ op: 'unsubscribe', channel: name });
  }

  #ask(name, channel) {
    if (channel.asked) return;
    channel.asked = true;
    this.#send({ op: 'subscribe', channel: name, after: channel.after });
  }

  #send(message) {
    if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #take(message) {
    if (message.op === 'pong') {
      this.#pool.told(message);
      if (message.interval > 0) this.#probe.every(message.interval);
    }
    const channel = this.#channels.get(message.channel);
    if (!channel) return; // it was left, or the message is of none
    switch (message.op) {
      case 'subscribed':
        channel.ready = true;
        channel.life = message.life;
        for (const each of [...channel.subscribers]) channel.later.has(each) ? each.joined() : each.opened();
        channel.later.clear();
        break;
      case 'event':
        // Before that it is of a subscription that this one takes the place of, and what stands between them would be missed.
        if (!channel.ready) break;
        for (const each of [...channel.subscribers]) {
          each.opened();
          // In thin form the event's members stand beside those of the message.
          each.event(message.event ?? message, message.offset, channel.life);
        }
        break;
      case 'error':
        if (message.problem?.type === '/problems/not-subscribed') break; // it had ended when it was left
      // falls through
      case 'end':
        this.#channels.delete(message.channel); // the gateway has, too
        for (const each of [...channel.subscribers]) each.over();
        if (!this.#channels.size) this.#end();
    }
  }

  /** @param {number} [code] why; absent if nobody said, or nobody is left */
  #end(code) {
    const socket = this.#socket;
    if (!socket.onclose) return;
    this.#probe.stop();
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
    this.#gone?.();
    const left = [...this.#channels.values()];
    this.#channels.clear();
    for (const { subscribers } of left) for (const each of [...subscribers]) each.lost(code);
  }
}

/** Notices that nothing was heard for too long, by the clock on the wall: a timer of a hidden tab is late, and one of a machine that sleeps stands still. */
class Silence {
  #limit; #over; #timer;
  #last = Date.now();

  constructor(limit, over) {
    this.#over = over;
    this.within(limit);
  }

  within(limit) {
    this.#limit = limit;
    this.#check();
  }

  heard() { this.#last = Date.now(); }
  stop() { clearTimeout(this.#timer); }

  #check() {
    clearTimeout(this.#timer);
    this.#last = Math.min(this.#last, Date.now()); // somebody may set the clock
    const left = this.#last + this.#limit - Date.now();
    if (left > 0) this.#timer = setTimeout(() => this.#check(), Math.min(left, this.#limit / 5));
    else this.#timer = setTimeout(() => (Date.now() - this.#last < this.#limit ? this.#check() : this.#over()), UNREAD);
  }
}

/** Asks for a sign of life now and then. It has missed none as long as the last question was answered, however late a timer is. */
class Probe {
  #ask; #dead; #timer; #late;
  #interval = HEARTBEAT * 1000;

  constructor(ask, dead) {
    this.#ask = ask;
    this.#dead = dead;
  }

  /** Asks at once, and then again and again. */
  start() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.start(), this.#interval);
    this.#late ??= setTimeout(() => { this.#late = setTimeout(() => this.#dead(), UNREAD); }, Math.min(PATIENCE, this.#interval * (SILENCE - 1)));
    this.#ask();
  }

  every(seconds) {
    if (seconds * 1000 === this.#interval) return;
    this.#interval = seconds * 1000;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.start(), this.#interval);
  }

  heard() {
    clearTimeout(this.#late);
    this.#late = undefined;
  }

  stop() {
    clearTimeout(this.#timer);
    this.heard();
  }
}

// ---- One set of connections for all tabs ----------------------------------------------------------------------------------

// The browser counts connections for all tabs of an origin, so where there are shared workers one holds those of all. It is this
// module, too: a page has a RemoteConnector for each follower, the worker a Guest for each page, with its connectors.

const WORKER = 'hark-2'; // its name; another number for another language between pages and worker
const WELCOME = 3000; // milliseconds that the worker may take to begin
const CHECKED = 10; // seconds between two questions of a page whether the worker lives
const VANISHED = 3 * 60_000; // milliseconds after which a page without a lock that says nothing is gone

/** The way to the worker. @type {Tabs|null} */
let tabs = null;
let alone = false; // there is no use in a worker

/** Follows in the worker of all tabs, if there is one for this gateway; else null. */
function followInWorker(gateway, target, options, at, sink) {
  const script = alone || gateway.injected ? null : workerScript(gateway.config.worker, gateway.base);
  if (!script) return null;
  try {
    tabs ??= new Tabs(script);
    return tabs.follow(gateway, target, options, at, sink);
  } catch { // what cannot be sent, or a worker that is forbidden
    alone = true;
    return null;
  }
}

/**
 * Where the worker's script is: here, unless this module is part of something bigger, which must not run in a worker. Not for a gateway of another
 * origin: the policy that Hark serves this file with forbids the worker to connect to it, and WebKit tells a worker nothing of that.
 */
function workerScript(worker, base) {
  if (worker === false || typeof SharedWorker === 'undefined' || typeof document === 'undefined') return null;
  if (worker) return String(worker);
  try {
    const here = new URL(import.meta.url);
    return here.origin === location.origin && new URL(base, here).origin === here.origin && here.pathname.endsWith('/hark.js') ? here.href : null;
  } catch {
    return null;
  }
}

/** What a page has of the worker. */
class Tabs {
  #port; #probe; #release; #patience;
  #left = false;
  #count = 0;
  /** @type {Map<number, RemoteConnector>} */
  #remotes = new Map();
  #gateways = [];

  constructor(script) {
    const worker = new SharedWorker(script, { type: 'module', name: WORKER });
    worker.onerror = () => this.#fail();
    this.#port = worker.port;
    this.#port.onmessage = ({ data }) => this.#take(data);
    this.#probe = new Probe(() => this.post({ op: 'ping' }), () => this.#fail());
    this.#probe.every(CHECKED);
    this.#patience = setTimeout(() => this.#fail(), WELCOME);
    this.post({ op: 'seen', seen: isSeen() });
    this.#introduce();
  }

  /** Says by a lock that this page lives: the browser gives it to the worker when the page is gone, however that came. */
  async #introduce() {
    const name = `hark:page:${randomKey()}`;
    this.#release = await lock(name);
    if (this.#left) this.#release?.();
    else this.post({ op: 'hello', lock: this.#release && globalThis.navigator?.locks ? name : null });
  }

  post(message) {
    if (!this.#left) this.#port.postMessage(message);
  }

  follow(gateway, target, { transport, backoff, openTimeout, form }, at, sink) {
    let client = this.#gateways.indexOf(gateway);
    if (client < 0) client = this.#gateways.push(gateway) - 1;
    const { base, headers, token } = gateway.config;
    const id = ++this.#count;
    this.post({ op: 'follow', id, client, config: { base: gateway.base, headers, ...(typeof token === 'function' ? { keyed: true } : { token }) }, target, options: { transport, backoff, openTimeout, form }, at });
    const remote = new RemoteConnector(at, form === 'thin', sink, (message) => this.post({ id, ...message }), () => this.#remotes.delete(id));
    this.#remotes.set(id, remote);
    return remote;
  }

  /** Lets go of the worker, and so of what it holds for this page. */
  leave() {
    if (this.#left) return;
    this.post({ op: 'bye' });
    this.#left = true;
    if (tabs === this) tabs = null;
    clearTimeout(this.#patience);
    this.#probe.stop();
    this.#port.close();
    this.#release?.();
  }

  /** There is no worker, or none that works: this page goes on alone. */
  #fail() {
    if (this.#left) return;
    alone = true;
    this.#move();
  }

  #move() {
    const remotes = [...this.#remotes.values()];
    this.leave();
    for (const each of remotes) each.sink.moved();
  }

  async #take(message) {
    this.#probe.heard();
    const remote = this.#remotes.get(message.id);
    switch (message.op) {
      case 'welcome':
        clearTimeout(this.#patience);
        this.#probe.start();
        break;
      case 'token': {
        const answer = { op: 'token', ask: message.ask };
        try {
          answer.token = await this.#gateways[message.client].token(message.refused);
        } catch (error) {
          answer.failed = String(error?.message ?? error);
        }
        this.post(answer);
        break;
      }
      case 'unfit':
        this.#fail();
        break;
      case 'stranger': // it took this page for gone
        this.#move();
        break;
      default:
        remote?.take(message);
    }
  }
}

/** A connector in the worker. */
class RemoteConnector {
  #at; #thin; #post; #forget;

  constructor(at, thin, sink, post, forget) {
    this.sink = sink;
    this.#at = at;
    this.#thin = thin;
    this.#post = post;
    this.#forget = forget;
  }

  stop() {
    this.#forget();
    this.#post({ op: 'stop' });
  }

  cut() { this.#post({ op: 'cut' }); }

  take({ op, event, offset, reset, state, transport, more, document, error }) {
    if (op === 'event') {
      advance(this.#at, event, offset, this.#thin);
      this.sink.event(event, offset, reset);
    } else if (op === 'state') this.sink.state(state, transport, more);
    else if (op === 'end') this.sink.end(document, error && (error.status ? new HarkError(error.status, error.problem, error.retryAfter) : new Error(error.message)));
  }
}

/** What the worker has of a page. */
class Guest {
  #port; #watch;
  /** @type {Map<number, Connector>} */
  #connectors = new Map();
  #gateways = new Map();
  #asked = new Map();
  #asks = 0;
  #heard = Date.now();
  #seen = true; // the page
  #gone = false;

  constructor(port) {
    this.#port = port;
    guests.add(this);
    port.onmessage = ({ data }) => this.#take(data);
  }

  post(message) { this.#port.postMessage(message); }

  #take(message) {
    this.#heard = Date.now();
    if (this.#gone) return message.op !== 'bye' && this.post({ op: 'stranger' });
    const { op, id } = message;
    const connector = this.#connectors.get(id);
    switch (op) {
      case 'hello':
        if (message.lock) lock(message.lock, true).then((release) => {
          this.#leave();
          release?.();
        });
        else this.#watch = setInterval(() => Date.now() - this.#heard > VANISHED && this.#leave(), VANISHED / 3);
        this.post({ op: 'welcome' });
        break;
      case 'follow':
        this.#follow(message);
        break;
      case 'stop':
        connector?.stop();
        this.#connectors.delete(id);
        break;
      case 'cut':
        connector?.cut();
        break;
      case 'token':
        this.#asked.get(message.ask)?.(message);
        this.#asked.delete(message.ask);
        break;
      case 'ping':
        this.post({ op: 'pong' });
        break;
      case 'online':
        networkChanged();
        break;
      case 'seen':
        this.#seen = message.seen;
        if (message.seen) for (const each of this.#connectors.values()) each.wake();
        break;
      case 'bye':
        this.#leave();
        this.#port.close();
    }
  }

  #follow({ id, client, config, target, options, at }) {
    const { base, headers, keyed, token } = config;
    const source = keyed ? (refused) => this.#token(client, refused) : token;
    if (!this.#gateways.has(client)) this.#gateways.set(client, gatewayOf({ base, headers, token: source }, () => {})); // the page reports
    this.#connectors.set(id, new Connector(this.#gateways.get(client), target, options, at, {
      event: (event, offset, reset) => this.post({ op: 'event', id, event, offset, reset }),
      state: (state, transport, more) => this.post({ op: 'state', id, state, transport, more }),
      end: (document, error) => {
        this.#connectors.delete(id);
        this.post({ op: 'end', id, document, error: error && { message: error.message, status: error.status, problem: error.problem, retryAfter: error.retryAfter } });
      },
      seen: () => this.#seen,
    }));
  }

  /** Has the page ask its application for a token. */
  #token(client, refused) {
    return new Promise((resolve, reject) => {
      const ask = ++this.#asks;
      this.#asked.set(ask, ({ token, failed }) => (failed === undefined ? resolve(token) : reject(new Error(failed))));
      this.post({ op: 'token', client, ask, refused });
    });
  }

  #leave() {
    if (this.#gone) return;
    this.#gone = true;
    guests.delete(this);
    clearInterval(this.#watch);
    for (const each of this.#connectors.values()) each.stop();
    this.#connectors.clear();
  }
}

/** @type {Set<Guest>} */
const guests = new Set();

if (typeof SharedWorkerGlobalScope !== 'undefined' && globalThis instanceof SharedWorkerGlobalScope && globalThis.name === WORKER) {
  globalThis.onconnect = ({ ports: [port] }) => new Guest(port);
  // The worker's script has a policy of its own, which may forbid what the pages may.
  globalThis.addEventListener('securitypolicyviolation', () => {
    for (const each of guests) each.post({ op: 'unfit' });
  });
}

// ---- Small things ---------------------------------------------------------------------------------------------------------

/** A transport that there is not, or that is forbidden. */
class NotHere extends Error {}

/** The application has no token at the moment, which is no fault of a transport. */
class NoToken extends Error {}

function made(make) {
  try {
    return make();
  } catch (error) {
    throw new NotHere(error?.message, { cause: error });
  }
}

/** Tells of an error of the application's as if nothing had caught it. @param {any} error */
function report(error) {
  if (typeof globalThis.reportError === 'function') globalThis.reportError(error);
  else setTimeout(() => { throw error; });
}

/** A token is refused, others of this client were taken, and the application has no newer one yet: its clock may be behind that of the gateway. */
class Stale extends HarkError {}

/** An answer that another attempt would not change. */
const isFinal = (error) => error instanceof HarkError && !(error instanceof Stale) && [401, 403, 404, 410].includes(error.status);

const isTicketed = (address) => new URLSearchParams(address.split('?')[1]).has('ticket');

const cursorText = ({ offset, life }) => (life ? `${offset}-${life}` : String(offset));

/** The life that a cursor names, if it does. @param {string} [cursor] */
const lifeOf = (cursor) => cursor?.split('-')[1];

/** Moves a cursor behind an event. @param {boolean} [keep] what it says, for thin events that follow */
function advance(at, { data }, offset, keep) {
  at.offset = offset;
  at.life = data.life;
  at.sequence = data.sequence ?? at.sequence;
  if (keep) at.known = data;
}

/** What the status is behind an event of a type, unless a thin event says otherwise; behind the others it has the type's name. */
const IMPLIED = { accepted: 'pending', retrying: 'pending', answered: 'pending', redriven: 'pending', started: 'processing', progress: 'processing' };

/**
 * Makes a whole event of a thin one.
 * @param {ThinEvent} thin
 * @param {string} self where the request is
 * @param {number} sequence
 * @param {string|undefined} life
 * @param {StatusDocument|undefined} before how the request stood, as far as that is known
 * @returns {HarkEvent}
 */
function whole(thin, self, sequence, life, before) {
  const path = new URL(self, 'http://localhost').pathname;
  const id = decodeURIComponent(path.split('/').at(-1));
  const kind = thin.type.split('.')[1];
  const fresh = kind === 'reset'; // which says all
  if (fresh || before?.life !== life) before = undefined;
  const status = thin.status ?? IMPLIED[kind] ?? kind;
  const ended = hasEnded(status);
  const says = kind === 'started' || kind === 'progress' || fresh || Boolean(thin.batch);
  const of = (name) => (says ? thin[name] : kind === 'redriven' ? undefined : before?.[name]) ?? null;
  const { time, result } = thin;
  const data = {
    id,
    ...(life && { life }),
    status,
    route: thin.route ?? before?.route ?? null,
    topic: thin.topic ?? before?.topic ?? null,
    step: of('step'),
    percent: kind === 'succeeded' ? 100 : of('percent'),
    message: of('message'),
    attempt: thin.attempt ?? (kind === 'accepted' || thin.batch ? 0 : 1),
    position: thin.position ?? null,
    eta: null,
    error: thin.error ? { detail: null, ...thin.error } : null,
    result: result ? { ...result, href: `${path}/result` } : null,
    sequence,
    createdAt: thin.createdAt ?? before?.createdAt ?? (kind === 'accepted' ? time : null),
    updatedAt: time ?? before?.updatedAt ?? null,
    // What was begun before it was followed began then, whenever this attempt did.
    startedAt: kind === 'redriven' ? null : thin.startedAt ?? before?.startedAt ?? (kind === 'started' && before?.createdAt ? time : null),
    endedAt: thin.endedAt ?? (ended ? time : null),
    expiresAt: thin.question?.expiresAt ?? (ended || before?.question || ['redriven', 'answered'].includes(kind) ? null : before?.expiresAt ?? null),
    ...optional('concurrencyKey', thin.concurrencyKey ?? before?.concurrencyKey),
    ...optional('batchId', thin.batchId ?? before?.batchId),
    ...optional('redriven', thin.redriven ?? before?.redriven),
    ...optional('batch', thin.batch),
    ...optional('question', thin.question),
    links: linksOf(id, path, status, thin),
  };
  return {
    specversion: '1.0', id: [id, life, sequence].filter(Boolean).join('/'), source: path, type: thin.type,
    ...optional('subject', data.topic ?? undefined), ...optional('time', time), data,
  };
}

/** What a document tells who follows after an offset: how the request stood, if it is of there, else what does not change. */
function knownOf(document, after) {
  if (Number.parseInt(after, 10) === document.sequence) return document;
  const { life, route, topic, createdAt, expiresAt, concurrencyKey, batchId } = document;
  return { life, route, topic, createdAt, ...(hasEnded(document.status) || document.question ? {} : { expiresAt }), concurrencyKey, batchId };
}

const optional = (name, value) => (value === undefined ? {} : { [name]: value });

/** The links of a document, as the gateway writes them. */
function linksOf(id, path, status, { question, batch }) {
  const link = (rel, href, method = 'GET') => ({ rel, href, method });
  return [
    link('self', path), link('result', `${path}/result`), link('events', `${path}/events`), link('socket', `/v1/ws?channel=request:${id}`),
    ...(hasEnded(status) ? [] : [link('cancel', `${path}/cancel`, 'POST')]),
    ...(question ? [link('input', `${path}/input`, 'POST')] : []),
    ...(batch ? [link('requests', `/v1/batches/${id}/requests`)] : []),
  ];
}

/** JSON, or nothing of it if something has changed it on the way. */
function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/**
 * Takes one of the locks that all tabs share, and returns what releases it, null if another one has it. Where there are no such locks each gets its own.
 * @param {string|null} name @param {boolean} [wait] until it is free
 * @returns {Promise<(() => void)|null>}
 */
function lock(name, wait = false) {
  const locks = name && globalThis.navigator?.locks;
  if (!locks) return Promise.resolve(() => {});
  return new Promise((resolve) => {
    locks.request(name, { ifAvailable: !wait }, (granted) => {
      if (!granted) return resolve(null);
      return new Promise((release) => { resolve(() => release(undefined)); });
    }).catch(() => resolve(() => {})); // not in this context
  });
}

/** Runs a task until it is done, the signal says so, or the time is over. */
async function limited(signal, milliseconds, task, late = () => new Error(`no answer within ${milliseconds} ms`)) {
  signal.throwIfAborted();
  const own = new AbortController();
  let aborted;
  let timer;
  const given = new Promise((_, reject) => {
    aborted = () => reject(signal.reason);
    signal.addEventListener('abort', aborted);
    timer = setTimeout(() => reject(late()), milliseconds);
  });
  try {
    return await Promise.race([task(own.signal), given]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', aborted);
    own.abort(); // whatever the task still does
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal */
const pause = (milliseconds, signal) => limited(signal, milliseconds + BRIEF, () => sleep(milliseconds));

function targetOf(request) {
  if (typeof request === 'string') {
    const self = `/v1/requests/${encodeURIComponent(request)}`;
    return { self, events: `${self}/events`, socket: `/v1/ws?channel=request:${encodeURIComponent(request)}` };
  }
  const links = Array.isArray(request) ? request : request.links;
  return Object.fromEntries(links.map((link) => [link.rel, link.href]));
}

function withQuery(address, params) {
  const query = new URLSearchParams(Object.entries(params).filter(([, value]) => value).map(([k, v]) => [k, String(v)]));
  return query.size ? address + (address.includes('?') ? '&' : '?') + query : address;
}

const isBytes = (content) =>
  content instanceof ArrayBuffer || ArrayBuffer.isView(content) || (typeof Blob !== 'undefined' && content instanceof Blob);

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

const seconds = (header) => (header && /^\d+$/.test(header) ? Number(header) : undefined);

// crypto.randomUUID exists in secure contexts only.
const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

const here = createClient();
export const { submit, submitBatch, follow, get, list, cancel, answer, forget, result } = here;
