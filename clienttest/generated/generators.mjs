// What docs/generators.md says, done: every section that shows a command is run as it stands there, with the files that it shows, in a
// folder of its own, against a gateway and through a proxy that cuts. The versions it names are those that are pinned here.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { behindEvent, FIN, Gateway, inData, Life, pause, Proxy, RST, until } from '../harness.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const page = await readFile(join(here, '../../docs/generators.md'), 'utf8');
const gomod = await readFile(join(here, 'go.mod'), 'utf8');
const { devDependencies } = JSON.parse(await readFile(join(here, 'package.json'), 'utf8'));

/** The gateway in the commands of the page. */
const SHOWN = 'http://127.0.0.1:8080';

/** The sections of the page by their headings: the blocks of code of each, with what stands behind their language. */
const sections = Object.fromEntries(page.split(/^##+ /m).slice(1).map((section) => [
  section.slice(0, section.indexOf('\n')),
  [...section.matchAll(/^```(\w+)(?: (\S+))?\n([^]*?)^```$/gm)].map(([, language, what, text]) => ({ language, what, text })),
]));

/** A folder as somebody has who went through the installation of the page, and the files that a section shows. */
async function folder(t, heading) {
  const path = await mkdtemp(join(tmpdir(), 'hark-generated-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  await symlink(join(here, 'node_modules'), join(path, 'node_modules'));
  await writeFile(join(path, 'package.json'), '{ "type": "module" }\n');
  await writeFile(join(path, 'go.mod'), gomod.replace(/^module .*$/m, 'module example'));
  await cp(join(here, 'go.sum'), join(path, 'go.sum'));
  const blocks = sections[heading];
  assert.ok(blocks, `docs/generators.md has no section ${heading}`);
  for (const { language, what, text } of blocks) {
    if (language !== 'sh') await writeFile(join(path, what), text);
  }
  const commands = (kind) => blocks.filter(({ language, what }) => language === 'sh' && what === kind).map(({ text }) => text).join('');
  return { path, commands };
}

/** Runs commands of the page, and resolves to what they said. What is not installed is not fetched. */
async function run(path, commands, url) {
  assert.ok(commands.includes('\n'), 'the section shows no command');
  const shell = spawn('sh', ['-eu'], {
    cwd: path,
    env: { ...process.env, NO_COLOR: '1', npm_config_offline: 'true', REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true', GOFLAGS: '-mod=readonly', GOWORK: 'off' },
  });
  let out = '';
  let all = '';
  shell.stdout.on('data', (b) => { out += b; all += b; });
  shell.stderr.on('data', (b) => { all += b; });
  shell.stdin.end(commands.replaceAll(SHOWN, url));
  const code = await new Promise((resolve) => { shell.on('close', resolve); });
  assert.equal(code, 0, `${commands}\n${all}`);
  return { out, all };
}

/** The request that was submitted after another one, as a life that goes on from there. */
async function submitted(gateway, before) {
  const life = new Life(gateway);
  for (life.id = before; life.id === before; await pause(20)) {
    const { requests: [newest] } = await gateway.call('GET', '/v1/requests?limit=1');
    life.id = newest?.id;
  }
  life.sequence = 1;
  return life;
}

const EVENTS = ['request.accepted', 'request.started', 'request.progress', 'request.progress', 'request.succeeded'];

// `streams`: the program follows the stream, which is cut within an event, and once more in front of the event that tells the end.
const programs = [
  { heading: 'oapi-codegen', streams: true },
  { heading: 'ogen', streams: true },
  { heading: 'openapi-typescript and openapi-fetch', streams: true },
  { heading: '@hey-api/openapi-ts', streams: true },
  { heading: 'orval' },
  { heading: 'Modelina', told: EVENTS },
];

for (const { heading, streams, told = [...EVENTS, 'succeeded', '{"ok":true}'] } of programs) {
  test(`${heading}: a client that submits, follows, lists and fetches a result`, async (t) => {
    const gateway = await Gateway.start();
    try {
      const { path, commands } = await folder(t, heading);
      await run(path, commands(undefined), gateway.url);
      for (const how of streams ? [FIN, RST] : [undefined]) {
        await t.test(how ? `cut by ${how}` : 'not cut', () => using(gateway, path, commands('run'), { how, told }));
      }
    } finally {
      await gateway.stop();
    }
  });
}

/** Runs the program of a section through a proxy, leads its request through its life, and holds what it says against that. */
async function using(gateway, path, commands, { how, told }) {
  const proxy = await Proxy.start(gateway);
  try {
    const { requests: [before] } = await gateway.call('GET', '/v1/requests?limit=1');
    const running = run(path, commands, proxy.url);
    running.catch(() => {}); // told below, where it is waited for
    const life = await Promise.race([submitted(gateway, before?.id), running.then(() => assert.fail('it has submitted nothing'))]);
    const streamed = (sequence) => until(
      () => proxy.streams.at(-1)?.answered.includes(`"sequence":${sequence},`),
      () => `event ${sequence} in its streams: ${JSON.stringify(proxy.streams.map(({ asked, answered }) => ({ asked, answered })))}`,
    );
    await life.start();
    await life.progress();
    if (how) {
      await streamed(3);
      const within = proxy.cutAt(inData(4), how);
      await life.progress();
      await within;
      proxy.release();
      await streamed(4);
      const behind = proxy.cutAt(behindEvent(5), how);
      await life.succeed();
      await behind;
      proxy.release();
    } else {
      await life.progress();
      await life.succeed();
    }
    const { out } = await running;
    assert.deepEqual(out.trim().split('\n'), told);
    if (how) {
      assert.equal(proxy.asked, 3, 'it asked for the stream another number of times than once, and once for each cut');
      assert.ok(proxy.answered(204), 'it was not told that it had seen everything');
    }
  } finally {
    proxy.close();
  }
}

for (const [heading, verdict] of [
  ['Redocly', /^Woohoo! Your API descriptions are valid\. .*\n9 problems are explicitly ignored\.$/m],
  ['Spectral', /\b1 problem \(0 errors, 0 warnings, 1 info, 0 hints\)/],
  ["AsyncAPI's parser", /^information The latest version of AsyncAPi is not used\. .*\n$/],
]) {
  test(`${heading}: both documents pass`, async (t) => {
    const gateway = await Gateway.start();
    try {
      const { path, commands } = await folder(t, heading);
      const { all } = await run(path, commands(undefined), gateway.url);
      assert.match(all, verdict);
    } finally {
      await gateway.stop();
    }
  });
}

test('what becomes of a stream that is described by itemSchema, as in OpenAPI 3.2', async (t) => {
  const document = await readFile(join(here, '../../gateway/api/openapi.yaml'), 'utf8');
  const event = 'itemSchema: { type: object, required: [data], properties: { data: { type: string }, event: { type: string }, id: { type: string } } }';
  const derived = document
    .replace('openapi: 3.1.0', 'openapi: 3.2.0')
    .replace(/^ +x-ogen-sse-event-shape: .*\n( +)schema: \{ type: string \}$/m, `$1${event}`);
  assert.ok(derived.includes('openapi: 3.2.0') && derived.includes(event), 'the document has changed, so that no copy with itemSchema is made of it');
  const { path } = await folder(t, 'ogen');
  await writeFile(join(path, 'openapi.yaml'), derived);
  await writeFile(join(path, 'orval.config.mjs'), "export default { hark: { input: 'openapi.yaml', output: { target: 'orval.ts', client: 'fetch' } } };\n");
  await run(path, `
    npx openapi-typescript openapi.yaml -o types.ts
    npx openapi-ts --input openapi.yaml --output heyapi
    npx orval
    go tool yq 'del(.components.responses.Events.headers)' openapi.yaml >ogen-openapi.yaml
    go tool ogen --config ogen.yml --target ogen --package hark --clean ogen-openapi.yaml
    mkdir oapi
    go tool oapi-codegen -generate types,client -package hark -o oapi/hark.gen.go openapi.yaml
  `);
  for (const [file, made] of Object.entries({
    'types.ts': /"text\/event-stream": unknown;/,
    'heyapi/types.gen.ts': /^export type FollowRequestResponses = \{[^}]* 200: unknown;/m,
    'orval.ts': /^export type EventsResponse = unknown;/m,
    'ogen/oas_schemas_gen.go': /^type Events struct \{\n\tData io\.Reader\n/m,
  })) {
    assert.match(await readFile(join(path, file), 'utf8'), made, `${file} is not what the page says of OpenAPI 3.2`);
  }
});

test('the page names the versions that are pinned', () => {
  const installed = Object.values(sections).flat().filter(({ what }) => what === 'install').map(({ text }) => text).join('');
  const named = [...installed.matchAll(/ (\S+)@v?(\d[\w.-]*)/g)].map(([, name, version]) => [name, version]);
  assert.ok(named.length >= 14, installed);
  assert.ok(named.some(([name]) => name === '@types/node'), 'the programs name `process`, whose types nothing else of the page installs');
  for (const [name, version] of named) {
    const pinned = name.includes('.')
      ? [...gomod.matchAll(/^\t(\S+) v(\S+)/gm)].find(([, module]) => name === module || name.startsWith(`${module}/`))?.[2]
      : devDependencies[name];
    assert.equal(version, pinned, `the page installs ${name}@${version}`);
  }
  const table = page.split('\n').filter((line) => line.startsWith('| [')).join('\n').match(/\d+\.\d+\.\d+/g);
  for (const version of table) assert.ok(named.some(([, pinned]) => pinned === version), `the table names a version ${version} that nothing has`);
});
