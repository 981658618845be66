// The live view of one request: where it stands, its steps, its raw events, and
// what came out of it.

import { hasEnded } from './hark.js';
import { ask, hark, key } from './key.js';
import { draw } from './picture.js';
import { bytes, element, span } from './show.js';
import { unzip } from './zip.js';

const NAMES = { sse: 'SSE', websocket: 'WebSocket', poll: 'polling' };
const LOG = 200; // entries that are kept
const STEPS = 40;

const OUTCOMES = { succeeded: 'Succeeded', failed: 'Failed', canceled: 'Canceled', expired: 'Expired' };

export class Live {
  #root; #transport; #onEnd;
  #follower = null;
  #document = null;
  #step = null; // the step that the timeline ends with
  #events = 0;
  #resumed = null; // the offset at which the connection was lost
  #announced = 0;
  #shows = 0; // which request's result may be shown

  /** @param {HTMLElement} root @param {{transport: () => import('./hark.js').Transport, onEnd: () => void}} options */
  constructor(root, { transport, onEnd }) {
    this.#root = root;
    this.#transport = transport;
    this.#onEnd = onEnd;
    this.#$('question').addEventListener('submit', async (event) => {
      event.preventDefault();
      const { id, question } = this.#document;
      const text = this.#$('answer').value;
      try {
        await hark.answer(id, question.schema?.type === 'string' ? text : parsed(text), question.name);
        this.announce('The answer was sent.');
      } catch (error) {
        ask(error);
        this.#$('question-hint').textContent = error.message;
      }
    });
    // A link can carry no key: with one the result is fetched, and saved from there.
    this.#$('download').addEventListener('click', async (event) => {
      if (!key()) return;
      event.preventDefault();
      const { download } = event.currentTarget;
      const href = URL.createObjectURL(await hark.result(this.id));
      element('a', { href, download }).click();
      setTimeout(() => URL.revokeObjectURL(href), 60_000);
    });
  }

  get id() { return this.#document?.id ?? null; }

  /** @param {string|import('./hark.js').StatusDocument} request */
  open(request) {
    this.#follower?.close();
    this.#document = typeof request === 'string' ? { id: request } : request;
    this.#step = this.#resumed = null;
    this.#events = 0;
    this.#shows++;
    this.#$('idle').hidden = true;
    this.#$('request').hidden = false;
    this.#$('request-id').textContent = this.id;
    for (const list of ['timeline', 'log', 'pictures']) this.#$(list).replaceChildren();
    for (const part of ['result', 'failure', 'download', 'result-text']) this.#$(part).hidden = true;
    this.#$('log-count').textContent = '0';
    if (this.#document.status) this.#render(this.#document);
    this.#follow(0);
  }

  /** Goes on over the transport that is chosen now. */
  reconnect() {
    if (!this.#follower || this.#over()) return;
    const after = this.#follower.offset;
    this.#follower.close();
    this.#follow(after);
  }

  /** Drops the connection. */
  cut() {
    this.#note(`You cut the connection after event ${this.#follower.offset}.`, 'cut');
    this.#follower.cut();
  }

  /** Tells those who listen instead of looking. */
  announce(text) {
    this.#announced = Date.now();
    document.getElementById('announcer').textContent = text;
  }

  #$(id) { return document.getElementById(id); }
  #over() { return this.#document?.status && hasEnded(this.#document.status); }

  #follow(after) {
    this.#follower = hark.follow(this.#document.links ?? this.id, {
      transport: this.#transport(),
      after,
      onEvent: (event, offset) => this.#event(event, offset),
      onReset: (event, offset) => {
        this.#note('Events were missed for good. This is how it stands now.', 'reset');
        this.#event(event, offset);
      },
      onState: (state) => this.#connection(state),
      onEnd: (document, error) => this.#end(document, error),
    });
  }

  #event(event, offset) {
    const before = this.#document;
    this.#document = event.data;
    this.#log(event, offset);
    this.#render(event.data);
    this.#timeline(event);
    const { status, step, percent } = event.data;
    if (status !== before.status) this.announce(`The request is ${status}.`);
    else if (step && step !== before.step && Date.now() - this.#announced > 4000) {
      this.announce(`${step}${percent === null ? '' : `, ${Math.round(percent)} percent`}`);
    }
  }

  #end(document, error) {
    if (error) {
      ask(error);
      this.#root.dataset.status = 'unknown';
      this.#$('status').textContent = 'unknown';
      this.#$('status').dataset.status = 'unknown';
      this.#$('message').textContent = error.type === '/problems/request-not-found' ? 'There is no such request any more.' : error.message;
      this.#$('cancel').parentElement.hidden = true;
      return;
    }
    this.#document = document;
    this.#render(document);
    this.#onEnd();
    if (document.error && document.status !== 'succeeded') {
      this.#$('failure').hidden = false;
      this.#$('failure-message').textContent = document.error.message;
      this.#$('failure-detail').textContent = [document.error.code, document.error.detail].filter(Boolean).join(' · ');
    }
    if (document.status === 'succeeded' && document.result) this.#result(document, this.#shows);
  }

  #render(d) {
    const percent = share(d);
    const over = hasEnded(d.status);
    this.#root.dataset.status = d.status;
    this.#$('status').textContent = d.status;
    this.#$('status').dataset.status = d.status;
    this.#$('percent').textContent = percent === null ? '–' : String(Math.round(percent));
    this.#$('percent').parentElement.classList.toggle('unknown', percent === null);
    if (percent !== null) this.#$('bar').value = percent;
    else if (over) this.#$('bar').value = 0;
    else this.#$('bar').removeAttribute('value');
    this.#$('step').textContent = over ? { succeeded: 'Done' }[d.status] ?? '' : d.status === 'waiting' ? 'Waiting for an answer' : d.step ?? (d.status === 'pending' ? 'Waiting for a processor' : d.batch ? `${d.batch.open} of ${d.batch.total} are open` : 'Working');
    this.#$('message').textContent =
      d.status === 'pending' && d.position !== null && d.position > 0 ? `${d.position} ahead on this route` : (!over && d.message) || '';
    const facts = [d.batch ? `a batch of ${d.batch.total}` : d.route, ...outcomes(d.batch), d.attempt > 1 ? `attempt ${d.attempt}` : '', d.topic ? `topic ${d.topic}` : ''];
    if (d.endedAt) facts.push(`took ${span(Date.parse(d.endedAt) - Date.parse(d.createdAt))}`);
    else if (d.eta) facts.push(`done at about ${new Date(d.eta).toLocaleTimeString()}`);
    this.#$('facts').textContent = facts.filter(Boolean).join(' · ');
    this.#question(d.question);
    const actions = this.#$('cancel').parentElement;
    if (over && actions.contains(document.activeElement)) this.#root.focus({ preventScroll: true });
    actions.hidden = over;
    document.title = over || percent === null ? `${d.status} · Hark` : `${Math.round(percent)} % · Hark`;
  }

  /** Shows what the request asks, if it does. An answer that is being written stays. */
  #question(question) {
    const form = this.#$('question');
    const name = question ? `${this.id} ${question.name}` : '';
    if (form.dataset.name === name) return;
    if (!question && form.contains(document.activeElement)) this.#root.focus({ preventScroll: true });
    form.dataset.name = name;
    form.hidden = !question;
    this.#$('answer').value = '';
    this.#$('question-text').textContent = question?.message ?? '';
    this.#$('question-hint').textContent = question ? `Until ${new Date(question.expiresAt).toLocaleString()}. ${'default' in question ? `Else it goes on with ${JSON.stringify(question.default)}.` : 'Else it fails.'}` : '';
  }

  #timeline(event) {
    const d = event.data;
    const kind = event.type.replace(/^request\./, '');
    const label = {
      accepted: 'Accepted',
      started: this.#step?.startsWith('answered') ? 'Went on' : d.attempt > 1 ? `Attempt ${d.attempt} started` : 'Started',
      retrying: 'Waiting for the next attempt',
      waiting: 'Asked',
      answered: 'Answered',
      redriven: 'Waiting to be worked on once more',
      reset: 'Some events were missed',
      progress: d.step ?? d.message,
    }[kind] ?? OUTCOMES[kind];
    const step = `${kind === 'answered' ? kind : d.attempt} ${d.step} ${d.message}`; // a new percentage alone is no new step
    if (!label || (kind === 'progress' && step === this.#step)) return;
    this.#step = step;
    const list = this.#$('timeline');
    const detail = kind === 'retrying' ? d.error?.message : kind === 'waiting' ? d.question?.message : kind === 'progress' && d.step ? d.message : '';
    list.lastElementChild?.removeAttribute('aria-current');
    list.append(
      element('li', { class: kind, ...(hasEnded(d.status) ? {} : { 'aria-current': 'step' }) }, [
        element('span', { class: 'label' }, label),
        element('span', { class: 'detail' }, detail || ''),
        element('time', { datetime: event.time ?? d.updatedAt }, `+${span(Date.parse(d.updatedAt) - Date.parse(d.createdAt))}`),
      ]),
    );
    if (list.children.length > STEPS) list.children[2].remove(); // the first two tell how it began
  }

  #connection({ state, transport, offset, delay }) {
    const name = NAMES[transport];
    this.#root.dataset.connection = state;
    this.#root.dataset.transport = transport;
    this.#$('connection').textContent = {
      connecting: `connecting by ${name}`,
      open: `live by ${name}`,
      waiting: 'connection lost, coming back',
      ended: '',
      closed: '',
    }[state];
    if (state === 'waiting') {
      this.#resumed ??= offset;
      this.#note(delay === undefined ? 'The connection was lost.' : `Coming back in ${span(delay)}.`, 'lost');
    } else if (state === 'open') {
      this.#note(this.#resumed === null ? `Connected by ${name}.` : `Connected again by ${name}, resuming after event ${this.#resumed}.`, 'open');
      if (this.#resumed !== null) this.announce('Connected again.');
      this.#resumed = null;
    }
  }

  #log(event, offset) {
    this.#events++;
    this.#$('log-count').textContent = String(this.#events);
    const summary = element('summary', {}, [
      element('b', {}, String(offset)),
      element('span', {}, event.type),
      element('small', {}, NAMES[this.#follower.transport]),
    ]);
    const entry = element('details', {}, [summary]);
    entry.addEventListener('toggle', () => {
      if (entry.children.length === 1) entry.append(element('pre', { tabindex: '0', 'aria-label': `Event ${offset}` }, JSON.stringify(event, null, 2)));
    });
    this.#enter(element('li', { 'data-offset': String(offset), 'data-type': event.type }, [entry]));
  }

  #note(text, kind) {
    this.#enter(element('li', { class: `note ${kind}` }, text));
  }

  #enter(item) {
    const log = this.#$('log');
    log.prepend(item);
    if (log.children.length > LOG) log.lastElementChild.remove();
  }

  async #result({ id, result }, turn) {
    const current = () => turn === this.#shows;
    const type = result.type.split(';')[0].trim().toLowerCase();
    const text = (content) => {
      this.#$('result-text').textContent = content;
      this.#$('result-text').hidden = false;
    };
    this.#$('result').hidden = false;
    this.#$('download').href = result.href;
    this.#$('download').download = `${id}${{ 'application/zip': '.zip', 'application/json': '.json', 'text/html': '.html', 'text/plain': '.txt' }[type] ?? ''}`;
    this.#$('download').textContent = `Download (${type}, ${bytes(result.size)})`;
    this.#$('download').hidden = false;
    try {
      if ('value' in result) return text(JSON.stringify(result.value, null, 2));
      if (result.size > 64 << 20) return;
      const blob = await hark.result(id);
      if (!current()) return;
      if (type === 'application/zip') {
        for (const file of await unzip(await blob.arrayBuffer())) {
          if (!current()) return;
          if (/\.(jpe?g|png|gif|webp)$/i.test(file.name)) await this.#picture(file.name, new Blob([file.bytes]), current);
        }
        this.announce(`${this.#$('pictures').children.length} pictures are there.`);
      } else if (type.startsWith('image/')) await this.#picture('result', blob, current);
      else if (type.startsWith('text/') || type.endsWith('json') || type.endsWith('xml')) text(pretty(await blob.slice(0, 65536).text()));
    } catch (error) {
      if (current()) text(`The result cannot be shown: ${error.message}`);
    }
  }

  async #picture(name, blob, current) {
    const canvas = element('canvas', { role: 'img' });
    const label = name.replace(/^.*\//, '').replace(/\.\w+$/, '');
    const { width, height } = await draw(blob, canvas);
    if (!current()) return;
    canvas.setAttribute('aria-label', `${label}, ${width} by ${height} pixels`);
    this.#$('pictures').append(
      element('figure', { 'data-name': label }, [
        canvas,
        element('figcaption', {}, [element('b', {}, label), element('span', {}, `${width} × ${height} · ${bytes(blob.size)}`)]),
      ]),
    );
  }
}

/** How much of a request is done, in percent; null if nobody says. That of a batch is counted. */
function share({ percent, batch }) {
  if (percent === null && batch?.open < batch?.total) return (100 * (batch.total - batch.open)) / batch.total;
  return percent;
}

/** How the requests of a batch have ended, as far as they have. */
function outcomes(batch) {
  return Object.keys(OUTCOMES).filter((each) => batch?.[each]).map((each) => `${batch[each]} ${each}`);
}

/** What somebody has written, as JSON if it is that. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
