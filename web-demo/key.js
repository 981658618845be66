// The key of this page's calls, for a gateway that asks who calls: it is kept for as long as
// the tab is open, and nowhere else.

import { createClient } from './hark.js';

const NAME = 'hark-key';

export const key = () => sessionStorage.getItem(NAME);

/** The client of all pages here. */
export const hark = createClient({ token: key });

const form = document.getElementById('key');
const input = form.querySelector('input');

/** Asks for a key if that is what an error says. Returns whether it says nothing else: nobody has given one yet. @param {{status?: number}} error */
export function ask(error) {
  if (error?.status !== 401) return false;
  form.hidden = false;
  if (!form.contains(document.activeElement)) input.focus();
  return !key();
}

/** Makes a call, with further header fields if need be. Throws what the gateway says of its problem, with its `status`. */
export async function call(method, path, body, fields) {
  const response = await fetch(path, {
    method,
    headers: { ...authorization(), ...fields, ...(body !== undefined && { 'Content-Type': 'application/json' }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch(() => {
    throw new Error('The gateway cannot be reached.');
  });
  if (response.status === 204) return null;
  const answer = await response.json();
  if (response.ok) return answer;
  const asked = ask(response);
  const details = answer.errors?.map((each) => `${each.pointer.replace(/^#?\//, '')}: ${each.detail}`);
  throw Object.assign(new Error(asked ? '' : details?.join('. ') || answer.detail || answer.title), { status: response.status });
}

/** The fields of a call that say who makes it. */
export const authorization = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

form.addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(NAME, input.value.trim());
  location.reload();
});
