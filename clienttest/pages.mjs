// The pages that the gateway serves, with something on each of them: for the pictures, and for what is held against them.

import { once } from 'node:events';
import http from 'node:http';
import { Gateway, until } from './harness.mjs';

export const WIDTHS = [1280, 390];
export const SCHEMES = ['light', 'dark'];

/** Starts a gateway with work in all states. Returns it, its pages, and what ends both. */
export async function peopled() {
  const receiver = http.createServer((request, response) => {
    response.statusCode = receiver.failing ? 503 : 200;
    response.end(receiver.failing ? 'The till is closed.' : 'Thank you.');
  });
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const gateway = await Gateway.start({
    args: ['--routes=sleep,fetch,mail', '--samples', '--attempts=1', '--concurrency=2', '--route-concurrency=sleep=4', '--webhook-allow-cidrs=127.0.0.0/8', '--webhook-allow-http'],
  });
  const submit = (content, more = {}) => gateway.call('POST', '/v1/requests', { route: 'sleep', content, ...more });
  const webhook = await gateway.call('POST', '/v1/webhooks', { url: `http://127.0.0.1:${receiver.address().port}/hooks/till`, events: ['request.succeeded'], contentType: 'application/json' });
  const done = await submit({ steps: 5, duration: '20ms' }, { topic: 'orders', id: 'order-4711' });
  await submit({ steps: 1, duration: '1ms', fail: true }, { topic: 'orders', id: 'order-4712' });
  await submit({ steps: 1, duration: '1ms', fail: true }, { topic: 'invoices', id: 'invoice-31' });
  const batch = await gateway.call('POST', '/v1/batches', {
    requests: [1, 2, 3].map((n) => ({ route: n < 3 ? 'sleep' : 'mail', content: { steps: 1, duration: `${n}ms` }, topic: 'newsletter' })),
  });
  await follow(gateway, ['order-4711', 'order-4712', 'invoice-31'], (status) => ['succeeded', 'failed'].includes(status));
  for (let n = 0; n < 2; n++) await submit({ steps: 1000, duration: '1s' }, { topic: 'reports', id: `report-${n}` });
  for (let n = 0; n < 3; n++) await submit({ to: `customer-${n}@example.org` }, { route: 'mail', id: `mail-${n}` });
  await follow(gateway, ['report-0', 'report-1'], (status) => status === 'processing');
  await until(deliveries(gateway, webhook.id), 'a delivery');
  const operate = (hash, ready) => [`/operate.html#${hash}`, ready];
  return {
    gateway,
    // Name, path, and what holds when all of it is there.
    pages: {
      requests: [`/#${done.id}`, `document.querySelector('#live').dataset.status === 'succeeded' && document.querySelectorAll('#recent li').length > 4`],
      webhooks: [`/webhooks.html#${webhook.id}`, `document.querySelectorAll('#deliveries > li').length > 0`],
      routes: operate('routes', `document.querySelectorAll('#routes tr').length >= 3 && document.querySelectorAll('#nodes tr').length === 1`),
      found: operate('request/order-4712', `document.querySelectorAll('#request-timeline li').length >= 3 && document.querySelectorAll('#requests li').length > 4`),
      batch: operate(`request/${batch.id}`, `document.querySelectorAll('#member-list li').length === 3 && document.querySelectorAll('#request-timeline li').length >= 1`),
      dead: operate('dead/sleep', `document.querySelectorAll('#dead-list > li').length === 2`),
      processes: operate('nodes', `document.querySelectorAll('#nodes tr').length === 1`),
      submit: operate('submit', `document.querySelector('#submit-content').checkVisibility()`),
    },
    stop: async () => {
      await gateway.kill();
      receiver.close();
    },
  };
}

/** Waits until requests stand so. */
async function follow(gateway, ids, so) {
  for (const id of ids) {
    for (let status; !so(status);) ({ status } = await gateway.call('GET', `/v1/requests/${id}`));
  }
}

/** Whether an endpoint has got something, as until asks: it is asked again meanwhile. */
function deliveries(gateway, id) {
  let there = false;
  const look = async () => {
    const page = await gateway.call('GET', `/v1/webhooks/${id}/deliveries`);
    there = page.deliveries.some((each) => each.state === 'delivered');
    if (!there) setTimeout(() => look().catch(() => {}), 20);
  };
  look();
  return () => there;
}
