/**
 * Pictures on canvases. A canvas needs no blob: or data: address, so the page
 * works under "default-src 'self'".
 *
 * @module
 */

/**
 * Draws a picture in its own size; the style sheet scales it.
 * @param {Blob} blob
 * @param {HTMLCanvasElement} canvas
 * @param {number} [most] longest side in pixels
 * @returns {Promise<{width: number, height: number}>} the picture's own size
 */
export async function draw(blob, canvas, most = 1600) {
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  const scale = Math.min(1, most / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return { width, height };
}

/**
 * A picture to try with, another each time: hills under a low sun.
 * @returns {Promise<File>}
 */
export async function sample() {
  const canvas = document.createElement('canvas');
  canvas.width = 1600;
  canvas.height = 1200;
  const g = canvas.getContext('2d');
  const hue = Math.floor(Math.random() * 360);
  const sky = g.createLinearGradient(0, 0, 0, 900);
  sky.addColorStop(0, `hsl(${hue} 45% 24%)`);
  sky.addColorStop(0.6, `hsl(${hue + 40} 60% 58%)`);
  sky.addColorStop(1, `hsl(${hue + 60} 85% 78%)`);
  g.fillStyle = sky;
  g.fillRect(0, 0, 1600, 1200);
  const x = 400 + Math.random() * 800;
  for (let ring = 9; ring >= 0; ring--) { // a sun, and what it radiates
    g.beginPath();
    g.arc(x, 560, 90 + ring * ring * 9, 0, 2 * Math.PI);
    g.fillStyle = `hsl(${hue + 60} 100% 90% / ${ring ? 0.07 : 1})`;
    g.fill();
  }
  for (let layer = 0; layer < 5; layer++) {
    const phase = Math.random() * 10;
    const base = 620 + layer * 110;
    g.beginPath();
    g.moveTo(0, 1200);
    for (let at = 0; at <= 1600; at += 8) {
      const t = at / 1600;
      g.lineTo(at, base + 70 * Math.sin(phase + t * (5 + layer)) + 26 * Math.sin(phase * 3 + t * 19) - 40 * Math.sin(t * Math.PI));
    }
    g.lineTo(1600, 1200);
    g.fillStyle = `hsl(${hue + 30 - layer * 12} ${42 - layer * 4}% ${46 - layer * 8}%)`;
    g.fill();
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.92));
  return new File([blob], 'sample.jpg', { type: 'image/jpeg' });
}
