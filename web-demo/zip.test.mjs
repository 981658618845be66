import assert from 'node:assert/strict';
import { test } from 'node:test';
import zlib from 'node:zlib';
import { unzip } from './zip.js';

/** Writes an archive; `lie` changes what is said about the first entry. */
export function zip(files, lie = {}) {
  const parts = [];
  const directory = [];
  let at = 0;
  for (const [i, { name, bytes, deflate }] of files.entries()) {
    const packed = deflate ? zlib.deflateRawSync(bytes) : bytes;
    const said = { method: deflate ? 8 : 0, flags: 0, crc: crc32(bytes), packed: packed.length, size: bytes.length, header: at, ...(i ? {} : lie) };
    const encoded = Buffer.from(name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(said.method, 8);
    local.writeUInt16LE(encoded.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(said.flags, 8);
    central.writeUInt16LE(said.method, 10);
    central.writeUInt32LE(said.crc, 16);
    central.writeUInt32LE(said.packed, 20);
    central.writeUInt32LE(said.size, 24);
    central.writeUInt16LE(encoded.length, 28);
    central.writeUInt32LE(said.header, 42);
    directory.push(central, encoded);
    parts.push(local, encoded, packed);
    at += 30 + encoded.length + packed.length;
  }
  const tail = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(tail.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, tail, end]);
}

// Bit by bit, so that it is not the code under test.
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

const hello = { name: 'a/hällo.txt', bytes: Buffer.from('hello '.repeat(500)) };

for (const deflate of [false, true]) {
  test(`reads ${deflate ? 'deflated' : 'stored'} entries`, async () => {
    const files = await unzip(zip([{ ...hello, deflate }, { name: 'a/', bytes: Buffer.alloc(0) }, { name: 'empty', bytes: Buffer.alloc(0), deflate }]));
    assert.deepEqual(files.map(({ name }) => name), ['a/hällo.txt', 'empty']);
    assert.deepEqual(Buffer.from(files[0].bytes), hello.bytes);
    assert.equal(files[1].bytes.length, 0);
  });
}

test('finds the directory behind a comment', async () => {
  const archive = zip([hello]);
  archive.writeUInt16LE(5, archive.length - 2);
  assert.equal((await unzip(Buffer.concat([archive, Buffer.from('PK\x05\x06!')]))).length, 1);
});

for (const [what, archive, message] of [
  ['no archive', Buffer.from('this is not a zip archive at all'), /not an archive/],
  ['nothing', Buffer.alloc(0), /not an archive/],
  ['a wrong checksum', zip([hello], { crc: 1 }), /damaged/],
  ['an entry that is larger than it says', zip([{ ...hello, deflate: true }], { size: 10 }), /larger than it says/],
  ['an entry that is smaller than it says', zip([{ ...hello, deflate: true }], { size: 4000 }), /another size/],
  ['an entry beyond the end', zip([hello], { packed: 1e9 }), /cut off/],
  ['an entry that is elsewhere', zip([hello], { header: 5 }), /not where it should be/],
  ['encryption', zip([hello], { flags: 1 }), /encrypted/],
  ['another method', zip([hello], { method: 12 }), /not supported/],
  ['more than is allowed', zip([hello], { size: 0x7fffffff }), /more than is allowed/],
]) {
  test(`refuses ${what}`, () => assert.rejects(unzip(archive), message));
}

test('refuses every archive that is cut off', async () => {
  const archive = zip([{ ...hello, deflate: true }]);
  for (let length = 0; length < archive.length; length += 7) await assert.rejects(unzip(archive.subarray(0, length)));
});
