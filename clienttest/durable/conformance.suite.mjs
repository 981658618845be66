// The conformance suite of Durable Streams against a gateway.

import { afterAll, beforeAll } from 'vitest';
import { runConformanceTests } from '@durable-streams/server-conformance-tests';
import { start } from './gateway.mjs';

let gateway;
const options = { baseUrl: '' }; // which the suite reads in each test

beforeAll(async () => {
  gateway = await start();
  options.baseUrl = gateway.url;
});
afterAll(() => gateway?.stop());

runConformanceTests(options);
