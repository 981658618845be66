// Real clients of Server-Sent Events against a gateway, through a proxy that cuts. Whatever happens to the connection, each sees every event of a
// request, in order and once, and none takes anything but the end for the end.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  FIN, Follow, Gateway, Journal, Life, Proxy, RST, WATCHED, behindData, behindEvent, behindID, inData, occupy, pause, until,
} from './harness.mjs';
import { Browser } from './browser.mjs';
import { streamClients } from './streams.mjs';

const go = Follow.start();
const browser = await Browser.start();
const clients = streamClients(go, browser);
after(() => Promise.all([go.stop(), browser.stop()]));

/** Follows path with a client through a proxy of its own, as long as the test runs. */
async function following(t, client, gateway, path) {
  const proxy = await Proxy.start(gateway);
  const journal = new Journal();
  t.after(() => proxy.close());
  const stop = client.follow(proxy.url + path, journal);
  t.after(stop);
  return { proxy, journal };
}

const eventsOf = (life) => `/v1/requests/${life.id}/events`;

/** Holds what a client saw of a life against what there was. */
function assertWhole(client, journal, life) {
  const seen = journal.sequences(life.id);
  const all = Array.from({ length: life.sequence }, (_, i) => i + 1);
  assert.deepEqual(client.halves ? [...new Set(seen)] : seen, all, String(journal));
  if (!client.halves) assert.deepEqual(journal.halves, [], 'it handed over halves of events');
  if (journal.over) {
    assert.equal(journal.over.after, 'end', `it took something else for the end: ${journal}`);
    assert.equal(journal.over.not, undefined);
  }
}

describe('streams', { concurrency: true }, () => {
  let gateway;
  before(async () => { gateway = await Gateway.start(); });
  after(() => gateway.stop());

  for (const client of clients) {
    for (const how of [FIN, RST]) {
      test(`${client.name}: cut by ${how}`, async (t) => {
        const life = new Life(gateway);
        await life.submit();
        const { proxy, journal } = await following(t, client, gateway, eventsOf(life));
        await life.start();
        await life.progress();
        await journal.saw(life, 3);

        // Within an event; the next one happens while the client is away.
        for (const where of [inData, behindData, ...(client.hasty ? [] : [behindID])]) {
          const cut = proxy.cutAt(where(life.sequence + 1), how);
          await life.progress();
          await cut;
          await life.progress();
          proxy.release();
          await journal.saw(life, life.sequence);
        }
        // Between two events.
        proxy.cutNow(how);
        await life.progress();
        proxy.release();
        await journal.saw(life, life.sequence);
        // Within the last one.
        const cut = proxy.cutAt(inData(life.sequence + 1), how);
        await life.succeed();
        await cut;
        proxy.release();
        await journal.saw(life, life.sequence);
        await journal.sawName('end');
        if (client.halves) assert.notEqual(journal.halves.length, 0, 'it does not hand over halves any more');

        const { asked } = proxy;
        await pause(WATCHED);
        assert.equal(proxy.asked, asked, 'it came back behind the end');
        assertWhole(client, journal, life);
        assert.deepEqual(journal.said, ['end']);
      });
    }

    if (client.hasty) {
      test(`${client.name}: cut behind the line of an id`, async (t) => {
        const life = new Life(gateway);
        await life.submit();
        const { proxy, journal } = await following(t, client, gateway, eventsOf(life));
        await life.start();
        await journal.saw(life, 2);
        const cut = proxy.cutAt(behindID(3), FIN);
        await life.progress();
        await cut;
        await life.progress();
        proxy.release();
        await journal.saw(life, 4);
        assert.deepEqual(journal.sequences(life.id), [1, 2, 4], 'it is not hasty any more');
      });
    }

    test(`${client.name}: cut before the end`, async (t) => {
      const life = new Life(gateway);
      await life.submit();
      const { proxy, journal } = await following(t, client, gateway, eventsOf(life));
      await life.start();
      await journal.saw(life, 2);
      const stalled = proxy.cutAt(behindEvent(3));
      await life.succeed();
      await stalled;
      await journal.saw(life, 3);
      proxy.cutNow(RST);
      proxy.release();
      await until(() => proxy.answered(204), () => String(journal));
      if (client.at204 === 'asks') {
        await until(() => proxy.asked > 3, () => `it does not go on asking any more: ${journal}`);
      } else {
        if (client.at204 === 'replays') await journal.sawName('end');
        else await until(() => journal.over, () => `it does not stop: ${journal}`);
        const asked = client.at204 === 'replays' ? 3 : 2;
        await pause(WATCHED);
        assert.equal(proxy.asked, asked, 'it goes on asking');
      }
      assert.deepEqual(journal.sequences(life.id), client.at204 === 'replays' ? [1, 2, 3, 1, 2, 3] : [1, 2, 3]);
    });

    for (const how of [FIN, RST]) {
      test(`${client.name}: a feed, cut before its first event by ${how}`, async (t) => {
        const topic = `topic-${how}-${clients.indexOf(client)}`;
        const { proxy, journal } = await following(t, client, gateway, `/v1/topics/${topic}/events`);
        await journal.sawName('start');
        const life = new Life(gateway, { topic });
        proxy.cutNow(how);
        await life.submit();
        await life.start();
        proxy.release();
        await life.succeed();
        await journal.saw(life, 3);
        assertWhole(client, journal, life);
      });
    }

    test(`${client.name}: refused`, async (t) => {
      const { proxy, journal } = await following(t, client, gateway, '/v1/requests/there-is-none/events');
      await until(() => proxy.answered(404), () => String(journal));
      if (client.at404 === 'stops') {
        await until(() => journal.over, () => `it does not stop: ${journal}`);
        await pause(WATCHED);
        assert.equal(proxy.asked, 1, 'it goes on asking');
      } else {
        await until(() => proxy.asked > 2, () => `it does not go on asking any more: ${journal}`);
      }
    });
  }
});

// All clients at once, because one gateway is restarted under all of them.
test('a restart', { concurrency: true }, async (t) => {
  const data = await mkdtemp(join(tmpdir(), 'hark-clients-'));
  t.after(() => rm(data, { recursive: true, force: true }));
  let gateway = await Gateway.start({ data });
  const followers = await Promise.all(clients.map(async (client) => {
    const life = new Life(gateway);
    await life.submit();
    await life.start();
    const follower = { client, life, ...await following(t, client, gateway, eventsOf(life)) };
    await follower.journal.saw(life, 2);
    return follower;
  }));
  for (const { proxy } of followers) proxy.gateway = undefined;
  await gateway.stop();
  // Each comes back while nothing is there.
  await Promise.all(followers.map(({ proxy, journal }) => until(() => proxy.asked > 1, () => `an attempt: ${journal}`)));
  gateway = await Gateway.start({ data });
  await Promise.all(followers.map(async ({ proxy, life }) => {
    life.gateway = gateway;
    await life.progress();
    proxy.gateway = gateway;
    await life.succeed();
  }));
  for (const { client, life, journal } of followers) {
    await t.test(client.name, async () => {
      if (client.away === 'may stop') {
        await until(() => journal.over || journal.names.includes('end'), () => `it neither stops nor goes on: ${journal}`);
        if (journal.over) return;
      }
      await journal.saw(life, 4);
      await journal.sawName('end');
      assertWhole(client, journal, life);
      if (client.waits === undefined) assert.deepEqual(journal.said.filter((name) => name !== 'restart'), ['end']);
      else assert.deepEqual(journal.said, ['restart', 'end']);
    });
  }
  await gateway.stop();
});

// Others hold all places until every client was sent away.
test('too many connections', { concurrency: true }, async (t) => {
  const gateway = await Gateway.start({ args: ['--retry=200ms', `--max-connections=${clients.length}`, `--max-per-address=${clients.length}`] });
  const places = await occupy(gateway, clients.length);
  const followers = await Promise.all(clients.map(async (client) => {
    const life = new Life(gateway);
    await life.submit();
    const follower = { client, life, ...await following(t, client, gateway, eventsOf(life)) };
    if (client.waits === undefined) await until(() => follower.proxy.streams.some((c) => c.answered.includes('event: busy')), 'its refusal');
    else await follower.journal.sawName('busy');
    return follower;
  }));
  for (const place of places) place.destroy();
  await Promise.all(followers.map(async ({ life }) => { await life.start(); await life.succeed(); }));
  for (const { client, life, proxy, journal } of followers) {
    await t.test(client.name, async () => {
      await journal.saw(life, 3);
      await journal.sawName('end');
      assertWhole(client, journal, life);
      const [first, second] = proxy.streams;
      if (client.waits === undefined) return;
      const told = Number(/event: busy\ndata: \{"retry":(\d+),/.exec(first.answered)[1]);
      const waited = second.came - first.told;
      if (client.waits) assert.ok(waited > told * client.waits, `it was told to wait ${told} ms and waited ${waited} ms`);
      else if (client.waits === 0) assert.ok(waited < told, `it waits as long as it is told now: ${waited} of ${told} ms`);
    });
  }
  await gateway.stop();
});
