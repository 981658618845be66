// The client of Durable Streams for TypeScript against a gateway, unchanged.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DurableStream, IdempotentProducer, stream } from '@durable-streams/client';
import { until } from '../harness.mjs';
import { start } from './gateway.mjs';

let gateway;
beforeAll(async () => { gateway = await start(); });
afterAll(() => gateway?.stop());

let made = 0;
const url = () => `${gateway.url}/v1/stream/client/${made++}`;

/** Reads a stream with a way to follow until it is closed, and returns its chunks. */
async function follow(of, live, offset = '-1') {
  const read = [];
  let response = await stream({ url: of, offset, live });
  response.subscribeBytes(async (chunk) => { read.push(Buffer.from(chunk.data)); });
  return { read, text: () => Buffer.concat(read).toString(), closed: response.closed, response };
}

for (const live of ['sse', 'long-poll']) {
  describe(live, () => {
    test('follows a text as it is written, byte by byte, and to its end', async () => {
      const at = url();
      const own = await DurableStream.create({ url: at, contentType: 'text/plain' });
      await own.append('Hello');
      const reader = await follow(at, live);
      await until(() => reader.text() === 'Hello', () => reader.text());
      for (const part of [' world', '\n', '\n  two', ' spaces ', 'é']) await own.append(part);
      const whole = 'Hello world\n\n  two spaces é';
      await until(() => reader.text() === whole, () => reader.text());
      await own.append('!');
      await own.close();
      await reader.closed;
      await until(() => reader.text() === `${whole}!`, () => reader.text());
      expect(reader.response.streamClosed).toBe(true);
    });

    test('goes on where another reader has stopped', async () => {
      const at = url();
      const own = await DurableStream.create({ url: at, contentType: 'text/plain' });
      await own.append('one');
      const first = await stream({ url: at, offset: '-1', live: false });
      expect(await first.text()).toBe('one');
      await own.append('two');
      const reader = await follow(at, live, first.offset);
      await until(() => reader.text() === 'two', () => reader.text());
      await own.append('three');
      await own.close();
      await reader.closed;
      await until(() => reader.text() === 'twothree', () => reader.text());
    });

    test('gets whole messages of JSON', async () => {
      const at = url();
      const own = await DurableStream.create({ url: at, contentType: 'application/json' });
      const messages = [];
      const response = await stream({ url: at, offset: '-1', live });
      response.subscribeJson(async (batch) => { messages.push(...batch.items); });
      const sent = Array.from({ length: 50 }, (_, n) => ({ n, text: ' \n"[' }));
      for (const m of sent) own.append(JSON.stringify(m));
      await until(() => messages.length === sent.length, () => JSON.stringify(messages));
      expect(messages).toEqual(sent);
      await own.close();
      await response.closed;
    });

    test('gets bytes of any kind', async () => {
      const at = url();
      const own = await DurableStream.create({ url: at, contentType: 'application/octet-stream' });
      const reader = await follow(at, live);
      const sent = Uint8Array.from({ length: 70_000 }, (_, n) => n * 7);
      await own.append(sent);
      await own.close();
      await reader.closed;
      await until(() => Buffer.concat(reader.read).equals(Buffer.from(sent)), 'the bytes');
    });
  });
}

test('a text with CR, a BOM, or half a character at the end of an append, loses nothing', async () => {
  const at = url();
  const own = await DurableStream.create({ url: at, contentType: 'text/plain' });
  await own.append('plain ');
  const reader = await follow(at, 'sse');
  await until(() => reader.text() === 'plain ', () => reader.text());
  const parts = [[0xe2], [0x82], [0xac, 0x20], [0x0d, 0x0a], [0xef, 0xbb, 0xbf], [0xff, 0x00], [0xe2, 0x82]];
  for (const part of parts) await own.append(Uint8Array.from(part));
  await own.close();
  await reader.closed;
  const whole = Buffer.concat([Buffer.from('plain '), ...parts.map((part) => Buffer.from(part))]);
  await until(() => Buffer.concat(reader.read).equals(whole), () => Buffer.concat(reader.read).toString('hex'));
});

test('a producer appends each batch once', async () => {
  const at = url();
  const own = await DurableStream.create({ url: at, contentType: 'text/plain' });
  const failed = [];
  const producer = new IdempotentProducer(own, 'p', { onError: (e) => failed.push(e) });
  let whole = '';
  for (let n = 0; n < 300; n++) {
    producer.append(`${n},`);
    whole += `${n},`;
  }
  await producer.flush();
  await producer.close();
  expect(failed).toEqual([]);
  expect(await (await stream({ url: at, offset: '-1', live: false })).text()).toBe(whole);
});

test('a reader goes on when the gateway is started anew', async () => {
  if (process.env.HARK_TEST_REDIS) return; // there the data is not in a folder
  const { mkdtemp, rm } = await import('node:fs/promises');
  const { tmpdir } = await import('node:os');
  const data = await mkdtemp(`${tmpdir()}/hark-streams-`);
  let own = await start({ data });
  const listen = `${own.host}:${own.port}`;
  const at = `${own.url}/v1/stream/restart`;
  const writer = await DurableStream.create({ url: at, contentType: 'text/plain' });
  await writer.append('before ');
  const reader = await follow(at, 'sse');
  await until(() => reader.text() === 'before ', () => reader.text());
  await own.stop(); // drains: the stream ends cleanly, and the client comes back
  own = await start({ data, listen });
  await writer.append('after');
  await until(() => reader.text() === 'before after', () => reader.text());
  await writer.close();
  await reader.closed;
  await own.stop();
  await rm(data, { recursive: true, force: true });
});
