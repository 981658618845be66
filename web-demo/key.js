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

form.addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(NAME, input.value.trim());
  location.reload();
});
