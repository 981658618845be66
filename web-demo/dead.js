// Dead letters: what has failed on each route, and what the queue has put aside there.

import { call } from './key.js';
import { $, does, say } from './page.js';
import { ago, bytes, element } from './show.js';

let chosen = null;
let next = null;
let nextRoutes = null;

/** Lists the routes of which requests have failed. */
export async function showDeadRoutes(cursor) {
  const page = await call('GET', `/v1/dead?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  nextRoutes = page.next;
  const items = page.routes.map(({ route, requests, messages, newest }) =>
    element('li', {}, [
      element('button', { type: 'button', 'data-route': route, 'aria-current': String(route === chosen) }, [
        element('span', { class: 'badge', 'data-status': 'failed' }, String(requests + (messages ?? 0))),
        element('span', { class: 'route' }, route),
        element('time', newest ? { datetime: newest } : {}, newest ? ago(newest) : ''),
      ]),
    ]));
  if (cursor) $('dead-routes').append(...items);
  else $('dead-routes').replaceChildren(...items);
  $('dead-routes-none').hidden = $('dead-routes').children.length > 0;
  $('dead-routes-more').hidden = !nextRoutes;
}

/** Shows what has failed on a route. */
export async function chooseDead(route) {
  chosen = route;
  for (const item of $('dead-routes').querySelectorAll('button')) item.setAttribute('aria-current', String(item.dataset.route === route));
  $('dead-title').textContent = route;
  $('dead-idle').hidden = true;
  $('dead-chosen').hidden = false;
  await Promise.all([list(), messages()]);
}

const at = () => `/v1/dead/${encodeURIComponent(chosen)}`;

async function list(cursor) {
  const page = await call('GET', `${at()}?limit=30${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`).catch((error) => {
    if (error.status === 404) return { requests: [], next: null }; // the last one has gone, and it is no route of this gateway
    throw error;
  });
  next = page.next;
  const items = page.requests.map(entry);
  if (cursor) $('dead-list').append(...items);
  else $('dead-list').replaceChildren(...items);
  const none = $('dead-list').children.length === 0;
  $('dead-none').hidden = !none;
  $('dead-redrive').disabled = $('dead-purge').disabled = none;
  $('dead-more').hidden = !next;
}

function entry({ owner, failures, request }) {
  const redrive = element('button', { type: 'button', class: 'small', 'data-redrive': request.id }, 'Redrive');
  const forget = element('button', { type: 'button', class: 'small' }, 'Forget');
  const item = element('li', { 'data-id': request.id }, [
    element('details', {}, [
      element('summary', {}, [
        element('span', { class: 'badge', 'data-status': 'failed' }, request.error?.code ?? 'failed'),
        element('span', { class: 'route' }, request.error?.message ?? ''),
        element('span', { class: 'tries' }, failures === 1 ? '1 failure' : `${failures} failures`),
        element('time', { datetime: request.endedAt }, ago(request.endedAt)),
      ]),
      element('div', { class: 'attempts' }, [
        element('p', {}, [element('a', { href: `#request/${request.id}` }, request.id), document.createTextNode(owner ? ` of ${owner}` : '')]),
        ...(request.error?.detail ? [element('pre', { tabindex: '0', 'aria-label': 'Detail' }, request.error.detail)] : []),
        element('div', { class: 'row' }, [redrive, forget]),
      ]),
    ]),
  ]);
  const gone = async (what) => {
    const focus = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    (focus?.querySelector('summary') ?? $('dead')).focus();
    say(what);
    $('dead-none').hidden = $('dead-list').children.length > 0;
    await showDeadRoutes();
  };
  does(redrive, async () => {
    await call('POST', `/v1/requests/${request.id}/redrive`);
    await gone('It is worked on once more.');
  });
  does(forget, async () => {
    await call('DELETE', `/v1/requests/${request.id}`);
    await gone('It is forgotten.');
  });
  return item;
}

/** Repeats a call until it says that nothing is left of what had failed when it was made first. */
async function all(method, path, what) {
  let done = 0;
  for (let answer = { more: true, before: null }; answer.more;) {
    answer = await call(method, `${path}${answer.before ? `?before=${encodeURIComponent(answer.before)}` : ''}`);
    done += answer[what];
    say(`${done} so far.`);
  }
  return done;
}

does($('dead-redrive'), async () => {
  if (!confirm(`Have all that failed on ${chosen} worked on once more?`)) return;
  const done = await all('POST', `${at()}/redrive`, 'redriven');
  await Promise.all([showDeadRoutes(), list()]);
  say(`${done} redriven.`);
});
does($('dead-purge'), async () => {
  if (!confirm(`Forget all that failed on ${chosen}, with contents and events?`)) return;
  const done = await all('DELETE', at(), 'purged');
  await Promise.all([showDeadRoutes(), list()]);
  say(`${done} forgotten.`);
});
does($('dead-more'), () => list(next));
does($('dead-routes-more'), () => showDeadRoutes(nextRoutes));
does($('dead-refresh'), async () => {
  await showDeadRoutes();
  if (chosen) await chooseDead(chosen);
});
$('dead-routes').addEventListener('click', ({ target }) => {
  const button = target.closest('button');
  if (button) location.hash = `#dead/${button.dataset.route}`;
});

// What RabbitMQ or Redis has put aside.

async function messages() {
  const { count, messages } = await call('GET', `${at()}/messages?limit=30`).catch((error) => {
    if (error.status === 404) return { count: 0, messages: [] }; // it is no route of this gateway, which has no queue of it
    throw error;
  });
  $('messages').hidden = count === 0;
  $('messages-count').textContent = count === 1 ? 'One message.' : `${count} messages${count > messages.length ? `, of which these are the first ${messages.length}` : ''}.`;
  $('messages-list').replaceChildren(...messages.map((message) =>
    element('li', {}, [
      element('details', {}, [
        element('summary', {}, [
          element('span', { class: 'badge', 'data-status': 'failed' }, message.reason || 'put aside'),
          element('span', { class: 'route' }, message.wrong ?? message.request ?? ''),
          element('span', { class: 'tries' }, bytes(message.size)),
          element('time', message.at ? { datetime: message.at } : {}, message.at ? ago(message.at) : ''),
        ]),
        element('div', { class: 'attempts' }, [
          element('pre', { tabindex: '0', 'aria-label': 'Headers' }, JSON.stringify({ 'content-type': message.contentType, ...message.headers }, null, 2)),
          element('pre', { tabindex: '0', 'aria-label': 'Body' }, message.body),
        ]),
      ]),
    ])));
}

does($('messages-redrive'), async () => {
  await call('POST', `${at()}/messages/redrive`);
  await Promise.all([messages(), showDeadRoutes()]);
  say('They are handed to work.');
});
does($('messages-purge'), async () => {
  if (!confirm(`Forget the messages that were put aside of ${chosen}?`)) return;
  await call('DELETE', `${at()}/messages`);
  await Promise.all([messages(), showDeadRoutes()]);
  say('They are forgotten.');
});
