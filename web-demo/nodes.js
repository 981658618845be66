// Which gateways and workers are there, and what they do.

import { call } from './key.js';
import { $, row } from './page.js';
import { Line } from './plot.js';
import { arrange, element, span } from './show.js';

const NAMES = ['Process', 'Version', 'Up for', 'Streams', 'Sockets', 'Other connections', 'Leases', 'Running', 'Begun a minute'];

export async function showNodes() {
  const { nodes } = await call('GET', '/v1/nodes');
  const rows = new Map([...$('nodes').children].map((each) => [each.dataset.id, each]));
  arrange($('nodes'), nodes.map((node) => {
    let made = rows.get(node.name);
    if (!made) {
      const line = new Line(`Begun a minute by ${node.name}`);
      made = row(node.name, NAMES, line.element);
      made.line = line;
    }
    made.line.add(node.lastMinute.started);
    const of = (name) => (node.connections ? node.connections[name] : '–');
    made.update([
      element('span', {}, [
        element('b', {}, node.kind),
        element('span', { class: 'where' }, node.host),
        element('code', {}, node.name),
        element('small', {}, Object.keys(node.processors).length ? `works on ${Object.keys(node.processors).join(', ')}` : ''),
      ]),
      node.version, up(node), of('streams'), of('sockets'), of('http'), node.leases, node.running, node.lastMinute.started,
    ]);
    return made;
  }));
}

/** For how long it has been there, and, if it has not been heard of lately, since when. */
function up({ since, seen }) {
  const silent = Date.now() - Date.parse(seen);
  return span(Date.now() - Date.parse(since)) + (silent > 8000 ? `, silent for ${span(silent)}` : '');
}
