// The page for operators. Its parts are in files of their own; here is who sees which, and when they are read again.

import { chooseDead, showDeadRoutes } from './dead.js';
import { followFeed } from './feed.js';
import { call, key } from './key.js';
import { showNodes } from './nodes.js';
import { $, complain, say } from './page.js';
import { allowRedrive, chooseRequest, findRoute, mayFindAll, showRequest, showRequests, shownRequest } from './requests.js';
import { count, drawEvents, showRoutes } from './routes.js';
import { element, tablist } from './show.js';

/** How often what is shown is read again, in milliseconds, while the page is seen. */
const EVERY = 2000;
/** How soon, when something of it was pushed. */
const SOON = 300;

let admin = false;

const tabs = [...document.querySelectorAll('[role=tab]')];
const tab = () => tabs.find((each) => each.getAttribute('aria-selected') === 'true').id.replace('tab-', '');

/** Reads what is seen. */
async function refresh() {
  const seen = tab();
  if (admin) {
    const names = await showRoutes(); // also for its plots, while something else is seen
    if ($('route-names').children.length !== names.length) {
      $('route-names').replaceChildren(...names.map((value) => element('option', { value })));
      if (!names.includes($('submit-route').value)) $('submit-route').value = names[0];
    }
    await showNodes();
  }
  if (seen === 'requests') await Promise.all([showRequests(), showRequest()]);
}

let failing = false;

async function refreshQuietly() {
  try {
    await refresh();
    if (failing) complain();
    failing = false;
  } catch (error) {
    failing = true;
    complain(error);
  }
}

const choose = tablist(tabs, () => {
  complain();
  const seen = tab();
  if (!location.hash.startsWith(`#${seen}`) && !(seen === 'requests' && location.hash.startsWith('#request/'))) history.replaceState(null, '', `#${seen}`);
  if (seen === 'dead') showDeadRoutes().catch(complain);
  if (seen === 'requests') showRequests().catch(complain);
});

/** Shows what the address names: #routes, #requests?route=NAME, #request/ID, #dead/ROUTE and so on. */
async function go() {
  const [, name, of, query] = /^#([a-z]+)(?:\/([^?]+))?(?:\?(.*))?$/.exec(location.hash) ?? [];
  const wanted = $(`tab-${name === 'request' ? 'requests' : name}`);
  if (!wanted || wanted.hidden) return choose($(admin ? 'tab-routes' : 'tab-requests'));
  const route = new URLSearchParams(query).get('route');
  if (route) findRoute(route);
  choose(wanted);
  try {
    if (name === 'request' && of) {
      await chooseRequest(decodeURIComponent(of));
      if (matchMedia('(max-width: 55rem)').matches) $('request').scrollIntoView({ block: 'start' });
    }
    if (name === 'dead' && of) await chooseDead(decodeURIComponent(of));
  } catch (error) {
    complain(error);
  }
  return undefined;
}
addEventListener('hashchange', go);

$('submit').addEventListener('submit', async (event) => {
  event.preventDefault();
  complain();
  const text = (id) => $(id).value.trim();
  let content;
  try {
    content = JSON.parse($('submit-content').value);
  } catch (error) {
    $('submit-content').focus();
    complain(new Error(`The content is no JSON: ${error.message}`));
    return;
  }
  try {
    const request = await call('POST', '/v1/requests', {
      route: text('submit-route'), content, priority: Number($('submit-priority').value), ...(text('submit-topic') && { topic: text('submit-topic') }), ...(text('submit-delay') && { delay: text('submit-delay') }),
    }, { Prefer: 'respond-async' });
    say(`Request ${request.id} was accepted.`);
    location.hash = `#request/${request.id}`;
  } catch (error) {
    complain(error);
  }
});

// What is pushed is counted, and has what is shown of it read again soon.

let due = false;

function pushed(event) {
  count(event);
  if (due || document.visibilityState !== 'visible' || tab() !== 'requests') return;
  if (event.type === 'request.progress' && event.data.id !== shownRequest()) return;
  due = true;
  setTimeout(() => {
    due = false;
    refreshQuietly();
  }, SOON);
}

async function begin() {
  try {
    await showRoutes();
    admin = true;
  } catch (error) {
    if (error.status !== 403) {
      complain(error);
      if (error.status === 401) return; // a key is asked for, which loads the page again
      admin = true; // the gateway is away, say; what may not be seen is refused later
    }
  }
  if (admin) {
    mayFindAll();
    allowRedrive();
  }
  for (const name of ['routes', 'dead', 'nodes']) $(`tab-${name}`).hidden = !admin;
  $('role').hidden = admin;
  await go();
  refreshQuietly();
  setInterval(() => document.visibilityState === 'visible' && refreshQuietly(), EVERY);
  setInterval(() => document.visibilityState === 'visible' && drawEvents(), 1000);
  followFeed(admin && key() ? '/v1/events?owner=*' : '/v1/events', {
    onEvent: pushed,
    onState: (state) => {
      $('feed').parentElement.dataset.connection = state;
      $('feed').textContent = { open: 'live', waiting: 'connection lost, coming back', refused: 'nothing is pushed to this key' }[state];
    },
  });
}

begin();
