// Receivers of webhooks with the frameworks that others have written, against a gateway: the recipes of docs/webhooks.md, which are taken from
// there, and what the frameworks do by themselves, which that page tells.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import http from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { transform } from 'esbuild';
import { program, until } from '../harness.mjs';
import {
  AWKWARD, DELIVERS, Endpoint, Gateway, HANDLE_JS, HANDLE_PHP, HANDLE_PYTHON, Page, Program, SECRET, freePort, here, hook, linesOf, outcome, post,
  workshop,
} from './serve.mjs';
import { ways, waysInGo } from './ways.mjs';

const CLOUDEVENTS = 'application/cloudevents+json';
const JSON_TYPE = 'application/json';

const page = await Page.read('webhooks.md');
const { dependencies: installed } = JSON.parse(await readFile(join(here, 'package.json'), 'utf8'));
const goModule = await readFile(join(here, 'go', 'go.mod'), 'utf8');
const made = await workshop();
const gateway = await Gateway.start({ args: DELIVERS });
after(async () => {
  await gateway.stop();
  await made.remove();
});

/** The receivers in Go, all of them in one process. */
const inGo = await (async () => {
  const folder = join(made.folder, 'go');
  await mkdir(folder);
  const child = spawn(program('HARK_RECEIVERS'), ['serve'], {
    stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, HARK_SECRET: SECRET, HARK_SEEN: folder },
  });
  after(async () => {
    child.stdin.end();
    await once(child, 'close');
  });
  let said = '';
  for await (const chunk of child.stdout) {
    said += chunk;
    if (said.endsWith('\n')) break;
  }
  const urls = JSON.parse(said);
  return (name) => ({ url: urls[name], get seen() { return linesOf(join(folder, name.replace('/', '_'))); } });
})();

/** Holds an event that a receiver was given against what was sent. The SDK of CloudEvents for Go writes .100Z as .1Z. */
function assertSame({ time, ...event }, { time: sent, ...delivered }) {
  assert.deepEqual(event, delivered, 'the event did not come as it was sent');
  assert.equal(Date.parse(time), Date.parse(sent));
}

const node = (...args) => [process.execPath, ...args];
const bun = join(here, 'node_modules', '@oven', `bun-${process.platform}-${process.arch === 'arm64' ? 'aarch64' : process.arch}`, 'bin', 'bun');
const deno = join(here, 'node_modules', '@deno', `${process.platform}-${process.arch}${process.platform === 'linux' ? '-glibc' : ''}`, 'deno');
const LISTEN = '\nconst listener = app.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${listener.address().port}/`));\n';

/** Starts a recipe as a program in JavaScript, with what the page leaves to the reader around it. */
const inNode = (name, text, behind) => (t) => Program.start(t, {
  folder: made.folder, name, files: { 'hooks.mjs': HANDLE_JS + text + behind }, command: node('hooks.mjs'), env: { NODE_ENV: 'production' },
});

/** The recipes of express, which hold for both of its versions, also behind what reads JSON for other routes. */
const express = (version) => page.recipe('express').replace('from "express"', `from "${version}"`);
const behindJSON = (version) => express(version).replace('express();\n', 'express();\napp.use(express.json());\n');

const NEST = { loader: 'ts', format: 'esm', target: 'node20', tsconfigRaw: { compilerOptions: { experimentalDecorators: true } } };
const FETCH = `${HANDLE_JS}${page.recipe('fetch')}\n`;
const EXPORTED = `${page.quote('export default { fetch: POST }')};\n`;
const DENO_SERVE = page.quote('deno serve --allow-env hooks.js').split(' ').slice(1, -1);

const recipes = {
  'express 5': inNode('express5', express('express'), LISTEN),
  'express 5 behind express.json()': inNode('express5json', behindJSON('express'), LISTEN),
  'express 4': inNode('express4', express('express4'), LISTEN),
  'express 4 behind express.json()': inNode('express4json', behindJSON('express4'), LISTEN),
  fastify: inNode('fastify', page.recipe('fastify'), `
await app.listen({ port: 0, host: "127.0.0.1" });
console.log(\`http://127.0.0.1:\${app.server.address().port}/\`);
`),
  koa: inNode('koa', page.recipe('koa'), `\napp.silent = true;${LISTEN}`),
  nest: async (t) => inNode('nest', `import "reflect-metadata";\n${(await transform(page.recipe('nest'), NEST)).code}`, `
await app.listen(0, "127.0.0.1");
console.log(await app.getUrl());
`)(t),
  hono: inNode('hono', `import { serve } from "@hono/node-server";\nimport { Hono } from "hono";\n${page.recipe('fetch')}`, `
const app = new Hono();
${page.quote('app.post("/hooks", (c) => POST(c.req.raw))')};
serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" }, ({ port }) => console.log(\`http://127.0.0.1:\${port}/\`));
`),
  'Next.js': (t) => Program.start(t, {
    folder: made.folder, name: 'next', files: { [page.quote('app/hooks/route.js')]: FETCH },
    command: node(join(here, 'node_modules', 'next', 'dist', 'bin', 'next'), 'dev', '--port=0', '--hostname=127.0.0.1'),
    env: { NEXT_TELEMETRY_DISABLED: '1', NEXT_IGNORE_INCORRECT_LOCKFILE: '1' },
  }),
  Bun: (t) => Program.start(t, {
    folder: made.folder, name: 'bun', files: { 'hooks.js': FETCH + EXPORTED },
    command: [bun, 'hooks.js'], env: { PORT: '0', DO_NOT_TRACK: '1' },
  }),
  Deno: (t) => Program.start(t, {
    folder: made.folder, name: 'deno', files: { 'hooks.js': FETCH + EXPORTED },
    command: [deno, ...DENO_SERVE, '--port=0', '--host=127.0.0.1', '--allow-read', '--allow-write', '--no-remote', '--cached-only', 'hooks.js'],
    env: { DENO_DIR: join(made.folder, 'deno-cache'), DENO_NO_UPDATE_CHECK: '1' },
  }),
  PHP: async (t) => {
    for (let tries = 1; ; tries++) {
      const command = ['php', '-d', 'display_errors=0', '-S', `127.0.0.1:${await freePort()}`, 'all.php'];
      try {
        return await Program.start(t, { folder: made.folder, name: 'php', files: { 'hooks.php': page.recipe('php'), 'all.php': HANDLE_PHP }, command });
      } catch (error) {
        if (tries === 3 || !/Address already in use/.test(error)) throw error; // somebody else was given the port meanwhile
      }
    }
  },
  Python: (t) => Program.start(t, {
    folder: made.folder, name: 'python', files: { 'hooks.py': page.recipe('python') + HANDLE_PYTHON }, command: ['python3', 'hooks.py'],
  }),
  'Go net/http': () => inGo('net/http'),
  gin: () => inGo('gin'),
  echo: () => inGo('echo'),
  'Go CloudEvents sdk-go': () => inGo('sdk-go'),
};

describe('recipes', { concurrency: 3 }, () => {
  for (const [name, start] of Object.entries(recipes)) {
    test(name, async (t) => {
      const receiver = await start(t);
      const endpoint = await Endpoint.register(gateway, receiver.url);
      const delivery = await endpoint.succeed();
      assert.equal(outcome(delivery, receiver.seen), 'verified', `${JSON.stringify(delivery.log)} ${receiver.said?.()}`);
      const event = receiver.seen.at(-1).event;
      assert.deepEqual(event.data.result.value, JSON.parse(AWKWARD));
      assertSame(event, delivery.event);

      // Whoever cannot sign is refused, and the same by one who can is not.
      const forged = JSON.stringify({ ...delivery.event, id: `${delivery.request}/forged` });
      const before = receiver.seen.length;
      for (const [what, sent, options] of [
        ['a changed body', forged, { sent: forged.replace('forged', 'Forged') }],
        ['the body written anew', AWKWARD, { sent: JSON.stringify(JSON.parse(AWKWARD)) }],
        ['no signature', forged, { without: 'webhook-signature' }],
        ['no id', forged, { without: 'webhook-id' }],
        ['no timestamp', forged, { without: 'webhook-timestamp' }],
      ]) {
        const status = await post(receiver.url, sent, options);
        assert.ok(status >= 400 && status < 500, `${what}: ${status}`);
      }
      assert.equal(receiver.seen.length, before, 'a forged event was handed over');
      const status = await post(receiver.url, forged);
      assert.ok(status >= 200 && status < 300, `signed: ${status}`);
      assert.equal(receiver.seen.at(-1).event.id, `${delivery.request}/forged`);

      // What is not handled is not delivered.
      const refused = await endpoint.test();
      assert.notEqual(refused.state, 'delivered');
      assert.ok((refused.log[0].status ?? 500) >= 500, JSON.stringify(refused.log));
    });
  }

  test('in Go are what is compiled', async () => {
    const code = await Promise.all(['recipes.go', 'cloudevents.go'].map((name) => readFile(join(here, 'go', name), 'utf8')));
    const marked = [...code.join('\n').matchAll(/^(\t+)\/\/ recipe: ([^\n]*)\n(.*?)^\1\/\/ end$/gms)];
    assert.deepEqual(marked.map(([, , name]) => name), ['net/http', 'gin', 'echo', 'sdk-go']);
    for (const [, indent, name, text] of marked) assert.equal(page.recipe(name), text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''), name);
  });
});

describe('what frameworks do by themselves', { concurrency: 3 }, () => {

  /** Lets a receiver have an event as both types, and holds that against the page. */
  async function holds(row, receiver) {
    const endpoint = await Endpoint.register(gateway, receiver.url);
    const cells = [];
    for (const contentType of [CLOUDEVENTS, JSON_TYPE]) {
      await endpoint.take(contentType);
      cells.push(outcome(await endpoint.succeed(), receiver.seen));
    }
    page.quote(`| ${[...row, ...cells].join(' | ')} |\n`);
  }

  const titles = {
    express4: 'express', '@nestjs/core': 'NestJS', 'github.com/standard-webhooks/standard-webhooks/libraries': 'standard-webhooks',
    'github.com/cloudevents/sdk-go/v2': 'CloudEvents sdk-go', 'github.com/svix/svix-webhooks': 'svix',
  };
  for (const [library, way, start] of ways) {
    const version = (installed[library] ?? '').split('@').at(-1);
    const name = titles[library] ?? library;
    test(`${library}: ${way}`, async (t) => {
      const seen = [];
      const { url, close } = await start(async (event, verified) => { seen.push({ event, verified }); }, hook);
      t.after(close);
      await holds([`${name} ${version}`, way], { url, seen });
    });
  }
  for (const [module, way, name] of waysInGo) {
    const version = new RegExp(`${module} v([0-9.]+)`).exec(goModule)?.[1];
    const title = titles[module] ?? module.split('/')[2];
    test(`Go ${name}: ${way}`, () => holds([`Go ${title} ${version}`, way], inGo(name)));
  }
});

test('the page says which versions these are', () => {
  const of = (library) => installed[library].split('@').at(-1);
  const inModule = (module) => new RegExp(`${module} (v[0-9.]+)`).exec(goModule)[1];
  page.quote(`### express ${of('express')}, ${of('express4')}\n`);
  page.quote(`### fastify ${of('fastify')}\n`);
  page.quote(`### koa ${of('koa')} with @koa/bodyparser ${of('@koa/bodyparser')}\n`);
  page.quote(`### NestJS ${of('@nestjs/core')} on express\n`);
  page.quote(`| Next.js ${of('next')} |`);
  page.quote(`| hono ${of('hono')} (here with @hono/node-server ${of('@hono/node-server')}) |`);
  page.quote(`| Bun ${of('bun')}, Deno ${of('deno')} |`);
  page.quote(`### gin ${inModule('gin-gonic/gin').slice(1)}\n`);
  page.quote(`### echo ${inModule('labstack/echo/v4').slice(1)}\n`);
  page.quote(`standardwebhooks ${of('standardwebhooks')} and svix ${of('svix')} (npm)`);
  page.quote(`standard-webhooks ${inModule('standard-webhooks/standard-webhooks/libraries')} and svix ${inModule('svix/svix-webhooks')} (Go)`);
  assert.equal(page.text.match(/\| \*\*lost\*\*: /g).length, 3, page.quote('**Three of them lose events in silence.**'));
});

test('a delivery is what the page shows', async (t) => {
  const came = [];
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    came.push({ headers: request.rawHeaders, body });
    response.writeHead(204).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { server.closeAllConnections(); server.close(); });
  const endpoint = await Endpoint.register(gateway, `http://127.0.0.1:${server.address().port}/hooks`);
  await endpoint.succeed('{"total":12.50}', { id: 'order-42' });
  const [{ headers, body }] = came;

  const [head, shown] = page.block('delivery').split('\n\n');
  const lines = head.split('\n').slice(1).map((line) => line.split(': '));
  assert.deepEqual(lines.map(([name]) => name), headers.filter((_, i) => i % 2 === 0));
  const { 'Content-Length': length, 'Content-Type': type, 'Webhook-Id': id, 'Webhook-Signature': signature } = Object.fromEntries(lines);
  const text = shown.replaceAll('\n', '');
  assert.equal(type, headers[headers.indexOf('Content-Type') + 1]);
  assert.equal(Number(length), Buffer.byteLength(text));
  const event = JSON.parse(text);
  assert.equal(id, event.id.replaceAll('/', '_'));
  assert.match(signature, /^v1,\S{44} v1a,\S{88}$/);
  const shape = (value) => {
    if (!value || typeof value !== 'object') return typeof value;
    return Object.entries(value).map(([name, each]) => [name, shape(each)]);
  };
  assert.deepEqual(shape(event), shape(JSON.parse(body)));
  assert.ok(body.includes('"value":{"total":12.50}'));
});

test('what is written anew verifies by luck, as the page says', () => {
  const same = (text) => JSON.stringify(JSON.parse(text)) === text;
  assert.ok(same(page.quote('{"ok":true}')));
  for (const text of ['1.0', '1e3', '"\\u00e4"', '"x\\/y"', '{"2":1,"1":2}', '12345678901234567890']) assert.ok(!same(page.quote(text)), text);
  const headers = new Headers({ 'webhook-id': 'a', 'webhook-timestamp': '1', 'webhook-signature': 'v1,x' });
  assert.throws(() => hook.verify('{}', headers), new RegExp(page.quote('Missing required headers')));
});

describe('the handshake', () => {
  test('Go: CloudEvents sdk-go', async () => {
    const receiver = inGo('cloudevents');
    const endpoint = await Endpoint.register(gateway, receiver.url, { challenge: 'handshake', rate: 20 });
    assert.equal(endpoint.made.status, 'active', 'it has not passed the challenge');
    assert.equal(endpoint.made.rate, 10, '600 a minute are allowed');
    const delivery = await endpoint.succeed();
    assert.equal(delivery.state, 'delivered', JSON.stringify(delivery.log));
    const [{ event, origin }] = receiver.seen.filter((each) => each.event.id === delivery.event.id);
    assert.equal(origin, 'hooks.example.org');
    assertSame(event, delivery.event);
  });

  test('Node: the recipe, over the SDK of npm', async (t) => {
    const receiver = await Program.start(t, {
      folder: made.folder, name: 'handshake', command: node('hooks.mjs'),
      files: {
        'hooks.mjs': `import { appendFileSync } from "node:fs";
const handle = async (event) => appendFileSync(process.env.HARK_SEEN, JSON.stringify({ verified: true, event }) + "\\n");
${page.recipe('handshake')}${LISTEN}`,
      },
    });
    const endpoint = await Endpoint.register(gateway, receiver.url, { challenge: 'handshake' });
    assert.equal(endpoint.made.status, 'active');
    const delivery = await endpoint.succeed();
    assert.equal(delivery.state, 'delivered', JSON.stringify(delivery.log));
    assert.equal(receiver.seen.length, 1);
    assertSame(receiver.seen[0].event, delivery.event);
    assert.equal(await post(receiver.url, JSON.stringify(delivery.event)), 403, 'nobody says the origin');

    // An endpoint that has agreed to nothing is not told the origin, and one that refuses stays pending.
    const plain = await Endpoint.register(gateway, receiver.url);
    assert.equal((await plain.succeed()).log[0].status, 403);
    const server = http.createServer((request, response) => response.writeHead(405).end()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => { server.closeAllConnections(); server.close(); });
    const other = await Endpoint.register(gateway, `http://127.0.0.1:${server.address().port}/hooks`, { challenge: 'handshake' });
    assert.equal(other.made.status, 'pending');
  });
});

test('a slow handler is called again while it runs, with the same webhook-id', async (t) => {
  const began = [];
  let go;
  const gate = new Promise((resolve) => { go = resolve; });
  let done = 0;
  const server = http.createServer(async (request, response) => {
    began.push(request.headers['webhook-id']);
    if (began.length === 1) await gate;
    done++;
    response.writeHead(204).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => { server.closeAllConnections(); server.close(); });
  const endpoint = await Endpoint.register(gateway, `http://127.0.0.1:${server.address().port}/hooks`, { timeout: '1s', schedule: ['1s'] });
  const delivery = await endpoint.succeed();
  assert.equal(delivery.state, 'delivered');
  assert.deepEqual(delivery.log.map((each) => each.status ?? each.error), ['timeout', 204]);
  assert.deepEqual(began, [delivery.id, delivery.id]);
  assert.equal(done, 1);
  go();
  await until(() => done === 2, 'the first handler');
});
