// Requests: found by what they are, and one of them whole, with what it was submitted with, its steps, and what came of it. A batch has its requests, too.

import { hasEnded } from './hark.js';
import { authorization, call, key } from './key.js';
import { $, complain, does, each, facts, save, say } from './page.js';
import { ago, arrange, bytes, element, span } from './show.js';

// The list.

let everybody = false; // whether the caller may see those of others, and has a name by which others are others
let next = null;

/** Says that the caller is an admin: where callers have keys, those of everybody are listed then. */
export function mayFindAll() {
  everybody = Boolean(key());
  $('find-owner-label').hidden = !everybody;
}

/** What is looked for, as the query says it. An option that is there has to say something. */
function wanted() {
  const time = (id) => $(id).value && new Date($(id).value).toISOString();
  const options = {
    status: $('find-status').value, route: $('find-route').value.trim(), topic: $('find-topic').value.trim(),
    owner: everybody ? $('find-owner').value.trim() || '*' : '', since: time('find-since'), until: time('find-until'),
  };
  return new URLSearchParams(Object.entries(options).filter(([, value]) => value));
}

/** Looks for requests of a route, whatever else was looked for before. */
export function findRoute(route) {
  $('find').reset();
  $('find-route').value = route;
}

export async function showRequests(cursor) {
  const query = wanted();
  query.set('limit', '25');
  if (cursor) query.set('cursor', cursor);
  const page = await call('GET', `/v1/requests?${query}`);
  const known = new Map([...$('requests').children].map((each) => [each.dataset.id, each]));
  const items = page.requests.map((request) => {
    const item = known.get(request.id) ?? entry(request.id);
    item.update(request);
    item.toggleAttribute('data-older', Boolean(cursor));
    return item;
  });
  if (cursor) $('requests').append(...items);
  else {
    // What was read as older pages stays below, if it goes on from there.
    const newest = new Set(items);
    const rest = items.length === 25 ? [...known.values()].filter((each) => !newest.has(each) && each.hasAttribute('data-older')) : [];
    arrange($('requests'), [...items, ...rest]);
    if (rest.length) {
      bulk();
      return;
    }
  }
  next = page.next;
  $('requests-none').hidden = $('requests').children.length > 0;
  $('requests-older').hidden = !next;
  bulk();
}

function entry(id) {
  const badge = element('span', { class: 'badge' });
  const route = element('span', { class: 'route' });
  const time = element('time');
  const button = element('button', { type: 'button', 'data-id': id, 'aria-current': String(id === shown) }, [badge, route, time]);
  const item = element('li', { 'data-id': id }, [button]);
  item.update = (request) => {
    item.request = request;
    badge.dataset.status = badge.textContent = request.status;
    route.replaceChildren(request.batch ? `batch of ${request.batch.total} ` : `${request.route} `, element('small', {}, request.topic ?? ''));
    route.title = request.id;
    time.dateTime = request.createdAt;
    time.title = new Date(request.createdAt).toLocaleString();
    time.textContent = ago(request.createdAt);
  };
  return item;
}

const listed = (filter) => [...$('requests').children].map((each) => each.request).filter(filter);
const open = () => listed((each) => !hasEnded(each.status));
const failed = () => listed((each) => each.status === 'failed' && !each.batch);

/** Offers what can be done with all that are listed. */
function bulk() {
  for (const [id, all, verb] of [['cancel-all', open(), 'Cancel'], ['redrive-all', failed(), 'Redrive']]) {
    $(id).hidden = all.length < 2 || (id === 'redrive-all' && !mayRedrive);
    $(id).textContent = `${verb} all ${all.length} that are listed`;
  }
}

const many = (button, all, verb, done) => does($(button), async () => {
  const chosen = all();
  if (!confirm(`${verb} ${chosen.length} requests?`)) return;
  const { done: n, wrong } = await each(chosen, (one) => call('POST', `/v1/requests/${one.id}/${verb.toLowerCase()}`));
  await showRequests();
  say(`${n} ${done}.`);
  if (wrong) complain(new Error(`${n} of ${chosen.length} ${done}. ${wrong.message}`));
});
many('cancel-all', open, 'Cancel', 'canceled');
many('redrive-all', failed, 'Redrive', 'redriven');

let mayRedrive = false;

/** Says whether the caller may redrive. */
export function allowRedrive() {
  mayRedrive = true;
}

$('find').addEventListener('submit', async (event) => {
  event.preventDefault();
  complain();
  const id = $('find-id').value.trim();
  if (id) {
    location.hash = `#request/${id}`;
    return;
  }
  try {
    await showRequests();
    say($('requests').children.length === 0 ? 'There are none like this.' : `${$('requests').children.length} are listed.`);
  } catch (error) {
    complain(error);
  }
});
$('find').addEventListener('reset', () => setTimeout(() => showRequests().catch(complain)));
does($('requests-older'), () => showRequests(next));
does($('requests-refresh'), () => showRequests());
for (const list of ['requests', 'member-list']) {
  $(list).addEventListener('click', ({ target }) => {
    const button = target.closest('button');
    if (button) location.hash = `#request/${button.dataset.id}`;
  });
}

// One of them.

let shown = null;
let version = ''; // of what is shown
let reading = 0;
let nextMembers = null;

const path = () => `/v1/requests/${encodeURIComponent(shown)}`;

export const shownRequest = () => shown;

/** Shows a request. */
export async function chooseRequest(id) {
  shown = id;
  version = '';
  for (const item of $('requests').querySelectorAll('button')) item.setAttribute('aria-current', String(item.dataset.id === id));
  $('request-idle').hidden = true;
  $('request-chosen').hidden = false;
  $('submission').open = $('request-result').open = false;
  $('member-list').replaceChildren();
  $('request-timeline').replaceChildren();
  await showRequest();
}

/** Reads the request that is shown, and shows how it stands. */
export async function showRequest() {
  if (!shown) return;
  const turn = ++reading;
  const request = await call('GET', path()).catch((error) => {
    if (error.status !== 404) throw error;
    return { id: shown, status: 'unknown' };
  });
  if (turn !== reading) return;
  $('request-status').hidden = false;
  $('request-status').textContent = $('request-status').dataset.status = request.status;
  $('request-id').textContent = request.id;
  $('request-live').href = `/#${request.id}`;
  const over = hasEnded(request.status);
  const unknown = request.status === 'unknown';
  $('request-cancel').hidden = over || unknown;
  $('request-redrive').hidden = request.status !== 'failed' || Boolean(request.batch) || !mayRedrive;
  $('request-delete').hidden = !over;
  $('submission').hidden = unknown || Boolean(request.batch);
  $('request-result').hidden = !request.result;
  $('request-live').hidden = unknown;
  $('members').hidden = !request.batch;
  if (unknown) {
    $('request-facts').replaceChildren(...facts([['What became of it', 'There is no such request, or no more.']]));
    $('request-failure').hidden = true;
    return;
  }
  const is = `${request.sequence} ${request.position} ${request.createdAt}`;
  if (is === version) return;
  version = is;
  const when = (time) => time && new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
  $('request-facts').replaceChildren(...facts([
    ['Route', request.batch ? '' : request.route],
    ['Batch of', request.batch && `${request.batch.total}: ${['open', 'succeeded', 'failed', 'canceled', 'expired'].filter((each) => request.batch[each]).map((each) => `${request.batch[each]} ${each}`).join(', ')}`],
    ['Topic', request.topic], ['Attempt', request.attempt || ''], ['Redriven', request.redriven && `${request.redriven} times`],
    ['Of the batch', request.batchId && element('a', { href: `#request/${request.batchId}` }, request.batchId)],
    ['Step', over ? '' : [request.step, request.percent === null ? '' : `${Math.round(request.percent)} %`].filter(Boolean).join(', ')],
    ['Ahead of it', request.status === 'pending' && !request.batch ? request.position : null],
    ['Asks', request.question?.message],
    ['Submitted', when(request.createdAt)], ['Ended', when(request.endedAt)],
    ['Took', request.endedAt && span(Date.parse(request.endedAt) - Date.parse(request.createdAt))],
    ['Done at about', over ? null : when(request.eta)], [over ? 'Kept until' : 'Expires', when(request.expiresAt)],
  ]));
  $('request-failure').hidden = !request.error;
  $('request-failure-message').textContent = request.error?.message ?? '';
  $('request-failure-detail').textContent = [request.error?.code, request.error?.detail].filter(Boolean).join(' · ');
  if (request.result) $('request-result').querySelector('summary').textContent = `The result (${request.result.type}, ${bytes(request.result.size)})`;
  $('request-result').request = request;
  await Promise.all([timeline(turn, request), request.batch && showMembers()]);
}

const LABELS = {
  accepted: () => 'Accepted', started: (d) => (d.attempt > 1 ? `Attempt ${d.attempt} started` : 'Started'), retrying: () => 'To be tried again',
  waiting: () => 'Asked', answered: () => 'Answered', redriven: () => 'Redriven', progress: (d) => d.step ?? d.message ?? 'Progress',
  succeeded: () => 'Succeeded', failed: () => 'Failed', canceled: () => 'Canceled', expired: () => 'Expired',
};

/** Shows all that is stored of what happened to it, but for steps that only say another percentage. */
async function timeline(turn, request) {
  const { events } = await call('GET', `${path()}/history?limit=500`);
  if (turn !== reading) return;
  const items = [];
  let step = null;
  for (const { type, data, time } of events) {
    const kind = type.replace(/^request\./, '');
    const is = `${data.attempt} ${data.step} ${data.message}`;
    if (!LABELS[kind] || (kind === 'progress' && is === step)) continue;
    step = is;
    const detail = ['retrying', 'failed'].includes(kind) ? data.error?.message : kind === 'waiting' ? data.question?.message : kind === 'progress' && data.step ? data.message : '';
    items.push(element('li', { class: kind }, [
      element('span', { class: 'label' }, LABELS[kind](data)),
      element('span', { class: 'detail' }, detail || ''),
      element('time', { datetime: time ?? data.updatedAt, title: new Date(data.updatedAt).toLocaleString() }, `+${span(Date.parse(data.updatedAt) - Date.parse(request.createdAt))}`),
    ]));
  }
  $('request-timeline').replaceChildren(...items);
}

async function showMembers(cursor) {
  const of = shown;
  const page = await call('GET', `/v1/batches/${encodeURIComponent(of)}/requests?limit=25${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  if (of !== shown) return;
  const known = new Map([...$('member-list').children].map((each) => [each.dataset.id, each]));
  const items = page.requests.map((request) => {
    const item = known.get(request.id) ?? entry(request.id);
    item.update(request);
    return item;
  });
  if (cursor) $('member-list').append(...items);
  else if (known.size <= items.length) arrange($('member-list'), items);
  if (cursor || known.size <= items.length) nextMembers = page.next;
  $('members-more').hidden = !nextMembers;
}
does($('members-more'), () => showMembers(nextMembers));

does($('request-cancel'), async () => {
  await call('POST', `${path()}/cancel`);
  say('Cancel was asked for.');
  await Promise.all([showRequest(), showRequests()]);
});
does($('request-redrive'), async () => {
  await call('POST', `${path()}/redrive`);
  say('It is worked on once more.');
  await Promise.all([showRequest(), showRequests()]);
});
does($('request-delete'), async () => {
  if (!confirm('Delete this request with its content, events and result?')) return;
  await call('DELETE', path());
  say('It is deleted.');
  $('request').focus();
  await Promise.all([showRequest(), showRequests()]);
});

const SHOWN = 100_000; // characters of a content

$('submission').addEventListener('toggle', async () => {
  if (!$('submission').open) return;
  try {
    const { caller, priority, maxAttempts, headers, call: made, contentType, content, contentBase64 } = await call('GET', `${path()}/submission`);
    $('submission-facts').replaceChildren(...facts([
      ['By', caller], ['Priority', String(priority)], ['Attempts at most', maxAttempts ? String(maxAttempts) : ''], ['Type', contentType],
      ['Call', made && `${made.method} ${made.rawPath || made.path}${made.query ? `?${made.query}` : ''}`],
    ]));
    $('submission-headers').replaceChildren(...facts(Object.entries(headers)));
    const data = contentBase64 === undefined ? null : Uint8Array.from(atob(contentBase64), (c) => c.charCodeAt(0));
    const text = data === null ? JSON.stringify(content, null, 2) ?? '' : /^text\//.test(contentType ?? '') ? new TextDecoder().decode(data) : '';
    $('submission-content').textContent = text.slice(0, SHOWN) + (text.length > SHOWN ? '…' : '');
    $('submission-content').hidden = text === '';
    $('submission-save').hidden = text !== '' && text.length <= SHOWN;
    $('submission-save').content = new Blob([data ?? text], { type: contentType });
  } catch (error) {
    complain(error);
  }
});
does($('submission-save'), async () => save($('submission-save').content, shown));

$('request-result').addEventListener('toggle', () => {
  const { result } = $('request-result').request ?? {};
  const text = result && 'value' in result ? JSON.stringify(result.value, null, 2) : '';
  $('request-result-text').hidden = text === '';
  $('request-result-text').textContent = text.slice(0, SHOWN);
});
does($('request-result-save'), async () => {
  const response = await fetch(`${path()}/result`, { headers: authorization() });
  if (!response.ok) throw new Error('The result cannot be read any more.');
  save(await response.blob(), shown);
});
