// Small plots of the last minute, without numbers on axes: the numbers stand beside them.

const SVG = 'http://www.w3.org/2000/svg';

function made(name, attributes) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** A line of the newest values. */
export class Line {
  #values = []; #area; #line; #label; #most;

  /** @param {string} label what it shows @param {number} most how many values are kept */
  constructor(label, most = 60) {
    this.#label = label;
    this.#most = most;
    this.#area = made('path', { class: 'area' });
    this.#line = made('path', { class: 'line' });
    this.element = made('svg', { class: 'plot', viewBox: '0 0 120 28', preserveAspectRatio: 'none', role: 'img', 'aria-label': label });
    this.element.append(this.#area, this.#line);
  }

  add(value) {
    this.#values.push(value);
    if (this.#values.length > this.#most) this.#values.shift();
    const top = Math.max(1, ...this.#values);
    const x = (i) => (120 - (this.#values.length - 1 - i) * (120 / (this.#most - 1))).toFixed(1);
    const points = this.#values.map((each, i) => `${x(i)} ${(26 - (24 * each) / top).toFixed(1)}`);
    if (points.length === 1) points.unshift(`${x(0) - 2} ${points[0].split(' ')[1]}`);
    this.#line.setAttribute('d', `M${points.join('L')}`);
    this.#area.setAttribute('d', `M${points.join('L')}L120 28L${points[0].split(' ')[0]} 28Z`);
    this.element.setAttribute('aria-label', `${this.#label}: ${value} now, ${Math.max(...this.#values)} at most lately`);
  }
}

const SECONDS = 60;
const KINDS = ['accepted', 'succeeded', 'failed'];

/** Bars of what happened in each of the last sixty seconds. */
export class Bars {
  #counts = new Map(); // by second: how many of each kind
  #label; #bars = [];

  /** @param {string} label */
  constructor(label) {
    this.#label = label;
    this.element = made('svg', { class: 'plot bars', viewBox: `0 0 ${SECONDS * 4} 60`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label });
    for (let i = 0; i < SECONDS; i++) {
      const bar = KINDS.map((kind) => made('rect', { class: kind, x: i * 4 + 0.5, width: 3, y: 60, height: 0 }));
      this.#bars.push(bar);
      this.element.append(...bar);
    }
  }

  /** @param {'accepted'|'succeeded'|'failed'} kind */
  count(kind) {
    const second = Math.floor(Date.now() / 1000);
    const counts = this.#counts.get(second) ?? { accepted: 0, succeeded: 0, failed: 0 };
    counts[kind]++;
    this.#counts.set(second, counts);
  }

  draw() {
    const now = Math.floor(Date.now() / 1000);
    for (const second of this.#counts.keys()) if (second <= now - SECONDS) this.#counts.delete(second);
    const sums = { accepted: 0, succeeded: 0, failed: 0 };
    let top = 4;
    for (const counts of this.#counts.values()) {
      top = Math.max(top, counts.accepted + counts.succeeded + counts.failed);
      for (const kind of KINDS) sums[kind] += counts[kind];
    }
    this.#bars.forEach((bar, i) => {
      const counts = this.#counts.get(now - SECONDS + 1 + i);
      let y = 60;
      bar.forEach((rect, k) => {
        const height = counts ? (58 * counts[KINDS[k]]) / top : 0;
        y -= height;
        rect.setAttribute('y', y.toFixed(1));
        rect.setAttribute('height', height.toFixed(1));
      });
    });
    this.element.setAttribute('aria-label', `${this.#label}: ${KINDS.map((kind) => `${sums[kind]} ${kind}`).join(', ')}`);
  }
}
