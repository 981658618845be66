// What the parts of the page for operators share: what goes wrong is shown, and what was done is said.

import { element } from './show.js';

export const $ = (id) => document.getElementById(id);

/** Tells those who listen instead of looking. */
export const say = (text) => { $('announcer').textContent = text; };

/** Shows what went wrong, or nothing. @param {Error} [error] */
export const complain = (error) => { $('problem').textContent = error ? error.message : ''; };

/** Runs what a button does, once at a time, and shows what went wrong. @param {HTMLElement} button @param {() => Promise<void>} action */
export function does(button, action) {
  button.addEventListener('click', async () => {
    if (button.getAttribute('aria-busy') === 'true') return;
    button.setAttribute('aria-busy', 'true');
    complain();
    try {
      await action();
    } catch (error) {
      complain(error);
    } finally {
      button.removeAttribute('aria-busy');
    }
  });
}

/** A list of a few facts; those without a value are left out. @param {Array<[string, string|Node|null|undefined]>} list */
export function facts(list) {
  return list.filter(([, value]) => value !== null && value !== undefined && value !== '').map(([name, value]) =>
    element('div', {}, [element('dt', {}, name), element('dd', {}, typeof value === 'object' ? [value] : String(value))]));
}

/** Does something with each of many, a few at a time. Returns how many were done, and the first thing that went wrong. */
export async function each(all, action) {
  const left = [...all];
  let done = 0;
  let wrong = null;
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) {
      try {
        await action(one);
        done++;
      } catch (error) {
        wrong ??= error;
      }
    }
  }));
  return { done, wrong };
}

/** Saves something to a file. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const href = URL.createObjectURL(blob);
  element('a', { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** A row of a table of figures, of which update shows the newest. @param {string[]} names of the columns @param {Element} [plot] in the last one */
export function row(id, names, plot) {
  const cells = names.map((name, i) =>
    element(i === 0 ? 'th' : 'td', { role: i === 0 ? 'rowheader' : 'cell', 'data-name': name, ...(i === 0 && { scope: 'row' }) }));
  if (plot) cells.push(element('td', { role: 'cell', class: 'plotted' }, [plot]));
  const made = element('tr', { role: 'row', 'data-id': id }, cells);
  made.update = (values) => {
    values.forEach((value, i) => {
      if (typeof value === 'object') {
        if (!cells[i].firstChild) cells[i].append(value);
      } else if (cells[i].textContent !== String(value)) cells[i].textContent = String(value);
    });
  };
  return made;
}
