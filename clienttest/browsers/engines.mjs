// Three browser engines, driven each by the protocol that it brings itself: Chromium by DevTools, Firefox by WebDriver BiDi, WebKit by W3C WebDriver.
// An engine opens profiles, which share nothing but perhaps their process; a profile opens pages, which are windows, so that all of them are visible.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, readFileSync, readdirSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { WebSocket } from 'ws';
import { pause } from '../harness.mjs';

/** An engine that is not installed. */
export class Missing extends Error {}

function program(needs, ...paths) {
  const places = paths.flatMap((p) => (p.startsWith('/') ? [p] : (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, p))));
  for (const place of places) {
    try {
      accessSync(place, constants.X_OK);
      return place;
    } catch { /* not there */ }
  }
  throw new Missing(`there is no ${paths[0]}: install ${needs} (\`make test-browsers\` does, as root on Debian)`);
}

const running = new Set();
process.on('exit', () => {
  for (const each of running) {
    each.kill();
    rmSync(each.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
});

/** A process of its own group, which ends with this one. */
class Program {
  static async start(command, args, { env, said }) {
    const own = new Program();
    own.folder = await mkdtemp(join(tmpdir(), 'hark-browsers-'));
    own.child = spawn(command, args(own.folder), {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, HOME: own.folder, ...env },
    });
    running.add(own);
    let text = '';
    if (said) {
      own.said = await new Promise((resolve, reject) => {
        for (const stream of [own.child.stderr, own.child.stdio[3]]) {
          stream.on('data', (bytes) => {
            text += bytes;
            const found = said.exec(text);
            if (found) resolve(found[1]);
          });
        }
        own.child.on('close', (code) => reject(new Error(`${command} has ended, ${code}: ${text}`)));
        own.child.on('error', reject);
      });
    } else {
      own.child.stderr.resume();
    }
    return own;
  }

  kill() {
    try {
      process.kill(-this.child.pid, 'SIGKILL');
    } catch { /* it has ended */ }
  }

  /** The processes that are its own and those that it began, whatever their group. */
  get pids() {
    const parents = new Map();
    for (const name of readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
      try {
        parents.set(Number(name), Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, 'latin1'))[1]));
      } catch { /* it has ended */ }
    }
    const all = new Set([this.child.pid]);
    for (let before = 0; before < all.size;) {
      before = all.size;
      for (const [pid, parent] of parents) if (all.has(parent)) all.add(pid);
    }
    return [...all];
  }

  signal(name) {
    for (const pid of this.pids) {
      try {
        process.kill(pid, name);
      } catch { /* it has ended */ }
    }
  }

  async stop() {
    running.delete(this);
    const over = this.child.exitCode === null && this.child.signalCode === null ? once(this.child, 'exit') : undefined;
    const all = this.pids;
    this.kill();
    await over;
    for (const pid of all) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch { /* it has ended */ }
    }
    await rm(this.folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/** Calls with numbered answers over a WebSocket, as DevTools and WebDriver BiDi have them. */
class Calls {
  #last = 0;
  #waiting = new Map();

  static async open(url) {
    const calls = new Calls();
    calls.socket = new WebSocket(url, { perMessageDeflate: false });
    await once(calls.socket, 'open');
    calls.socket.on('message', (text) => {
      const answer = JSON.parse(text);
      const waiting = calls.#waiting.get(answer.id);
      if (!waiting) return;
      calls.#waiting.delete(answer.id);
      if (answer.error) waiting.reject(new Error(answer.error.message ?? `${answer.error}: ${answer.message}`));
      else waiting.resolve(answer.result);
    });
    calls.socket.on('close', () => {
      for (const { reject } of calls.#waiting.values()) reject(new Error('the browser has ended'));
    });
    return calls;
  }

  call(method, params = {}, sessionId = undefined) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }
}

export class Chromium {
  static atOnce = 10; // scenarios
  static freezes = 'by DevTools';
  static goesOffline = true;

  static async start() {
    const engine = new Chromium();
    engine.program = await Program.start(program('chromium', 'chromium', 'chromium-browser', 'google-chrome'), (folder) => [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-port=0', `--user-data-dir=${folder}`,
      '--disable-background-networking', '--disable-component-update', '--disable-sync', 'about:blank',
    ], { said: /DevTools listening on (ws:\S+)/ });
    engine.calls = await Calls.open(engine.program.said);
    engine.name = (await engine.calls.call('Browser.getVersion')).product.replace('HeadlessChrome', 'Chrome').replace('Chrome/', 'Chromium ').replace(/\.\d+\.\d+$/, '');
    return engine;
  }

  async profile() {
    const { browserContextId } = await this.calls.call('Target.createBrowserContext');
    const { calls } = this;
    const pages = [];
    return {
      open: async () => {
        const { targetId } = await calls.call('Target.createTarget', { url: 'about:blank', browserContextId, newWindow: true });
        const { sessionId } = await calls.call('Target.attachToTarget', { targetId, flatten: true });
        const call = (method, params) => calls.call(method, params, sessionId);
        await call('Page.enable');
        const page = {
          call,
          go: (url) => call('Page.navigate', { url }),
          evaluate: async (expression) => {
            const { result, exceptionDetails } = await call('Runtime.evaluate', { expression: `JSON.stringify(${expression})` });
            if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
            return result.value === undefined ? undefined : JSON.parse(result.value);
          },
          back: async () => {
            const { currentIndex, entries } = await call('Page.getNavigationHistory');
            await call('Page.navigateToHistoryEntry', { entryId: entries[currentIndex - 1].id });
          },
          close: () => calls.call('Target.closeTarget', { targetId }),
        };
        pages.push(page);
        return page;
      },
      freeze: () => Promise.all(pages.map((p) => p.call('Page.setWebLifecycleState', { state: 'frozen' }))),
      thaw: () => Promise.all(pages.map((p) => p.call('Page.setWebLifecycleState', { state: 'active' }))),
      offline: (offline) => Promise.all(pages.map(async (p) => {
        await p.call('Network.enable');
        await p.call('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
      })),
      close: () => calls.call('Target.disposeBrowserContext', { browserContextId }).catch(() => {}),
    };
  }

  stop() { return this.program.stop(); }
}

export class Firefox {
  static atOnce = 6;
  static freezes = 'by SIGSTOP';
  static goesOffline = true;

  static async start() {
    const engine = new Firefox();
    engine.program = await Program.start(program('firefox-esr', 'firefox-esr', 'firefox'), (folder) => [
      '--headless', '--no-remote', '--profile', folder, '--remote-debugging-port=0', 'about:blank',
    ], { said: /WebDriver BiDi listening on (ws:\S+)/ });
    engine.calls = await Calls.open(`${engine.program.said}/session`);
    const { capabilities } = await engine.calls.call('session.new', { capabilities: {} });
    engine.name = `Firefox ${capabilities.browserVersion.split('.').slice(0, 2).join('.')}`;
    return engine;
  }

  async profile({ alone } = {}) {
    if (alone) {
      const own = await Firefox.start();
      return { ...(await own.profile()), close: () => own.stop() };
    }
    const { calls, program: process } = this;
    const { userContext } = await calls.call('browser.createUserContext');
    const contexts = [];
    return {
      open: async () => {
        const { context } = await calls.call('browsingContext.create', { type: 'window', userContext });
        contexts.push(context);
        return {
          go: (url) => calls.call('browsingContext.navigate', { context, url, wait: 'none' }),
          evaluate: async (expression) => {
            const { result, exceptionDetails } = await calls.call('script.evaluate', { expression: `JSON.stringify(${expression})`, target: { context }, awaitPromise: false });
            if (exceptionDetails) throw new Error(exceptionDetails.text);
            return result.value === undefined ? undefined : JSON.parse(result.value);
          },
          back: () => calls.call('browsingContext.traverseHistory', { context, delta: -1 }),
          close: () => {
            contexts.splice(contexts.indexOf(context), 1);
            return calls.call('browsingContext.close', { context });
          },
        };
      },
      freeze: () => process.signal('SIGSTOP'),
      thaw: () => process.signal('SIGCONT'),
      offline: (offline) => calls.call('emulation.setNetworkConditions', { networkConditions: offline ? { type: 'offline' } : null, contexts }),
      close: () => calls.call('browser.removeUserContext', { userContext }).catch(() => {}),
    };
  }

  stop() { return this.program.stop(); }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

export class WebKit {
  static atOnce = 8;
  static freezes = 'by SIGSTOP';
  static goesOffline = false; // its driver has no call for that

  static async start() {
    const engine = new WebKit();
    engine.driver = program('webkit2gtk-driver', 'WebKitWebDriver');
    const folders = readdirSync('/usr/lib').map((name) => join('/usr/lib', name)).filter((name) => name.includes('-linux-'));
    engine.browser = program('webkit2gtk-driver', ...folders.flatMap((f) => ['6.0', '4.1', '4.0'].map((v) => join(f, v === '6.0' ? 'webkitgtk-6.0' : `webkit2gtk-${v}`, 'MiniBrowser'))));
    engine.screen = await Program.start(program('xvfb', 'Xvfb'), () => ['-displayfd', '3', '-screen', '0', '1024x768x24', '-nolisten', 'tcp'], { said: /(\d+)\n/ });
    const profile = await engine.profile();
    engine.name = `WebKitGTK ${profile.version}`;
    await profile.close();
    return engine;
  }

  /** Each is a browser of its own, because a driver has one session. */
  async profile() {
    const port = await freePort();
    const driver = await Program.start(this.driver, () => [`--port=${port}`], { env: { DISPLAY: `:${this.screen.said}`, GDK_BACKEND: 'x11' } });
    const call = async (method, path, body) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) });
      const { value } = await response.json();
      if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
      return value;
    };
    for (;;) {
      try {
        await call('GET', '/status');
        break;
      } catch (error) {
        if (driver.child.exitCode !== null) throw error;
        await pause(20);
      }
    }
    const { sessionId, capabilities } = await call('POST', '/session', {
      capabilities: { alwaysMatch: { pageLoadStrategy: 'none', 'webkitgtk:browserOptions': { binary: this.browser, args: ['--automation'] } } },
    });
    const session = `/session/${sessionId}`;
    let first = await call('GET', `${session}/window`);
    // What is said goes to the window that was chosen last, so one thing is said after the other.
    let last = Promise.resolve();
    let chosen;
    const inWindow = (handle, what) => {
      const next = last.then(async () => {
        if (chosen !== handle) await call('POST', `${session}/window`, { handle });
        chosen = handle;
        return what();
      });
      last = next.catch(() => {});
      return next;
    };
    return {
      version: capabilities.browserVersion,
      open: async () => {
        const handle = first ?? (await inWindow(chosen, () => call('POST', `${session}/window/new`, { type: 'window' }))).handle;
        first = undefined;
        const on = (what) => inWindow(handle, what);
        return {
          go: (url) => on(() => call('POST', `${session}/url`, { url })),
          evaluate: async (expression) => {
            const text = await on(() => call('POST', `${session}/execute/sync`, { script: `return JSON.stringify(${expression})`, args: [] }));
            return text === null ? undefined : JSON.parse(text);
          },
          back: () => on(() => call('POST', `${session}/back`, {})),
          close: () => on(() => call('DELETE', `${session}/window`)).then(() => { chosen = undefined; }),
        };
      },
      freeze: () => driver.signal('SIGSTOP'),
      thaw: () => driver.signal('SIGCONT'),
      close: () => driver.stop(),
    };
  }

  stop() { return this.screen.stop(); }
}

export const engines = { chromium: Chromium, firefox: Firefox, webkit: WebKit };
