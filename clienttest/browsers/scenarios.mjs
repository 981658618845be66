// What happens to a page that follows requests, and what has to hold all the same: each event once and in order, and the end told.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FIN, Gateway, Life, RST, WATCHED, pause, until } from '../harness.mjs';
import { Front, signed } from './front.mjs';

const AWAY = 12_000; // how long a gateway is away
const FROZEN = 15_000; // and a page
const OFFLINE = 6_000;
const WORKING = 40_000; // how long a page follows through a service worker
const ARGS = ['--heartbeat=1s'];
const SECRET = 'a secret of the tests of browsers, long enough for HS256';
const TRANSPORTS = ['sse', 'websocket', 'poll'];

/** A page that a browser shows, and what it has seen as of late. */
class Page {
  static async open(profile, url) {
    const page = new Page();
    page.driven = await profile.open();
    await page.go(url);
    return page;
  }

  async go(url) {
    await this.driven.go(url);
    await this.ready(url);
  }

  /** Waits until the page of an address is there. */
  async ready(url) {
    await this.until((seen) => seen.at === url && seen.state === 'complete' && seen.page, `the page ${url}`,
      '({ at: location.href, state: document.readyState, page: window.page?.seen })');
    this.seen = this.seen.page;
  }

  async #look(expression) {
    try {
      return [await this.driven.evaluate(expression)];
    } catch (error) { // while one page goes and another comes
      return [undefined, error.message];
    }
  }

  /** Resolves as soon as condition(seen) holds, seen from now on. */
  async until(condition, what, expression = 'page.seen') {
    let over = false; // an answer may come late, or never, as from a page that stands still
    let held = false;
    const looking = async () => {
      while (!over) {
        const [seen, trouble] = await this.#look(expression);
        if (over) return;
        [this.seen, this.trouble] = [seen, trouble];
        held = Boolean(seen) && condition(seen);
        if (!held) await pause(40);
      }
    };
    looking().catch((error) => { this.trouble = error.stack; });
    try {
      await until(() => held, typeof what === 'function' ? what : () => `${what}: ${this}`);
    } finally {
      over = true;
    }
  }

  do(method, ...args) {
    return this.driven.evaluate(`(page.${method}(${args.map((a) => JSON.stringify(a)).join(', ')}), true)`);
  }

  saw(name, sequence) {
    return this.until((seen) => seen.followers[name].sequences.includes(sequence), `${name} to see event ${sequence}`);
  }

  ended(name) {
    return this.until((seen) => seen.followers[name].ended, `${name} to be told the end`);
  }

  async answer(name) {
    await this.until((seen) => seen.answers[name]?.at, `the answer to ${name}`);
    const { error, ...answer } = this.seen.answers[name];
    assert.equal(error, undefined, `${name} failed`);
    return answer;
  }

  toString() { return this.trouble ?? JSON.stringify(this.seen); }
}

/** What one scenario, in one engine, has at hand, and what is said of it in the table. */
export class Scene {
  seconds = {}; // from the end of the request to when the page was told, by follower
  notes = [];
  native; // what the browser's own EventSource saw
  events = 0; // that pages were to see
  #after = [];

  constructor(engine, gateway, query) {
    this.engine = engine;
    this.gateway = gateway;
    this.query = query; // of every page
  }

  after(what) { this.#after.push(what); }

  async close() {
    for (const what of this.#after.reverse()) await what();
  }

  url(front, query = '') { return `${front.url}/page?${[query, this.query].filter(Boolean).join('&')}`; }

  async front(gateway = this.gateway) {
    const front = await Front.start(gateway);
    this.after(() => front.close());
    return front;
  }

  async profile(options) {
    const profile = await this.engine.profile(options);
    this.after(() => profile.close());
    return profile;
  }

  async life(gateway = this.gateway) {
    const life = new Life(gateway);
    await life.submit();
    await life.start();
    return life;
  }

  /** Some steps of a request, one after the other. */
  async steps(n, life, each = 50) {
    for (let i = 0; i < n; i++) {
      await life.progress();
      await pause(each);
    }
  }

  /** Ends a request and waits until each follower of a page was told, or those that are named. */
  async finish(page, life, names) {
    await life.succeed();
    await this.told(page, life, names, Date.now());
  }

  /** Waits for the end, and holds what the followers saw against what there was. */
  async told(page, life, names, since, status = 'succeeded') {
    for (const name of names) {
      await page.ended(name);
      this.whole(page, life, name, status);
      this.seconds[name] = Math.max(this.seconds[name] ?? 0, page.seen.followers[name].ended - since, 0);
    }
    assert.deepEqual(page.seen.faults, [], 'exceptions');
  }

  whole(page, life, name, status = 'succeeded') {
    const follower = page.seen.followers[name];
    const all = Array.from({ length: life.sequence }, (_, i) => i + 1);
    this.events += all.length;
    assert.deepEqual(follower.sequences, all, `events of ${name}: ${page}`);
    assert.deepEqual(follower.offsets, all, `offsets of ${name}: ${page}`);
    assert.deepEqual([follower.status, follower.error, follower.resets, follower.after], [status, undefined, 0, 0], `the end of ${name}: ${page}`);
  }

  /** What the browser's own EventSource makes of it, which comes to rest as `rest` says; for the record. */
  async nativeDone(page, life) {
    await page.until((seen) => seen.followers.native.ended || seen.followers.native.gaveUp, 'the EventSource to end, or give up');
    this.nativeSaw(page, life);
  }

  nativeSaw(page, life) {
    const { sequences, torn, ended, gaveUp } = page.seen.followers.native;
    const all = sequences.length === life.sequence && sequences.every((s, i) => s === i + 1);
    this.native = `${all ? 'all' : `${new Set(sequences).size} of ${life.sequence}`}${torn ? `, ${torn} torn` : ''}${ended ? '' : gaveUp ? ', gave up' : ', hangs'}`;
  }
}

/** Follows one request by several transports at once, and perhaps by an EventSource, as it is and mended as docs/follow.md has it. */
async function following(scene, { transports = TRANSPORTS, native, mended, gateway, front: own, query = '', profile: options, rules } = {}) {
  const front = own ?? await scene.front(gateway);
  Object.assign(front, rules);
  const life = await scene.life(gateway);
  const profile = await scene.profile(options);
  const page = await Page.open(profile, scene.url(front, query));
  for (const transport of transports) await page.do('follow', transport, life.id, { transport });
  if (native) await page.do('native', 'native', life.id);
  if (mended) await page.do('mended', 'mended', life.id);
  return { front, life, profile, page };
}

/** Which transports the followers ended with, if they are others than they began with. */
function fellTo(scene, page) {
  const fell = Object.entries(page.seen.followers).filter(([name, f]) => !f.native && f.transport !== name).map(([name, f]) => `${name} → ${f.transport}`);
  if (fell.length) scene.notes.push(fell.join(', '));
}

async function blocked(scene, rules, transports) {
  const { page, life } = await following(scene, { transports, rules });
  for (const transport of transports) await page.saw(transport, 2);
  await scene.steps(8, life);
  await scene.finish(page, life, transports);
  fellTo(scene, page);
}

/** What a transport holds back must not hold up what the page sees: the request ends only when it has seen some of it. */
async function held(scene, rules, { native } = {}) {
  const { page, life } = await following(scene, { transports: ['sse'], rules, native });
  await scene.steps(3, life);
  await page.saw('sse', life.sequence);
  const { first, began } = page.seen.followers.sse;
  scene.notes.push(`first event after ${((first - began) / 1000).toFixed(1)} s`);
  await scene.steps(3, life);
  await scene.finish(page, life, ['sse']);
  fellTo(scene, page);
  if (native) scene.nativeSaw(page, life);
}

async function cut(scene, how) {
  const { page, life, front } = await following(scene, { native: true, mended: true });
  const counts = { stream: 3, socket: 1, call: 1 };
  const names = [...TRANSPORTS, 'mended', 'native'];
  for (const name of names) await page.saw(name, 2);
  for (let i = 0; i < 2; i++) {
    const done = front.cutWithin(life.sequence + 1, how, counts);
    await life.progress();
    await done;
    await life.progress();
    for (const name of names) await page.saw(name, life.sequence);
  }
  const done = front.cutWithin(life.sequence + 1, how, counts);
  await life.succeed();
  const since = Date.now();
  await done;
  await scene.told(page, life, [...TRANSPORTS, 'mended'], since);
  await scene.nativeDone(page, life);
}

/** A gateway that is killed and comes back, with the same data and at the same address. */
async function away(scene, { elsewhere } = {}) {
  const data = await mkdtemp(join(tmpdir(), 'hark-browsers-data-'));
  scene.after(() => rm(data, { recursive: true, force: true }));
  // A page from elsewhere comes from a server that stays.
  const host = elsewhere ? await scene.front() : undefined;
  const args = host ? [...ARGS, `--origins=${host.url}`] : ARGS;
  let gateway = await Gateway.start({ data, args });
  scene.after(() => gateway.stop());
  const front = await scene.front(gateway);
  const transports = elsewhere ? ['sse', 'websocket'] : TRANSPORTS;
  const { page, life } = await following(scene, {
    gateway, front: host ?? front, query: elsewhere ? `base=${encodeURIComponent(front.url)}` : '', transports, native: true, mended: elsewhere,
  });
  const whole = elsewhere ? [...transports, 'mended'] : transports;
  for (const name of [...whole, 'native']) await page.saw(name, 2);
  await scene.steps(4, life);
  front.down();
  await gateway.kill();
  await pause(AWAY);
  gateway = await Gateway.start({ data, args: [...args, `--listen=${gateway.host}:${gateway.port}`] });
  front.gateway = life.gateway = gateway;
  await front.up();
  await scene.steps(4, life);
  await scene.finish(page, life, whole);
  await scene.nativeDone(page, life);
}

async function plain(scene) {
  const { page, life } = await following(scene, { native: true });
  await scene.steps(20, life);
  await scene.finish(page, life, TRANSPORTS);
  await scene.nativeDone(page, life);
}

/** A page that stands still, as one in the background may, or all of its browser. */
async function frozen(scene) {
  const { page, life, profile } = await following(scene, { native: true, profile: { alone: true } });
  for (const transport of [...TRANSPORTS, 'native']) await page.saw(transport, 2);
  await scene.steps(4, life);
  await profile.freeze();
  await scene.steps(FROZEN / 500, life, 500);
  await life.succeed();
  await profile.thaw();
  await scene.told(page, life, TRANSPORTS, Date.now());
  scene.notes.push(scene.engine.constructor.freezes);
  await scene.nativeDone(page, life);
}

/** No network for a while. What was connected is dead then. */
async function offline(scene) {
  const { page, life, profile, front } = await following(scene, { native: true });
  for (const transport of [...TRANSPORTS, 'native']) await page.saw(transport, 2);
  await scene.steps(4, life);
  front.silence();
  front.dark = true;
  if (profile.offline) await profile.offline(true);
  else scene.notes.push('without the events: its driver has none');
  await scene.steps(OFFLINE / 500, life, 500);
  front.dark = false;
  await profile.offline?.(false);
  await scene.finish(page, life, TRANSPORTS);
  scene.nativeSaw(page, life);
}

async function silence(scene) {
  const { page, life, front } = await following(scene, { native: true, mended: true });
  for (const name of [...TRANSPORTS, 'native', 'mended']) await page.saw(name, 2);
  await scene.steps(4, life);
  front.silence();
  await scene.steps(2, life);
  await scene.finish(page, life, [...TRANSPORTS, 'mended']);
  scene.nativeSaw(page, life);
}

/** A token that is good for a few seconds, again and again, and that the page takes for good a second longer. */
async function token(scene) {
  const claims = { sub: 'someone', roles: ['client', 'processor'] };
  const gateway = await Gateway.start({ args: [...ARGS, `--jwt-secret=${SECRET}`], headers: { authorization: `Bearer ${signed(SECRET, claims, 600_000)}` } });
  scene.after(() => gateway.stop());
  const front = await scene.front(gateway);
  front.token = () => ({ token: signed(SECRET, claims, 2_000), expires: Math.ceil((Date.now() + 2_000) / 1000) * 1000 });
  const { page, life } = await following(scene, { gateway, front, query: 'token' });
  for (const transport of TRANSPORTS) await page.saw(transport, 2);
  while (front.tokens < 4) await scene.steps(1, life, 500);
  await scene.finish(page, life, TRANSPORTS);
  assert.ok(front.refused > 0, 'no token was refused');
  scene.notes.push(`${front.tokens} tokens, ${front.refused} calls refused`);
}

/** What becomes of eight EventSources, and of a call beside them; for the record. */
async function eightNative(scene, lives) {
  const page = await Page.open(await scene.profile(), scene.url(await scene.front()));
  for (const [i, life] of lives.entries()) await page.do('native', `${i}`, life.id);
  const begun = (seen) => Object.values(seen.followers).filter((f) => f.first).length;
  await page.until((seen) => begun(seen) >= 6, 'six EventSources to begin');
  await page.do('call', 'get', 'get', lives[0].id);
  await pause(WATCHED);
  await page.until(() => true, 'the page');
  return `${begun(page.seen)} of 8 begin, a call ${page.seen.answers.get.at ? 'is answered' : 'waits'}`;
}

/** More followers than a browser has connections to one host, and a call beside them. */
async function eight(scene) {
  const front = await scene.front();
  const page = await Page.open(await scene.profile(), scene.url(front));
  const lives = await Promise.all(Array.from({ length: 8 }, () => scene.life()));
  for (const [i, life] of lives.entries()) await page.do('follow', `${i}`, life.id);
  for (const [i, life] of lives.entries()) await page.saw(`${i}`, life.sequence);
  scene.native = await eightNative(scene, lives);
  let slowest = 0;
  for (const i of [0, 7]) {
    await page.do('call', `cancel ${i}`, 'cancel', lives[i].id);
    const { asked, at } = await page.answer(`cancel ${i}`); // all eight are still under way
    slowest = Math.max(slowest, at - asked);
    await lives[i].giveUp();
    await scene.told(page, lives[i], [`${i}`], Date.now(), 'canceled');
  }
  for (const i of [1, 2, 3, 4, 5, 6]) {
    await scene.steps(2, lives[i], 0);
    await scene.finish(page, lives[i], [`${i}`]);
  }
  scene.notes.push(`cancel answered in ${(slowest / 1000).toFixed(2)} s, ${front.begun.stream} streams, ${front.begun.socket} sockets`);
}

/** Through eight pages, each of which follows something, and all the way back. */
async function walk(scene) {
  const front = await scene.front();
  const profile = await scene.profile();
  const lives = await Promise.all(Array.from({ length: 8 }, () => scene.life()));
  scene.native = await walkNative(scene, lives);
  const url = (i) => scene.url(front, `${i}`);
  const page = await Page.open(profile, url(0));
  for (const [i, life] of lives.entries()) {
    if (i > 0) await page.go(url(i));
    await page.do('follow', 'sse', life.id);
    await page.saw('sse', 2);
    await life.progress();
    await page.saw('sse', 3);
  }
  let cached = 0;
  for (let i = 7; i >= 0; i--) {
    if (i < 7) {
      await lives[i].progress(); // while its page is left
      await page.driven.back();
      await page.ready(url(i));
      if (page.seen.shown.includes('from the cache')) cached++;
      if (!page.seen.followers.sse) await page.do('follow', 'sse', lives[i].id);
    }
    await page.saw('sse', lives[i].sequence);
    await scene.finish(page, lives[i], ['sse']);
  }
  scene.notes.push(`${cached} of 7 from the cache`);
}

/** The same with an EventSource in each page; for the record. */
async function walkNative(scene, lives) {
  const front = await scene.front();
  const page = await Page.open(await scene.profile(), scene.url(front, '0'));
  for (const [i, life] of lives.entries()) {
    if (i > 0) {
      const there = await Promise.race([page.go(scene.url(front, `${i}`)).then(() => true), pause(3 * WATCHED)]);
      if (!there) return `page ${i + 1} does not load`;
    }
    await page.do('native', 'native', life.id);
    await page.saw('native', 2);
  }
  return 'all pages load';
}

/** Two tabs of one origin, each with followers of the same four requests. With a SharedWorker all eight of them have one stream and one WebSocket. */
async function tabs(scene, { closes } = {}) {
  const front = await scene.front();
  const profile = await scene.profile();
  const pages = [await Page.open(profile, scene.url(front, '1')), await Page.open(profile, scene.url(front, '2'))];
  const lives = await Promise.all(Array.from({ length: 4 }, () => scene.life()));
  for (const page of pages) {
    for (const [i, life] of lives.entries()) await page.do('follow', `${i}`, life.id);
  }
  for (const page of pages) {
    for (const i of lives.keys()) await page.saw(`${i}`, 2);
    await page.do('call', 'get', 'get', lives[0].id);
    await page.answer('get');
  }
  if (closes) await pages.shift().driven.close();
  for (const [i, life] of lives.entries()) {
    await scene.steps(2, life, 0);
    await life.succeed();
    const since = Date.now();
    for (const page of pages) await scene.told(page, life, [`${i}`], since);
  }
  // Eight followers that shared nothing would begin eight of a kind. On a busy machine each of the two pages may come back once,
  // because an answer was slow.
  const { stream, socket } = front.begun;
  const sockets = scene.query === 'alone' ? 2 : 1;
  assert.ok(stream >= 1 && stream <= 1 + 2 && socket >= sockets && socket <= sockets + 2, `${stream} streams and ${socket} WebSockets`);
  scene.notes.push(`${front.begun.stream} streams, ${front.begun.socket} sockets`);
}

/** A stream that is refused once after a cut, and has ended meanwhile: EventSource gives up then. */
async function refusedOnce(scene) {
  const { page, life, front } = await following(scene, { transports: ['sse'], native: true, mended: true });
  for (const name of ['sse', 'native', 'mended']) await page.saw(name, 2);
  front.refusals = 3;
  const done = front.cutWithin(life.sequence + 1, FIN, { stream: 3 });
  await life.progress();
  await done;
  await scene.steps(4, life, 0);
  await scene.finish(page, life, ['sse', 'mended']);
  await scene.nativeDone(page, life);
}

/** A service worker that passes on what the page asks for, for longer than some let it. */
async function serviceWorker(scene) {
  const { page, life } = await following(scene, { transports: ['sse'], native: true, query: 'service' });
  const began = Date.now();
  for (const name of ['sse', 'native']) await page.saw(name, 2);
  while (Date.now() - began < WORKING) await scene.steps(1, life, 500);
  await scene.finish(page, life, ['sse']);
  await scene.nativeDone(page, life);
}

/** What is published while an EventSource is away that was cut off before its first event. */
async function topic(scene) {
  const front = await scene.front();
  const topic = `topic-${front.port}`;
  const page = await Page.open(await scene.profile(), scene.url(front));
  await page.do('feed', 'native', `/v1/topics/${topic}/events`);
  await page.until((seen) => seen.followers.native.starts > 0, 'the beginning of the topic');
  front.down();
  const life = new Life(scene.gateway, { topic });
  await life.submit();
  await front.up();
  await life.start();
  await page.saw('native', life.sequence);
  scene.nativeSaw(page, life);
  assert.equal(scene.native, 'all, hangs', String(page));
  scene.native = 'all';
  scene.events = life.sequence;
  scene.unfollowed = true;
}

/**
 * In the order of the table; those that are `long` begin first. Those with `twice` are played once more with pages that do not share a SharedWorker, as in
 * an application that has hark.js in a bundle.
 */
const played = [
  { name: 'nothing blocked', play: plain },
  { name: 'WebSocket refused', play: (s) => blocked(s, { sockets: 'refuse' }, ['sse', 'websocket']) },
  { name: 'stream refused', play: (s) => blocked(s, { streams: 'refuse' }, ['sse', 'websocket']) },
  { name: 'both refused', play: (s) => blocked(s, { streams: 'refuse', sockets: 'refuse' }, ['sse', 'websocket']) },
  { name: 'both reset', play: (s) => blocked(s, { streams: 'reset', sockets: 'reset' }, ['sse', 'websocket']) },
  { name: 'stream held back until its end', play: (s) => held(s, { holds: true }, { native: true }), long: true },
  { name: 'stream never answered', play: (s) => held(s, { streams: 'swallow' }), long: true },
  { name: 'neither stream nor WebSocket answered', play: (s) => held(s, { streams: 'swallow', sockets: 'swallow' }), long: true },
  { name: 'silence from some moment on', play: silence, long: true, twice: true },
  { name: 'cut within events by FIN', play: (s) => cut(s, FIN) },
  { name: 'cut within events by RST', play: (s) => cut(s, RST), twice: true },
  { name: 'cut, then refused once', play: refusedOnce },
  { name: 'topic, cut before its first event', play: topic },
  { name: 'gateway killed, back after 12 s', play: (s) => away(s), long: true },
  { name: 'the same, page from another origin', play: (s) => away(s, { elsewhere: true }), long: true },
  { name: 'token renewed while following', play: token, long: true, twice: true },
  { name: 'eight followers and a cancel', play: eight, twice: true },
  { name: 'two tabs', play: (s) => tabs(s), twice: true },
  { name: 'two tabs, the first is closed', play: (s) => tabs(s, { closes: true }) },
  { name: 'through eight pages and back', play: walk, twice: true },
  { name: 'frozen for 15 s', play: frozen, long: true, twice: true },
  { name: 'offline for 6 s', play: offline, long: true, twice: true },
  { name: 'through a service worker for 40 s', play: serviceWorker, long: true },
];

export const scenarios = played.flatMap((scenario) => (scenario.twice ? [scenario, { ...scenario, name: `${scenario.name}, no SharedWorker`, query: 'alone' }] : [scenario]));

export const gatewayArgs = ARGS;
