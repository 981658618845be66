// Small things that are shown in several places.

/** Makes an element. @param {string} name @param {Record<string, string>} attributes @param {string|Node[]} content */
export function element(name, attributes = {}, content = '') {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (typeof content === 'string') made.textContent = content;
  else made.append(...content);
  return made;
}

/** A size for people. @param {number} size */
export function bytes(size) {
  if (size < 1000) return `${size} B`;
  if (size < 1e6) return `${(size / 1e3).toFixed(size < 1e4 ? 1 : 0)} kB`;
  return `${(size / 1e6).toFixed(1)} MB`;
}

/** A span of time for people. @param {number} milliseconds */
export function span(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** How long ago something was. @param {string} time */
export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (seconds < 50) return 'just now';
  if (seconds < 3000) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 80_000) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
}

/** Makes these the children of a list. Those that stay are not moved, so that what has the focus keeps it. */
export function arrange(list, items) {
  const wanted = new Set(items);
  for (const each of [...list.children]) if (!wanted.has(each)) each.remove();
  items.forEach((each, i) => {
    if (list.children[i] !== each) list.insertBefore(each, list.children[i] ?? null);
  });
}

/** Lets tabs choose what is seen, with the arrow keys as in the ARIA pattern. Returns what chooses one. @param {(tab: HTMLElement) => void} chosen */
export function tablist(tabs, chosen) {
  const choose = (tab) => {
    for (const each of tabs) {
      each.setAttribute('aria-selected', String(each === tab));
      each.tabIndex = each === tab ? 0 : -1;
      document.getElementById(each.getAttribute('aria-controls')).hidden = each !== tab;
    }
    chosen(tab);
  };
  for (const tab of tabs) {
    tab.addEventListener('click', () => choose(tab));
    tab.addEventListener('keydown', ({ key }) => {
      const there = tabs.filter((each) => !each.hidden);
      const i = there.indexOf(tab);
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: there.length - 1 }[key];
      if (to === undefined) return;
      const next = there.at(to % there.length);
      choose(next);
      next.focus();
    });
  }
  return choose;
}
