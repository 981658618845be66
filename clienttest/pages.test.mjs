// What axe-core finds wrong with the pages that the gateway serves: nothing, on a screen and on a phone, by day and by night. Beside that, nothing is wider than
// the page, and the first paint comes soon.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { Browser } from './browser.mjs';
import { peopled, SCHEMES, WIDTHS } from './pages.mjs';

let browser;
let all;
before(async () => { [browser, all] = await Promise.all([Browser.start(), peopled()]); });
after(async () => {
  await browser?.stop();
  await all?.stop();
});

test('pages', async (t) => {
  const axe = await readFile(new URL('./node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
  const wrong = [];
  for (const [name, [path, ready]] of Object.entries(all.pages)) {
    const page = await browser.visit(all.gateway.url + path, { width: WIDTHS[0], scheme: SCHEMES[0] });
    await page.until(ready);
    const paint = await page.evaluate(`performance.getEntriesByName('first-contentful-paint')[0]?.startTime`);
    t.diagnostic(`${name}: the first paint after ${Math.round(paint)} ms`);
    await page.evaluate(`${axe}; for (const each of document.querySelectorAll('details')) each.open = true`);
    for (const width of WIDTHS) {
      for (const scheme of SCHEMES) {
        await page.look({ width, scheme });
        const found = await page.evaluate(`axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
          violations.map(({ id, help, nodes }) => id + ': ' + help + '\\n' + nodes.map((n) => n.target + ' ' + n.html.slice(0, 200) + ' ' + n.failureSummary).join('\\n')))`);
        wrong.push(...found.map((each) => `${name}, ${width} px, ${scheme}: ${each}`));
        const wide = await page.evaluate(`document.documentElement.scrollWidth`);
        if (wide > width) wrong.push(`${name} is ${wide} px wide, on a screen of ${width}`);
      }
    }
    await page.close();
  }
  assert.deepEqual(wrong, []);
});
