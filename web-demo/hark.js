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
 * @typedef {'pending'|'processing'|'succeeded'|'failed'|'canceled'|'expired'} Status
 *
 * @typedef {object} Link
 * @property {'self'|'result'|'events'|'socket'|'cancel'|'requests'} rel
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
 * @property {{total: number, open: number, succeeded: number, failed: number, canceled: number, expired: number}} [batch] of a batch only
 * @property {Link[]} links
 *
 * @typedef {object} HarkEvent A CloudEvent.
 * @property {string} id
 * @property {string} type  `request.accepted`, `.started`, `.progress`, `.retrying`, `.succeeded`, `.failed`, `.canceled`, `.expired`, `.reset`
 * @property {string} source
 * @property {string} [subject]
 * @property {string} [time]
 * @property {StatusDocument} data
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
 * @property {Transport} [transport] what to try first; default `sse`
 * @property {number|string} [after] the offset of the last event that is known, or the cursor of another follower; default 0
 * @property {(event: HarkEvent, offset: number) => void} [onEvent] once for each event, in order
 * @property {(event: HarkEvent, offset: number) => void} [onReset]
 *   events were missed for good, `event.data` is how the request stands now; default `onEvent`
 * @property {(document: StatusDocument|null, error?: Error) => void} [onEnd]
 *   the request has ended, or it cannot be followed at all, and then there is an error
 * @property {(state: State) => void} [onState]
 * @property {{base?: number, max?: number}} [backoff] milliseconds; default 500 and 20000
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

/** Whether nothing can follow. @param {Status} status */
export const hasEnded = (status) => ENDED.has(status);

const OPTIONS = ['id', 'route', 'topic', 'priority', 'delay', 'timeout', 'retention', 'maxAttempts'];

/**
 * @param {object} [config]
 * @param {string} [config.base] origin of the gateway; default the page's own
 * @param {Record<string, string>} [config.headers] sent with every HTTP call
 * @param {string | (() => string|null|undefined|Promise<string|null|undefined>)} [config.token] an API key or a
 *   JSON Web Token, or what returns one that is still good. No long-lived token stands in a URL: a stream is opened with a ticket for the request.
 * @param {typeof globalThis.fetch} [config.fetch]
 * @param {any} [config.EventSource]
 * @param {any} [config.WebSocket]
 */
export function createClient(config = {}) {
  const env = {
    fetch: config.fetch ?? ((...args) => globalThis.fetch(...args)),
    EventSource: 'EventSource' in config ? config.EventSource : globalThis.EventSource,
    WebSocket: 'WebSocket' in config ? config.WebSocket : globalThis.WebSocket,
  };
  const base = config.base ?? globalThis.location?.origin ?? '';
  const url = (path) => (base ? new URL(path, base).href : path);

  const token = async () => (typeof config.token === 'function' ? config.token() : config.token);
  const sendsOwn = Object.keys(config.headers ?? {}).some((name) => name.toLowerCase() === 'authorization');
  /** Whether calls say who makes them, which a stream cannot. */
  const keyed = async () => sendsOwn || Boolean(await token());

  /** Calls the gateway; anything but success and 304 is a {@link HarkError}. */
  async function call(path, { headers, ...init } = {}) {
    const bearer = await token();
    const all = { ...(bearer && { Authorization: `Bearer ${bearer}` }), ...config.headers, ...headers };
    const response = await env.fetch(url(path), { ...init, headers: all });
    if (response.ok || response.status === 304) return response;
    const problem = await response.json().catch(() => ({}));
    throw new HarkError(response.status, problem ?? {}, seconds(response.headers.get('Retry-After')));
  }

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
   * and canceled like a request, and ends when they have ended.
   * @param {{content: any, [option: string]: any}[]} requests up to 1000, each with its content and its options
   * @param {{id?: string, topic?: string, retention?: string, idempotencyKey?: string, retries?: number, signal?: AbortSignal}} [options]
   * @returns {Promise<StatusDocument>}
   */
  async function submitBatch(requests, { id, topic, retention, ...options } = {}) {
    return await post('/v1/batches', JSON.stringify({ id, topic, retention, requests }), 'application/json', options);
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
        return await (await call(status)).json();
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
   * Follows a request until it ends. Connections that break are made again, with
   * growing, jittered pauses, and resume after the last event that is known; no
   * event is told twice. If a transport does not work at all, the next is tried:
   * Server-Sent Events, WebSocket, and polling in the end.
   *
   * @param {string|StatusDocument|Link[]} request its id, its document or its links
   * @param {FollowOptions} [options]
   * @returns {Follower}
   */
  function follow(request, options = {}) {
    return new Following({ ...env, call, url, keyed: config.token || sendsOwn ? keyed : null }, targetOf(request), options);
  }

  return { submit, submitBatch, follow, get, list, cancel, forget, result };
}

const here = createClient();
export const { submit, submitBatch, follow, get, list, cancel, forget, result } = here;

/** What a WebSocket close code asks of the client. @param {number} code */
export function mayReconnect(code) {
  return !(code === 1008 || code === 1009 || (code >= 4500 && code <= 4999));
}

const FALLBACK = { sse: ['sse', 'websocket', 'poll'], websocket: ['websocket', 'sse', 'poll'], poll: ['poll'] };
const FAILURES = 3; // connections in a row that never opened, before the next transport is tried
const PING = 25_000; // milliseconds between signs of life that are asked for over WebSocket
const PATIENCE = 10_000; // milliseconds to wait for one
const WAIT = 20; // seconds of one long poll
const EXPIRED = 4503; // close code: come back with another token

class Following {
  #env; #target; #options; #order;
  #offset; #sequence = 0;
  #life; // which of all requests that ever had the id, if it says
  #attempt = 0; // failures since the last sign of life
  #fresh = true; // this transport has never opened
  #drop = null; // ends the connection of the moment
  #timer; #done = false;
  #wake = () => this.#timer && this.#connectIn(0);

  constructor(env, target, options) {
    this.#env = env;
    this.#target = target;
    this.#options = options;
    const [offset, life] = String(options.after ?? 0).split('-');
    this.#offset = Number(offset);
    this.#life = life;
    this.#order = [...(FALLBACK[options.transport ?? 'sse'] ?? FALLBACK.sse)];
    globalThis.addEventListener?.('online', this.#wake);
    this.#connectIn(0); // not now, so that the caller has the handle when the first callback comes
  }

  get offset() { return this.#offset; }
  get cursor() { return this.#life ? `${this.#offset}-${this.#life}` : String(this.#offset); }
  get transport() { return this.#order[0]; }

  close() {
    if (this.#stop()) this.#tell('closed');
  }

  cut() {
    if (!this.#done && this.#drop) this.#lost();
  }

  #tell(state, more) {
    this.#options.onState?.({ state, transport: this.transport, offset: this.#offset, ...more });
  }

  #stop() {
    if (this.#done) return false;
    this.#done = true;
    this.#disconnect();
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.('online', this.#wake);
    return true;
  }

  #finish(document, error) {
    if (!this.#stop()) return;
    this.#tell('ended');
    this.#options.onEnd?.(document, error);
  }

  #disconnect() {
    const drop = this.#drop;
    this.#drop = null;
    drop?.();
  }

  #connectIn(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#done) return;
      this.#tell('connecting');
      if (this.transport === 'poll') this.#poll();
      else if (this.#env.keyed) this.#withTicket();
      else this.#connect(this.#target);
    }, delay);
  }

  /** Opens a stream by one of the links of a request. */
  #connect(links) {
    try {
      if (this.transport === 'sse') this.#stream(links);
      else this.#socket(links);
    } catch { // no such transport here, or it is forbidden
      this.#next();
    }
  }

  /** Opens a stream by links with a fresh ticket. */
  async #withTicket() {
    const abort = new AbortController();
    this.#drop = () => abort.abort();
    let links = this.#target;
    try {
      if (await this.#env.keyed()) {
        const status = await this.#env.call(withQuery(this.#target.self, { ticket: true }), { headers: { Accept: 'application/json' }, signal: abort.signal });
        links = targetOf(await status.json());
      }
    } catch (error) {
      if (abort.signal.aborted) return;
      if (gone(error)) this.#finish(null, error);
      else this.#lost((error.retryAfter ?? 0) * 1000);
      return;
    }
    if (!abort.signal.aborted) this.#connect(links);
  }

  /** The connection is there. */
  #opened() {
    this.#fresh = false;
    this.#tell('open');
  }

  /** The connection is gone; make a new one, later each time. */
  #lost(least = 0) {
    this.#disconnect();
    if (this.#done) return;
    if (this.#fresh && this.#attempt + 1 >= FAILURES && this.#order.length > 1) return this.#next();
    const { base = 500, max = 20_000 } = this.#options.backoff ?? {};
    const delay = Math.max(least, Math.min(max, base * 2 ** this.#attempt++) * (0.5 + Math.random() / 2));
    this.#tell('waiting', { delay });
    this.#connectIn(delay);
  }

  /** This transport does not work; take the next. */
  #next() {
    this.#disconnect();
    if (this.#done) return;
    if (this.#order.length === 1) return this.#lost();
    this.#order.shift();
    this.#fresh = true;
    this.#attempt = 0;
    this.#connectIn(0);
  }

  /** The transport gave up. The status says whether there is anything left to follow. */
  async #ask() {
    this.#disconnect();
    try {
      const document = await (await this.#env.call(this.#target.self, { headers: { Accept: 'application/json' } })).json();
      if (hasEnded(document.status)) return this.#finish(document);
      if (this.#fresh) return this.#next();
      this.#fresh = true; // it worked before: one more try
      this.#lost();
    } catch (error) {
      if (gone(error)) this.#finish(null, error);
      else this.#lost();
    }
  }

  #deliver(event, offset) {
    if (this.#done) return;
    this.#attempt = 0;
    const reset = event.type.endsWith('.reset');
    if (!reset && offset <= this.#offset) return; // told already
    this.#offset = offset;
    this.#life = event.data.life;
    this.#sequence = event.data.sequence ?? this.#sequence;
    const tell = (reset && this.#options.onReset) || this.#options.onEvent;
    tell?.(event, offset);
    if (hasEnded(event.data.status)) this.#finish(event.data);
  }

  #stream(links) {
    // EventSource reconnects and resumes by itself; only when it gives up, or when
    // the connection is cut here, the cursor has to go into the URL.
    const source = new this.#env.EventSource(withQuery(this.#env.url(links.events), { after: this.#offset && this.cursor }));
    this.#drop = () => source.close();
    source.onopen = () => this.#opened();
    source.onmessage = (message) => this.#deliver(JSON.parse(message.data), parseInt(message.lastEventId, 10));
    source.addEventListener('end', () => this.#ask());
    source.onerror = () => {
      if (source.readyState === 2) this.#ask(); // 204, or an answer that is not a stream
      else if (this.#fresh) this.#lost(); // it may never open: count that
      else this.#tell('waiting');
    };
  }

  #socket(links) {
    const address = withQuery(this.#env.url(links.socket), { after: this.#offset && this.cursor }).replace(/^http/, 'ws');
    const socket = new this.#env.WebSocket(address, 'hark.v1');
    let patience;
    const ping = setInterval(() => {
      if (socket.readyState !== 1) return;
      socket.send('{"op":"ping"}');
      patience ??= setTimeout(() => this.#lost(), PATIENCE);
    }, PING);
    this.#drop = () => {
      clearInterval(ping);
      clearTimeout(patience);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close(1000);
    };
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => {
      clearTimeout(patience);
      patience = undefined;
      const message = JSON.parse(data);
      if (message.op === 'event') this.#deliver(message.event, message.offset);
      else if (message.op === 'end' || message.op === 'error') this.#ask();
    };
    socket.onclose = ({ code }) => {
      if (!mayReconnect(code) && !(code === EXPIRED && this.#env.keyed)) this.#ask();
      else this.#lost(code === 1013 ? 2000 : 0);
    };
  }

  async #poll() {
    const abort = new AbortController();
    this.#drop = () => abort.abort();
    const headers = { Accept: 'application/json' };
    let newest = null;
    let opened = false;
    try {
      while (!abort.signal.aborted) {
        const events = await this.#env.call(withQuery(this.#target.events, { after: this.#offset && this.cursor }), { headers, signal: abort.signal });
        if (events.status === 204) return this.#ask();
        const answer = await events.json();
        if (!opened) this.#opened();
        opened = true;
        if (answer.recovered === false && this.#offset > 0) {
          // As a stream tells it: how the request stands now, and on from there.
          const document = await (await this.#env.call(this.#target.self, { headers, signal: abort.signal })).json();
          const { id, life, sequence } = document;
          this.#deliver({ specversion: '1.0', id: [id, life, sequence].filter(Boolean).join('/'), type: 'request.reset', source: `/v1/requests/${id}`, data: document }, sequence);
          if (this.#done) return;
          continue;
        }
        // The list is without gaps, so the last offset gives those before it.
        answer.events.forEach((event, i) => this.#deliver(event, answer.offset - (answer.events.length - 1 - i)));
        if (this.#done) return;
        if (newest && hasEnded(newest.status)) return this.#finish(newest); // its events are gone
        this.#attempt = 0;
        const asked = Date.now();
        const status = await this.#env.call(this.#target.self, {
          headers: { ...headers, Prefer: `wait=${WAIT}`, 'If-None-Match': `W/"${this.#life ? `${this.#life}-` : ''}${this.#sequence}"` },
          signal: AbortSignal.any?.([abort.signal, AbortSignal.timeout((WAIT + 10) * 1000)]) ?? abort.signal,
        });
        if (status.status !== 304) {
          newest = await status.json();
          const news = newest.sequence !== this.#sequence || hasEnded(newest.status);
          this.#sequence = newest.sequence;
          if (news) continue;
        }
        // A server that does not wait must not be asked without a pause.
        if (Date.now() - asked < 1000) await sleep(500 + Math.random() * 500);
      }
    } catch (error) {
      if (abort.signal.aborted) return;
      if (gone(error)) this.#finish(null, error);
      else this.#lost((error.retryAfter ?? 0) * 1000);
    }
  }
}

/** An answer that another attempt would not change. */
const gone = (error) => error instanceof HarkError && [401, 403, 404, 410].includes(error.status);

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
