// The page: submit, watch, look at what came out. Everything that speaks to the
// gateway is in hark.js; everything about one followed request is in live.js.

import { ask, hark } from './key.js';
import { Live } from './live.js';
import { draw, sample } from './picture.js';
import { ago, bytes, element, tablist } from './show.js';

const $ = (id) => document.getElementById(id);

const live = new Live($('live'), {
  transport: () => document.querySelector('input[name=transport]:checked').value,
  onEnd: () => refresh(),
});

// What kind of work.

const choose = tablist([...document.querySelectorAll('[role=tab]')], () => complain());

// The picture.

let picture = null;

async function take(file) {
  complain();
  try {
    const size = await draw(file, $('chosen-picture'), 640);
    picture = file;
    $('chosen').hidden = false;
    $('chosen-name').textContent = `${file.name || 'pasted picture'}, ${size.width} × ${size.height}, ${bytes(file.size)}`;
    $('send-image').disabled = false;
  } catch {
    complain('This is not a picture that the browser can read.');
  }
}

$('file').addEventListener('change', ({ target }) => target.files[0] && take(target.files[0]));
$('sample').addEventListener('click', async () => {
  await take(await sample());
  $('send-image').focus();
});

const drop = $('drop');
for (const type of ['dragenter', 'dragover']) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
}
for (const type of ['dragleave', 'drop']) drop.addEventListener(type, () => drop.classList.remove('over'));
drop.addEventListener('drop', (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});
document.addEventListener('paste', ({ clipboardData }) => {
  const file = [...(clipboardData?.files ?? [])].find((each) => each.type.startsWith('image/'));
  if (!file) return;
  choose($('tab-images'));
  take(file);
});

// Submitting.

function complain(error) {
  if (ask(error)) error = undefined;
  const problems = error?.problem?.errors?.map((each) => `${each.pointer ? `${each.pointer.replace(/^#\//, '')}: ` : ''}${each.detail}`);
  $('problem').textContent = !error ? '' : problems?.join('. ') || error.message || String(error);
}

function submits(pane, request) {
  const form = pane.querySelector('form');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const button = form.querySelector('[type=submit]');
    if (button.getAttribute('aria-busy') === 'true') return;
    button.setAttribute('aria-busy', 'true');
    complain();
    try {
      const [content, options] = request();
      open(await hark.submit(content, options));
      refresh();
    } catch (error) {
      complain(error instanceof TypeError ? new Error('The gateway cannot be reached.') : error);
    } finally {
      button.removeAttribute('aria-busy');
    }
  });
}

submits($('pane-images'), () => [picture, { route: 'images', type: picture.type }]);
submits($('pane-sleep'), () => [{ steps: Number($('steps').value), duration: $('duration').value.trim(), ...($('ask').value.trim() && { ask: $('ask').value.trim() }) }, { route: 'sleep' }]);
submits($('pane-fetch'), () => [{ url: $('address').value }, { route: 'fetch' }]);

/** Shows a request, given its document or its id, and follows it. */
function open(request) {
  const id = request.id ?? request;
  history.replaceState(null, '', `#${id}`);
  live.open(request);
  for (const item of $('recent').querySelectorAll('button')) item.setAttribute('aria-current', String(item.dataset.id === id));
  if (matchMedia('(max-width: 55rem)').matches) $('live').scrollIntoView({ block: 'start' });
}

for (const radio of document.querySelectorAll('input[name=transport]')) radio.addEventListener('change', () => live.reconnect());
$('cut').addEventListener('click', () => live.cut());
$('cancel').addEventListener('click', async () => {
  live.announce('Cancel was asked for.'); // first: the answer may come behind the end
  try {
    await hark.cancel(live.id);
  } catch (error) {
    complain(error);
  }
});

// Recent requests.

let shown = 0;
let next = null;

async function refresh(cursor) {
  let page;
  try {
    page = await hark.list({ limit: 8, cursor });
  } catch (error) {
    if (!(error instanceof TypeError)) complain(error); // unreachable: the live view says so
    return;
  }
  next = page.next;
  shown = (cursor ? shown : 0) + page.requests.length;
  const items = page.requests.map((request) =>
    element('li', {}, [
      element('button', { type: 'button', 'data-id': request.id, 'aria-current': String(request.id === live.id) }, [
        element('span', { class: 'badge', 'data-status': request.status }, request.status),
        element('span', { class: 'route' }, request.batch ? `batch of ${request.batch.total}` : request.route),
        element('time', { datetime: request.createdAt, title: new Date(request.createdAt).toLocaleString() }, ago(request.createdAt)),
      ]),
    ]),
  );
  if (cursor) $('recent').append(...items);
  else $('recent').replaceChildren(...items);
  $('recent-none').hidden = shown > 0;
  $('older').hidden = !next;
}

$('recent').addEventListener('click', ({ target }) => {
  const button = target.closest('button');
  if (button) open(button.dataset.id);
});
$('refresh').addEventListener('click', () => refresh());
$('older').addEventListener('click', () => refresh(next));

refresh();
if (/^#[A-Za-z0-9_-]+$/.test(location.hash)) open(location.hash.slice(1));
