// The feed of events, as a stream over fetch: an EventSource cannot say who asks.

import { authorization } from './key.js';

const SOONEST = 1000; // milliseconds before it is opened again, at first
const LATEST = 15_000;

/**
 * Follows a feed from now on, until the page is left. What is refused is not asked again.
 * @param {string} path
 * @param {{onEvent: (event: import('./hark.js').HarkEvent) => void, onState: (state: 'open'|'waiting'|'refused') => void}} options
 */
export function followFeed(path, { onEvent, onState }) {
  let leaving = null;
  let last = '';

  async function follow(signal) {
    for (let pause = SOONEST; !signal.aborted; pause = Math.min(2 * pause, LATEST)) {
      try {
        const response = await fetch(path, { headers: { Accept: 'text/event-stream', ...authorization(), ...(last && { 'Last-Event-ID': last }) }, signal });
        if (response.status >= 400 && response.status < 500 && response.status !== 429) return onState('refused');
        if (response.ok) {
          onState('open');
          pause = SOONEST;
          await read(response.body);
        }
      } catch {
        // The connection broke, which is no more than an end.
      }
      if (signal.aborted) return undefined;
      onState('waiting');
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, pause);
        signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
      });
    }
    return undefined;
  }

  /** Reads blocks of lines until the stream ends. One that is cut off counts for nothing. */
  async function read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        block(text.slice(0, end));
        text = text.slice(end + 2);
      }
    }
  }

  function block(text) {
    const fields = {};
    for (const line of text.split('\n')) {
      const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
      if (name) fields[name] = name === 'data' && 'data' in fields ? `${fields.data}\n${value}` : value;
    }
    if (fields.id !== undefined) last = fields.id;
    if (!fields.data || fields.event) return; // those with a name are about the stream
    const event = JSON.parse(fields.data);
    if (event.type?.startsWith('request.')) onEvent(event);
  }

  const begin = () => {
    leaving ??= new AbortController();
    follow(leaving.signal);
  };
  addEventListener('pagehide', () => {
    leaving?.abort();
    leaving = null;
  });
  addEventListener('pageshow', ({ persisted }) => persisted && begin());
  begin();
}
