// How the routes fare: what waits, runs and fails on each, over all gateways and workers.

import { call } from './key.js';
import { $, row } from './page.js';
import { Bars, Line } from './plot.js';
import { arrange, element, span } from './show.js';

const NAMES = ['Route', 'Waiting', 'Oldest', 'In progress', 'Done a minute', 'Failed a minute', 'Dead', 'Processors'];

const bars = new Bars('Events of the last minute');
$('events-plot').append(bars.element);

/** Counts an event that was pushed. @param {import('./hark.js').HarkEvent} event */
export function count({ type }) {
  const kind = { 'request.accepted': 'accepted', 'request.succeeded': 'succeeded', 'request.failed': 'failed', 'request.canceled': 'failed', 'request.expired': 'failed' }[type];
  if (kind) bars.count(kind);
}

export const drawEvents = () => bars.draw();

const bad = (steps) => steps.failed + steps.canceled + steps.expired;

/** Reads the figures and shows them. Returns the names of the routes. */
export async function showRoutes() {
  const { routes } = await call('GET', '/v1/routes');
  const rows = new Map([...$('routes').children].map((each) => [each.dataset.id, each]));
  arrange($('routes'), routes.map((route) => {
    let made = rows.get(route.route);
    if (!made) {
      const line = new Line(`Done a minute on ${route.route}`);
      made = row(route.route, NAMES, line.element);
      made.line = line;
    }
    const { lastMinute } = route;
    made.line.add(lastMinute.succeeded);
    made.classList.toggle('unserved', !route.served);
    made.update([
      element('a', { href: `#requests?route=${route.route}` }, route.route),
      route.pending + (route.parked ? ` (${route.parked} parked)` : '') + (route.asking ? `, ${route.asking} asking` : ''),
      route.oldestPending ? span(Date.now() - Date.parse(route.oldestPending)) : '–',
      route.processing,
      lastMinute.succeeded,
      bad(lastMinute),
      route.dead + (route.deadMessages ? ` and ${route.deadMessages} put aside` : ''),
      route.processors || (route.served ? '0 now' : 'nobody'),
    ]);
    return made;
  }));
  const sum = (of) => String(routes.reduce((n, each) => n + of(each), 0));
  $('total-pending').textContent = sum((each) => each.pending);
  $('total-processing').textContent = sum((each) => each.processing);
  $('total-done').textContent = sum((each) => each.lastMinute.succeeded);
  $('total-failed').textContent = sum((each) => bad(each.lastMinute));
  $('total-dead').textContent = sum((each) => each.dead);
  return routes.map((each) => each.route);
}
