/**
 * Reads ZIP archives: stored and deflated entries, which is what everyone writes.
 * No encryption, no ZIP64. Everything an archive says is checked before it is
 * believed.
 *
 * @module
 */

const LIMIT = 256 << 20; // bytes of all entries together, unpacked

/**
 * @param {ArrayBuffer|Uint8Array} archive
 * @param {{limit?: number}} [options]
 * @returns {Promise<{name: string, bytes: Uint8Array}[]>} the files, in the archive's order
 */
export async function unzip(archive, { limit = LIMIT } = {}) {
  const bytes = archive instanceof Uint8Array ? archive : new Uint8Array(archive);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const files = [];
  let total = 0;
  for (const entry of directory(view, bytes)) {
    if (entry.name.endsWith('/')) continue;
    total += entry.size;
    if (total > limit) throw new Error('zip: unpacks to more than is allowed');
    const packed = body(view, bytes, entry);
    const content = entry.method === 0 ? packed : await inflate(packed, entry.size);
    if (content.length !== entry.size) throw new Error(`zip: ${entry.name} has another size than it says`);
    if (crc32(content) !== entry.crc) throw new Error(`zip: ${entry.name} is damaged`);
    files.push({ name: entry.name, bytes: content });
  }
  return files;
}

/** Reads the central directory, APPNOTE 4.3.12, which is found from the end. */
function* directory(view, bytes) {
  let end = -1;
  for (let at = view.byteLength - 22; at >= Math.max(0, view.byteLength - 22 - 0xffff); at--) {
    if (view.getUint32(at, true) === 0x06054b50 && at + 22 + view.getUint16(at + 20, true) === view.byteLength) {
      end = at;
      break;
    }
  }
  if (end < 0) throw new Error('zip: this is not an archive');
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  if (count === 0xffff || at === 0xffffffff) throw new Error('zip: ZIP64 is not supported');
  for (let i = 0; i < count; i++) {
    if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50) throw new Error('zip: the directory is damaged');
    const flags = view.getUint16(at + 8, true);
    const method = view.getUint16(at + 10, true);
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    if (at + 46 + nameLength + extraLength + commentLength > end) throw new Error('zip: the directory is damaged');
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    if (flags & 1) throw new Error(`zip: ${name} is encrypted`);
    if (method !== 0 && method !== 8) throw new Error(`zip: ${name} is packed in a way that is not supported`);
    yield {
      name,
      method,
      crc: view.getUint32(at + 16, true),
      packed: view.getUint32(at + 20, true),
      size: view.getUint32(at + 24, true),
      header: view.getUint32(at + 42, true),
    };
    at += 46 + nameLength + extraLength + commentLength;
  }
}

/** The packed bytes behind an entry's local header, APPNOTE 4.3.7. */
function body(view, bytes, { name, header, packed }) {
  if (header + 30 > view.byteLength || view.getUint32(header, true) !== 0x04034b50) throw new Error(`zip: ${name} is not where it should be`);
  const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
  if (start + packed > view.byteLength) throw new Error(`zip: ${name} is cut off`);
  return bytes.subarray(start, start + packed);
}

/** Unpacks, and stops as soon as more comes out than was said. */
async function inflate(packed, size) {
  const content = new Uint8Array(size);
  let at = 0;
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw')).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return content.subarray(0, at);
    if (at + value.length > size) {
      await reader.cancel().catch(() => {});
      throw new Error('zip: an entry is larger than it says');
    }
    content.set(value, at);
    at += value.length;
  }
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n >>> 0;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
