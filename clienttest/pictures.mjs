// Makes the pictures of docs/pictures: each page that the gateway serves, on a screen and on a phone, by day and by night. With a format (png) as the second
// argument they are that instead of WebP.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Browser } from './browser.mjs';
import { pause } from './harness.mjs';
import { peopled, SCHEMES, WIDTHS } from './pages.mjs';

const [folder, format = 'webp'] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const [browser, all] = await Promise.all([Browser.start(), peopled()]);
let size = 0;
for (const [name, [path, ready]] of Object.entries(all.pages)) {
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) {
      const page = await browser.visit(all.gateway.url + path, { width, scheme });
      await page.until(ready);
      if (name === 'routes') await page.until(`document.querySelectorAll('#routes .line').length >= 3 && document.querySelector('#feed').textContent === 'live'`);
      if (name === 'routes') { // something is to be seen of what is pushed
        for (let n = 0; n < 5; n++) {
          for (let i = 0; i <= n % 3; i++) await all.gateway.call('POST', '/v1/requests', { route: 'sleep', content: { steps: 1, duration: '1ms', fail: n === 3 && i === 0 }, topic: 'orders' });
          await pause(1000);
        }
      }
      if (name === 'found') {
        await page.evaluate(`document.querySelector('#submission').open = true`);
        await page.until(`document.querySelector('#submission-content').textContent !== ''`);
      }
      await page.evaluate('scrollTo(0, 0)');
      const picture = await page.picture(format, format === 'png' ? undefined : 70);
      size += picture.length;
      await writeFile(join(folder, `${name}-${width}-${scheme}.${format}`), picture);
      await page.close();
    }
  }
}
await browser.stop();
await all.stop();
console.log(`${Object.keys(all.pages).length} pages, ${WIDTHS.length * SCHEMES.length} pictures of each, ${Math.round(size / 1000)} kB in ${folder}`);
process.exit();
