// The page of webhook endpoints: how they fare, what was sent and what came back.

import { call } from './key.js';
import { ago, arrange, element, span } from './show.js';

const $ = (id) => document.getElementById(id);

/** How often what is shown is read again, in milliseconds, while the page is seen. */
const EVERY = 2000;

const say = (text) => { $('announcer').textContent = text; };
const complain = (error) => { $('problem').textContent = error ? error.message : ''; };

/** Runs what a button does, and shows what went wrong. */
function does(button, action) {
  $(button).addEventListener('click', async () => {
    complain();
    try {
      await action();
    } catch (error) {
      complain(error);
    }
  });
}

// The list of endpoints.

let nextEndpoints = null;

async function listEndpoints(cursor) {
  const page = await call('GET', `/v1/webhooks?limit=20${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
  nextEndpoints = page.next;
  const items = page.webhooks.map((endpoint) =>
    element('li', {}, [
      element('button', { type: 'button', 'data-id': endpoint.id, 'aria-current': String(endpoint.id === chosen) }, [
        element('span', { class: 'badge', 'data-status': endpoint.status }, endpoint.status),
        element('span', { class: 'route', title: endpoint.url }, endpoint.url.replace(/^https?:\/\//, '')),
        element('time', { datetime: endpoint.createdAt }, ago(endpoint.createdAt)),
      ]),
    ]),
  );
  if (cursor) $('endpoints').append(...items);
  else $('endpoints').replaceChildren(...items);
  $('endpoints-none').hidden = $('endpoints').children.length > 0;
  $('older-endpoints').hidden = !nextEndpoints;
}

$('endpoints').addEventListener('click', ({ target }) => {
  const button = target.closest('button');
  if (button) choose(button.dataset.id);
});
does('refresh', () => listEndpoints());
does('older-endpoints', () => listEndpoints(nextEndpoints));

$('create').addEventListener('submit', async (event) => {
  event.preventDefault();
  complain();
  try {
    const events = $('events').value.split(' ').filter(Boolean);
    const endpoint = await call('POST', '/v1/webhooks', {
      url: $('url').value, events, contentType: $('content-type').value, ...($('ordered').checked && { concurrency: 1 }),
    });
    await choose(endpoint.id);
    showSecret(endpoint.secret);
    await listEndpoints();
  } catch (error) {
    complain(error);
  }
});

function showSecret(secret) {
  $('secret').hidden = false;
  $('secret-text').textContent = secret;
}

// One endpoint.

let chosen = null;
let status = '';

async function choose(id) {
  chosen = id;
  const hourAgo = new Date(Date.now() - 3600_000);
  $('since').value = new Date(hourAgo - hourAgo.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  history.replaceState(null, '', `#${id}`);
  $('deliveries').replaceChildren();
  $('secret').hidden = true; // it is another one's
  for (const item of $('endpoints').querySelectorAll('button')) item.setAttribute('aria-current', String(item.dataset.id === id));
  await show();
}

async function show() {
  const id = chosen;
  if (!id) return;
  const [endpoint, page] = await Promise.all([
    call('GET', `/v1/webhooks/${id}`),
    call('GET', deliveries(id)),
  ]);
  if (id !== chosen) return; // another one was chosen meanwhile
  $('idle').hidden = true;
  $('chosen').hidden = false;
  $('endpoint-url').textContent = endpoint.url;
  $('endpoint-id').textContent = endpoint.id;
  $('status').hidden = false;
  $('status').dataset.status = $('status').textContent = endpoint.status;
  if (status && status !== endpoint.status) say(`The endpoint is ${endpoint.status}.`);
  status = endpoint.status;
  $('reason').textContent = endpoint.reason ? `Disabled: ${endpoint.reason}` : '';
  $('pause').hidden = endpoint.status !== 'active';
  $('resume').hidden = endpoint.status !== 'paused' && endpoint.status !== 'disabled';
  $('verify').hidden = endpoint.status !== 'pending';
  $('test').disabled = endpoint.status !== 'active';
  showHealth(endpoint);
  showDeliveries(page, false);
}

function showHealth({ health, concurrency, contentType, events }) {
  const facts = {
    Waiting: String(health.waiting),
    Sending: String(health.sending),
    'Failed in a row': String(health.failures),
    'Last success': health.lastSuccess ? ago(health.lastSuccess) : 'none yet',
    'At a time': concurrency === 1 ? '1, in order' : String(concurrency),
    'Sent as': contentType.replace(/^application\//, ''),
    Events: events.length ? events.map((each) => each.replace(/^request\./, '')).join(', ') : 'all',
  };
  if (health.failingSince) facts['Failing since'] = ago(health.failingSince);
  if (health.heldUntil && Date.parse(health.heldUntil) > Date.now()) facts['Left alone for'] = span(Date.parse(health.heldUntil) - Date.now());
  $('health').replaceChildren(...Object.entries(facts).map(([name, value]) => element('div', {}, [element('dt', {}, name), element('dd', {}, value)])));
}

// Its deliveries. Those that are open stay open while the list is read again.

let next = null;

function showDeliveries(page, more) {
  if (!more) {
    const old = new Map([...$('deliveries').children].map((each) => [each.dataset.id, each]));
    const items = page.deliveries.map((delivery) => {
      const known = old.get(delivery.id) ?? item(delivery);
      known.update(delivery);
      return known;
    });
    // What was read as older pages stays below.
    const newest = new Set(page.deliveries.map((each) => each.id));
    const rest = items.length === 20 ? [...old.values()].filter((each) => !newest.has(each.dataset.id) && each.dataset.older) : [];
    arrange($('deliveries'), [...items, ...rest]);
    if (rest.length === 0) next = page.next;
  } else {
    for (const delivery of page.deliveries) {
      const made = item(delivery);
      made.dataset.older = 'true';
      $('deliveries').append(made);
    }
    next = page.next;
  }
  $('deliveries-none').hidden = $('deliveries').children.length > 0;
  $('older').hidden = !next;
}

// An option that is there has to say something.
const deliveries = (id) => `/v1/webhooks/${id}/deliveries?limit=20${$('state').value && `&state=${$('state').value}`}`;

const version = ({ state, attempts, due }) => `${state} ${attempts} ${due}`;

/** Makes the entry of a delivery; its method update shows where that stands now. */
function item(delivery) {
  const summary = element('summary');
  const body = element('div', { class: 'attempts' });
  const details = element('details', { 'data-id': delivery.id }, [summary, body]);
  const entry = element('li', { 'data-id': delivery.id }, [details]);
  const read = async () => {
    try {
      const content = attempts(await call('GET', `/v1/webhooks/${chosen}/deliveries/${delivery.id}`));
      const focused = body.contains(document.activeElement);
      const unfolded = body.querySelector('details')?.open;
      body.replaceChildren(...content);
      body.querySelector('details').open = Boolean(unfolded);
      if (focused) body.querySelector('[data-resend]').focus({ preventScroll: true });
    } catch (error) {
      body.textContent = error.message;
    }
  };
  details.addEventListener('toggle', () => details.open && read());
  entry.update = (now) => {
    if (entry.dataset.version === version(now)) return;
    entry.dataset.version = version(now);
    summary.replaceChildren(
      element('span', { class: 'badge', 'data-status': now.state }, now.state),
      element('span', { class: 'route' }, now.type),
      element('span', { class: 'tries' }, now.attempts === 1 ? '1 attempt' : `${now.attempts} attempts`),
      element('time', { datetime: now.createdAt, title: new Date(now.createdAt).toLocaleString() }, ago(now.createdAt)),
    );
    if (details.open) read();
  };
  entry.update(delivery);
  return entry;
}

function attempts({ id, log = [], event, due, state }) {
  const list = element('ol', {}, log.map((attempt) =>
    element('li', {}, [
      element('b', {}, attempt.status ? String(attempt.status) : attempt.error),
      element('span', {}, ` after ${span(attempt.latency * 1000)}, `),
      element('time', { datetime: attempt.at, title: new Date(attempt.at).toLocaleString() }, ago(attempt.at)),
      ...(attempt.hint ? [element('p', { class: 'hint' }, attempt.hint)] : []),
      ...(attempt.response ? [element('pre', { tabindex: '0', 'aria-label': 'Response' }, attempt.response)] : []),
    ]),
  ));
  const resend = element('button', { type: 'button', class: 'small', 'data-resend': id }, 'Send it again');
  resend.addEventListener('click', async () => {
    complain();
    try {
      await call('POST', `/v1/webhooks/${chosen}/deliveries/${id}/resend`);
      say('It is sent again.');
      await show();
    } catch (error) {
      complain(error);
    }
  });
  const waits = state === 'waiting' && due ? [element('p', { class: 'hint' }, `Next attempt ${Date.parse(due) > Date.now() ? `in ${span(Date.parse(due) - Date.now())}` : 'now'}.`)] : [];
  return [
    element('p', { class: 'hint' }, [document.createTextNode('webhook-id '), element('code', {}, id)]),
    ...(event?.data?.id ? [element('p', { class: 'hint' }, [document.createTextNode('about '), element('a', { href: `operate.html#request/${event.data.id}` }, event.data.id)])] : []),
    list, ...waits, resend,
    element('details', {}, [element('summary', {}, 'What is sent'), element('pre', { tabindex: '0', 'aria-label': 'What is sent' }, JSON.stringify(event, null, 2))]),
  ];
}

$('state').addEventListener('change', () => {
  $('deliveries').replaceChildren();
  show().catch(complain);
});
does('older', async () => showDeliveries(await call('GET', `${deliveries(chosen)}&cursor=${encodeURIComponent(next)}`), true));

const act = (verb) => async () => {
  await call('POST', `/v1/webhooks/${chosen}/${verb}`);
  await Promise.all([show(), listEndpoints()]);
};
does('pause', act('pause'));
does('resume', act('resume'));
does('verify', act('verify'));
does('test', async () => {
  await call('POST', `/v1/webhooks/${chosen}/test`);
  say('A test event is on its way.');
  await show();
});
does('rotate', async () => showSecret((await call('POST', `/v1/webhooks/${chosen}/rotate`)).secret));
does('recover', async () => {
  const since = new Date($('since').value || Date.now() - 3600_000).toISOString();
  const { recovered } = await call('POST', `/v1/webhooks/${chosen}/recover?since=${encodeURIComponent(since)}`);
  say(recovered === 1 ? 'One event is delivered again.' : `${recovered} events are delivered again.`);
  await show();
});
does('resend-dead', async () => {
  const dead = []; // all first: what is sent again may be dead again while others are looked for
  for (let cursor = ''; cursor !== null;) {
    const page = await call('GET', `/v1/webhooks/${chosen}/deliveries?limit=100&state=dead${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    dead.push(...page.deliveries.map((each) => each.id));
    cursor = page.next;
  }
  for (const id of dead) await call('POST', `/v1/webhooks/${chosen}/deliveries/${id}/resend`);
  say(dead.length === 1 ? 'One delivery is sent again.' : `${dead.length} deliveries are sent again.`);
  await show();
});
does('remove', async () => {
  if (!confirm('Delete this endpoint with its deliveries?')) return;
  await call('DELETE', `/v1/webhooks/${chosen}`);
  chosen = null;
  history.replaceState(null, '', location.pathname);
  $('chosen').hidden = $('status').hidden = true;
  $('idle').hidden = false;
  await listEndpoints();
});

setInterval(() => document.visibilityState === 'visible' && show().catch(() => {}), EVERY);
listEndpoints().catch(complain);
if (/^#[A-Za-z0-9_-]+$/.test(location.hash)) choose(location.hash.slice(1)).catch(complain);
