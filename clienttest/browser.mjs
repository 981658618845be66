// Clients of Server-Sent Events that are made for pages, in Chromium, over the DevTools protocol. Each runs in a page of its own, which comes
// from the address that the stream does, through the same proxy.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, readFile } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';

function chromium() {
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch { /* not there */ }
    }
  }
  throw new Error('there is no chromium on PATH: `make test` brings it');
}

/** Serves the files of the packages to pages from elsewhere. */
async function servePackages() {
  const root = fileURLToPath(new URL('./node_modules/', import.meta.url));
  const server = http.createServer((request, response) => {
    const name = /\.[a-z]+$/.test(request.url) ? request.url : `${request.url}.js`; // as bundlers have it
    readFile(join(root, name), (error, file) => {
      response.writeHead(error ? 404 : 200, { 'content-type': 'text/javascript', 'access-control-allow-origin': '*' });
      response.end(file);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

export class Browser {
  #sent = 0;
  #waiting = new Map(); // answers, by the id of the call
  #told = new Map(); // what pages say, by session

  static async start() {
    const browser = new Browser();
    browser.packages = await servePackages();
    browser.folder = await mkdtemp(join(tmpdir(), 'hark-clients-chromium-'));
    browser.child = spawn(chromium(), [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-port=0', `--user-data-dir=${browser.folder}`,
      '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-background-timer-throttling',
      '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows', '--renderer-process-limit=2',
    ], { stdio: ['ignore', 'ignore', 'pipe'] });
    process.on('exit', () => browser.child.kill('SIGKILL'));
    let said = '';
    for await (const chunk of browser.child.stderr) {
      said += chunk;
      const address = /DevTools listening on (ws:\S+)/.exec(said);
      if (!address) continue;
      browser.child.stderr.resume();
      browser.socket = new WebSocket(address[1], { perMessageDeflate: false });
      await once(browser.socket, 'open');
      browser.socket.on('message', (text) => browser.#message(JSON.parse(text)));
      return browser;
    }
    throw new Error(`Chromium has ended: ${said}`);
  }

  #message(message) {
    if (message.id !== undefined) {
      const { resolve, reject } = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error) reject(new Error(message.error.message));
      else resolve(message.result);
    } else if (message.method === 'Runtime.bindingCalled') {
      this.#told.get(message.sessionId)?.(JSON.parse(message.params.payload));
    }
  }

  #call(method, params = {}, sessionId = undefined) {
    const id = ++this.#sent;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }

  /** Opens a page from an origin and runs a script in it, in which `packages` is where packages are and tell(…) says something to `said`. Returns what closes it. */
  async run(origin, script, said) {
    const { targetId } = await this.#call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.#call('Target.attachToTarget', { targetId, flatten: true });
    const call = (method, params) => this.#call(method, params, sessionId);
    this.#told.set(sessionId, said);
    await call('Page.enable');
    await call('Runtime.enable');
    await call('Runtime.addBinding', { name: 'said' });
    await call('Page.navigate', { url: `${origin}/health/live` });
    const packages = `http://127.0.0.1:${this.packages.address().port}`;
    const expression = `(async () => {
      if (location.origin !== ${JSON.stringify(origin)} || document.readyState !== 'complete') throw new Error('not there');
      const packages = ${JSON.stringify(packages)};
      const tell = (what) => said(JSON.stringify(what));
      ${script}
    })()`;
    for (;;) {
      const { exceptionDetails } = await call('Runtime.evaluate', { expression, awaitPromise: true }).catch((e) => ({ exceptionDetails: { text: e.message } }));
      if (!exceptionDetails) break;
      const text = exceptionDetails.exception?.description ?? exceptionDetails.text;
      if (!/not there|context was destroyed|Cannot find context|navigated/.test(text)) throw new Error(text);
    }
    return () => {
      this.#told.delete(sessionId);
      return this.#call('Target.closeTarget', { targetId }).catch(() => {});
    };
  }

  /** Opens a page as wide as that, in a light or a dark scheme, and returns how to look at it. */
  async visit(url, { width, scheme }) {
    const { targetId } = await this.#call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.#call('Target.attachToTarget', { targetId, flatten: true });
    const call = (method, params) => this.#call(method, params, sessionId);
    const evaluate = async (expression) => {
      const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value;
    };
    await call('Page.enable');
    const look = async (as) => {
      await call('Emulation.setDeviceMetricsOverride', { width: as.width, height: as.width < 500 ? 844 : 900, deviceScaleFactor: 1, mobile: as.width < 500 });
      await call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: as.scheme }, { name: 'prefers-reduced-motion', value: 'reduce' }] });
    };
    await look({ width, scheme });
    await call('Page.navigate', { url });
    return {
      look,
      evaluate,
      /** Waits until an expression holds in the page. */
      until: async (expression) => {
        const holds = `(() => { try { return location.href !== 'about:blank' && document.readyState === 'complete' && Boolean(${expression}); } catch { return false; } })()`;
        for (const end = Date.now() + 60_000; !(await evaluate(holds).catch(() => false));) {
          if (Date.now() > end) throw new Error(`${url}: never came true: ${expression}\n${await evaluate('document.body.innerText')}`);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      },
      /** What is seen of it, all of its length, in a format of the browser. */
      picture: async (format, quality) => {
        const { cssContentSize: { width: across, height } } = await call('Page.getLayoutMetrics');
        const { data } = await call('Page.captureScreenshot', { format, quality, captureBeyondViewport: true, clip: { x: 0, y: 0, width: across, height: Math.min(height, 2400), scale: 1 } });
        return Buffer.from(data, 'base64');
      },
      close: () => this.#call('Target.closeTarget', { targetId }),
    };
  }

  async stop() {
    const ended = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await ended;
    this.packages.close();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

const listen = `
  for (const name of ['start', 'end', 'busy', 'restart', 'unavailable', 'unauthenticated']) {
    source.addEventListener(name, (e) => { if (e.data !== undefined) tell({ name, data: e.data }); });
  }
  source.onmessage = (e) => tell({ name: 'message', data: e.data });
  source.onerror = (e) => {
    tell({ error: e.message || e.type });
    setTimeout(() => { if (source.readyState === 2 && !source.autoReconnect) tell({ over: true }); });
  };`;

const script = (load, make) => (url) => `
  ${load}
  const url = ${JSON.stringify(url)};
  const source = ${make};
  ${listen}`;

const umd = (path) => `await new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement('script'), { src: packages + '${path}', onload: resolve, onerror: reject });
    document.head.append(script);
  });`;

/**
 * What is known of them is said as in streams.mjs. What arrives together with the break of a connection may be dropped by XMLHttpRequest and
 * fetch of Chromium: events are sent again, but how long to wait is not.
 */
const inPages = {
  'Chromium EventSource': { script: script('', 'new EventSource(url)') },
  'Chromium, sse.js 2.8.0, autoReconnect': {
    script: script("const { SSE } = await import(packages + '/sse.js/lib/sse.js');", 'new SSE(url, { autoReconnect: true })'),
    at204: 'asks', at404: 'asks', waits: undefined,
  },
  'Chromium, event-source-polyfill 1.0.31': {
    script: script(umd('/event-source-polyfill/src/eventsource.js'), 'new EventSourcePolyfill(url)'),
    away: 'may stop', waits: undefined,
  },
  'Chromium, @microsoft/fetch-event-source 2.0.1': {
    script: (url) => `
      const { fetchEventSource } = await import(packages + '/@microsoft/fetch-event-source/lib/esm/index.js');
      fetchEventSource(${JSON.stringify(url)}, {
        openWhenHidden: true,
        onmessage: (e) => { if (e.data !== '') tell({ name: e.event, data: e.data }); },
        onerror: (e) => tell({ error: e.message }),
      }).then(() => tell({ over: true }), (e) => tell({ over: true, error: e.message }));`,
    hasty: true, at204: 'asks', at404: 'asks', waits: undefined,
  },
};

/** The clients, to be followed with in a browser that get() returns. */
export function pageClients(get) {
  return Object.entries(inPages).map(([name, { script: of, ...traits }]) => [name, {
    ...traits,
    follow(url, journal) {
      const page = get().run(new URL(url).origin, of(url), (said) => {
        if (said.data !== undefined) journal.event(said.name, said.data);
        else if (said.error !== undefined && !said.over) journal.error(said.error);
        else if (said.over) journal.end(said.error);
      });
      page.catch((e) => journal.error(e));
      return async () => (await page)();
    },
  }]);
}
