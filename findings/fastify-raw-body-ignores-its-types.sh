#!/bin/sh
# fastify-raw-body's option jsonContentTypes, "array of content-types to handle as JSON", does nothing unless encoding is false as well.
#
# fastify 5.12.8, fastify-raw-body 6.0.1, Node 20.20.2.
#
# Guess: with a type named there, a body of that type is parsed, and its raw text kept, as for application/json.
# Seen: with the default encoding, utf8, no parser is added for it, and fastify refuses the type before the route is reached.
#
#   jsonContentTypes alone            415
#   jsonContentTypes, encoding false  200, rawBody is a Buffer, body is parsed
#
# What to do: encoding: false, or a parser of one's own: addContentTypeParser(type, { parseAs: 'buffer' }, …).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
cd "$folder"
echo '{"private": true, "type": "module"}' >package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error fastify@5.12.8 fastify-raw-body@6.0.1
cat >find.mjs <<'EOF'
import assert from 'node:assert/strict';
import Fastify from 'fastify';
import rawBody from 'fastify-raw-body';

async function ask(options) {
  const app = Fastify();
  await app.register(rawBody, options);
  app.post('/', async ({ rawBody: raw, body }) => `rawBody is a ${raw?.constructor.name}, body is ${body?.a === 1 ? 'parsed' : typeof body}`);
  const { statusCode, body } = await app.inject({ method: 'POST', url: '/', headers: { 'content-type': 'application/cloudevents+json' }, payload: '{"a":1}' });
  return statusCode === 200 ? `${statusCode}, ${body}` : String(statusCode);
}

const jsonContentTypes = ['application/json', 'application/cloudevents+json'];
const seen = {
  'jsonContentTypes alone': await ask({ jsonContentTypes }),
  'jsonContentTypes, encoding false': await ask({ jsonContentTypes, encoding: false }),
};
for (const [what, said] of Object.entries(seen)) console.log(what.padEnd(33), said);
assert.deepEqual(Object.values(seen), ['415', '200, rawBody is a Buffer, body is parsed']);
EOF
timeout 30 node find.mjs
