// Real WebSocket clients against a gateway, through a proxy that cuts. Each sees every event of a request, in order and once, and is told why it
// was closed as its library tells it.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { FIN, Follow, Gateway, Journal, Life, Proxy, RST, inData, occupy, until } from './harness.mjs';
import { socketClients } from './sockets.mjs';

const go = Follow.start();
const clients = socketClients(go);
after(() => go.stop());

/** Follows a request with a client through a proxy of its own, as long as the test runs. */
async function following(t, client, gateway, life) {
  const proxy = await Proxy.start(gateway);
  const journal = new Journal();
  t.after(() => proxy.close());
  const stop = client.follow(proxy.url, `request:${life.id}`, journal);
  t.after(stop);
  return { client, life, proxy, journal };
}

/** Holds what a client saw of a life against what there was, and what it was closed with against what it should be. */
async function assertWhole({ client, life, journal }, ...closes) {
  await journal.saw(life, life.sequence);
  await journal.sawName('end');
  assert.deepEqual(journal.sequences(life.id), Array.from({ length: life.sequence }, (_, i) => i + 1), String(journal));
  assert.deepEqual(journal.closes.slice(0, closes.length).map((c) => c.code), closes.map((why) => client.codes[why]), String(journal));
}

describe('sockets', { concurrency: true }, () => {
  let gateway;
  before(async () => { gateway = await Gateway.start(); });
  after(() => gateway.stop());

  for (const client of clients) {
    for (const how of [FIN, RST]) {
      test(`${client.name}: cut by ${how}`, async (t) => {
        const life = new Life(gateway);
        await life.submit();
        const follower = await following(t, client, gateway, life);
        const { proxy, journal } = follower;
        await life.start();
        await life.progress();
        await journal.saw(life, 3);
        // Within an event; the next one happens while the client is away.
        const cut = proxy.cutAt(inData(life.sequence + 1), how);
        await life.progress();
        await cut;
        await life.progress();
        await until(() => journal.closes.length === 1, () => `the close: ${journal}`);
        proxy.release();
        await journal.saw(life, life.sequence);
        // Between two events.
        proxy.cutNow(how);
        await life.progress();
        await until(() => journal.closes.length === 2, () => `the close: ${journal}`);
        proxy.release();
        await journal.saw(life, life.sequence);
        // Within the last one.
        const last = proxy.cutAt(inData(life.sequence + 1), how);
        await life.succeed();
        await last;
        proxy.release();
        await assertWhole(follower, how, how, how);
      });
    }
  }
});

test('a restart', { concurrency: true }, async (t) => {
  const data = await mkdtemp(join(tmpdir(), 'hark-clients-'));
  t.after(() => rm(data, { recursive: true, force: true }));
  let gateway = await Gateway.start({ data });
  const followers = await Promise.all(clients.map(async (client) => {
    const life = new Life(gateway);
    await life.submit();
    await life.start();
    const follower = await following(t, client, gateway, life);
    await follower.journal.saw(life, 2);
    return follower;
  }));
  for (const { proxy } of followers) proxy.hold();
  await gateway.stop();
  gateway = await Gateway.start({ data });
  await Promise.all(followers.map(async ({ life, proxy }) => {
    life.gateway = gateway;
    proxy.gateway = gateway;
    await life.progress();
    proxy.release();
    await life.succeed();
  }));
  for (const follower of followers) await t.test(follower.client.name, () => assertWhole(follower, 'restart'));
  await gateway.stop();
});

// Others hold all places until every client was sent away.
test('too many connections', { concurrency: true }, async (t) => {
  const gateway = await Gateway.start({ args: [`--max-connections=${clients.length}`, `--max-per-address=${clients.length}`] });
  const places = await occupy(gateway, clients.length);
  const followers = await Promise.all(clients.map(async (client) => {
    const life = new Life(gateway);
    await life.submit();
    const follower = await following(t, client, gateway, life);
    await until(() => follower.journal.closes.length > 0, () => `the close: ${follower.journal}`);
    return follower;
  }));
  for (const place of places) place.destroy();
  await Promise.all(followers.map(async ({ life }) => { await life.start(); await life.succeed(); }));
  for (const follower of followers) await t.test(follower.client.name, () => assertWhole(follower, 'busy'));
  await gateway.stop();
});
