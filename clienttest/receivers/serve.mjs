// What the tests of receivers stand on: the recipes of docs/webhooks.md as programs, and what became of what the gateway sent them.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Webhook } from 'standardwebhooks';
import { Gateway, until } from '../harness.mjs';

export const here = dirname(fileURLToPath(import.meta.url));

/** The secret of every endpoint and receiver of these tests. */
export const SECRET = `whsec_${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64')}`;
export const hook = new Webhook(SECRET);

/** A value whose spelling no other program would choose. */
export const AWKWARD = '{"price":1.0,"many":1e3,"name":"\\u00e4\\/\u00f6","2":"b","1":"a","mark":"<b>&\u20ac \u{1f98a}","big":12345678901234567890}';

/** A page of docs/. */
export class Page {
  static async read(name) {
    const page = new Page();
    page.name = name;
    page.text = await readFile(join(here, '..', '..', 'docs', name), 'utf8');
    return page;
  }

  /** The block of code behind the mark with this name. */
  block(name) {
    const at = this.text.indexOf(`<!-- ${name} -->\n`);
    assert.notEqual(at, -1, `docs/${this.name} has no <!-- ${name} -->`);
    const [, code] = /^```[a-z]+\n(.*?)^```$/ms.exec(this.text.slice(at)) ?? [];
    assert.ok(code, `docs/${this.name} has no code behind <!-- ${name} -->`);
    return code;
  }

  recipe(name) { return this.block(`recipe: ${name}`); }

  /** Returns the text, which has to stand on the page, however its lines are wrapped there. */
  quote(text) {
    const unwrapped = (lines) => lines.replaceAll(/\s+/g, ' ');
    assert.ok(unwrapped(this.text).includes(unwrapped(text)), `docs/${this.name} does not say: ${text}`);
    return text;
  }
}

/** The gateway's arguments, with which it delivers to this machine. */
export const DELIVERS = ['--webhook-allow-http', '--webhook-allow-cidrs=127.0.0.0/8', '--webhook-origin=hooks.example.org'];

/** A folder in which programs find the packages of this room. It goes with the tests. */
export async function workshop() {
  const folder = await mkdtemp(join(here, '.made-'));
  return { folder, remove: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) };
}

/** What receivers in JavaScript hand events to: a line of a file, written before they answer. Tests are refused, to see what becomes of that. */
export const HANDLE_JS = `
import { appendFileSync as note } from "node:fs";
const handle = async (event) => {
  if (event.type === "webhook.test") throw new Error("tests are not taken");
  note(process.env.HARK_SEEN, JSON.stringify({ verified: true, event }) + "\\n");
};
`;
export const HANDLE_PHP = `<?php
function handle($event) {
    if ($event->type === "webhook.test") throw new Exception("tests are not taken");
    file_put_contents(getenv("HARK_SEEN"), json_encode(["verified" => true, "event" => $event]) . "\\n", FILE_APPEND);
}
require "hooks.php";
`;
export const HANDLE_PYTHON = `
def handle(event):
    if event["type"] == "webhook.test":
        raise Exception("tests are not taken")
    with open(os.environ["HARK_SEEN"], "a") as seen:
        seen.write(json.dumps({"verified": True, "event": event}) + "\\n")

server = ThreadingHTTPServer(("127.0.0.1", 0), Hooks)
print(f"http://127.0.0.1:{server.server_port}/hooks", flush=True)
server.serve_forever()
`;

/** A port that nobody listens on, for programs that do not tell which one they were given. */
export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** The lines of a file of what was handed over. */
export const linesOf = (path) => {
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
};

/** A process with a receiver. Its `url` is where it takes events. */
export class Program {
  /** Starts it in a folder of its own, with these files, and waits until it says where it listens, on a line with a URL. */
  static async start(t, { folder, name, files = {}, command, path = '/hooks', env = {} }) {
    const program = new Program();
    const own = join(folder, name);
    for (const [file, text] of Object.entries(files)) {
      await mkdir(dirname(join(own, file)), { recursive: true });
      await writeFile(join(own, file), text);
    }
    program.file = join(own, 'seen');
    program.child = spawn(command[0], command.slice(1), {
      cwd: own, stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, HARK_SECRET: SECRET, HARK_SEEN: program.file, NO_COLOR: '1', ...env },
    });
    let said = '';
    for (const stream of [program.child.stdout, program.child.stderr]) stream.on('data', (b) => { said += b; });
    const ended = once(program.child, 'close').then(() => { program.over = true; }, (error) => { program.over = true; said += error; });
    t.after(async () => {
      program.child.kill();
      await ended; // with the processes that it has started itself, which hold its output open
    });
    let listens;
    await until(() => {
      listens = /https?:\/\/[^/\s:]+:([0-9]+)/.exec(said);
      return listens || program.over;
    }, () => `${name} to listen: ${said}`);
    assert.ok(listens, `${name} has ended: ${said}`);
    program.url = `http://127.0.0.1:${listens[1]}${path}`;
    program.said = () => said;
    return program;
  }

  get seen() { return linesOf(this.file); }
}

let endpoints = 0;

/** An endpoint of the gateway's for one receiver, which gets each event once: there is no schedule. */
export class Endpoint {
  static async register(gateway, url, more = {}) {
    const endpoint = new Endpoint();
    endpoint.gateway = gateway;
    endpoint.topic = `t${++endpoints}`;
    const made = await gateway.call('POST', '/v1/webhooks', {
      url, secret: SECRET, events: ['request.succeeded', 'webhook.test'], topics: [endpoint.topic], schedule: [], timeout: '60s', ...more,
    });
    endpoint.made = made;
    endpoint.path = `/v1/webhooks/${made.id}`;
    return endpoint;
  }

  take(contentType) { return this.gateway.call('PATCH', this.path, { contentType }); }

  /** Lets a request succeed with this text, and returns its delivery when that is over. */
  async succeed(result = AWKWARD, more = {}) {
    const { id, life } = await this.gateway.call('POST', '/v1/requests', { content: {}, topic: this.topic, ...more });
    await this.gateway.call('POST', `/v1/work/${id}/start`);
    const answer = await fetch(`${this.gateway.url}/v1/work/${id}/result?attempt=1`, {
      method: 'PUT', body: result, headers: { 'content-type': 'application/json' },
    });
    assert.ok(answer.ok, `${answer.status} ${await answer.text()}`);
    const delivery = await this.settled(`${id}${life ? `_${life}` : ''}_3`);
    return { ...delivery, request: id };
  }

  /** Sends the test event, and returns its delivery when that is over. */
  async test() {
    const answer = await fetch(this.gateway.url + this.path + '/test', { method: 'POST' });
    assert.equal(answer.status, 202);
    return this.settled(new URL(answer.headers.get('location'), this.gateway.url).pathname.split('/').at(-1));
  }

  async settled(id) {
    let delivery;
    let busy = false;
    await until(() => {
      if (!busy) {
        busy = true;
        fetch(`${this.gateway.url}${this.path}/deliveries/${id}`).then((a) => a.ok && a.json()).then((d) => {
          delivery = d || delivery;
          busy = false;
        }, () => { busy = false; });
      }
      return delivery && delivery.state !== 'waiting' && delivery.state !== 'sending';
    }, () => `the delivery ${id}: ${JSON.stringify(delivery)}`);
    return delivery;
  }
}

/** POSTs an event that is not the gateway's, signed as this one is or not. */
export async function post(url, body, { sent = body, contentType = 'application/cloudevents+json; charset=utf-8', without } = {}) {
  const [id, at] = [`own_${crypto.randomUUID()}`, new Date()];
  const headers = {
    'content-type': contentType,
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': hook.sign(id, at, body),
  };
  delete headers[without];
  const answer = await fetch(url, { method: 'POST', headers, body: sent });
  await answer.arrayBuffer();
  return answer.status;
}

/** What a receiver made of a delivery, in the words of the table of docs/webhooks.md. */
export function outcome(delivery, seen) {
  const [attempt] = delivery.log;
  const handed = seen.find((each) => each.event.id === delivery.event.id);
  if (delivery.state !== 'delivered') {
    assert.equal(handed, undefined, `an event was handed over, and refused: ${JSON.stringify(attempt)}`);
    return `\`${attempt.status ?? attempt.error}\``;
  }
  if (!handed) return `**lost**: \`${attempt.status}\``;
  return handed.verified ? 'verified' : 'read';
}

export { Gateway };
