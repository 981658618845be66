// Drives hark.js in browsers through everything that may happen to it, and prints what came of it as a table:
//
//     node run.mjs [--only=TEXT] [--present] ENGINE...
//
// It fails if anything does, and says what was seen then; with --present an engine that is not installed is no failure. HARK_GATEWAY is the program
// to run. ../../scripts/clients.sh builds it.

import { Gateway, pause } from '../harness.mjs';
import { Missing, engines } from './engines.mjs';
import { Scene, gatewayArgs, scenarios } from './scenarios.mjs';

const LONGEST = 180_000; // that a scenario may take before it is given up

const chosen = process.argv.slice(2).filter((a) => !a.startsWith('--'));
const only = process.argv.find((a) => a.startsWith('--only='))?.slice(7) ?? '';
if (chosen.length === 0 || chosen.some((name) => !(name in engines))) {
  console.error(`usage: node run.mjs [--only=TEXT] [--present] ENGINE...\nEngines are ${Object.keys(engines).join(', ')}; --only takes the scenarios whose name has a text in it, --present passes over engines that are not installed.`);
  process.exit(2);
}
const present = process.argv.includes('--present');
const failures = [];

/** How long it took to be told the end, in seconds: of each transport, or the longest of followers that have no name but a number. */
function told(scene) {
  const list = Object.entries(scene.seconds);
  const text = (ms) => (ms / 1000).toFixed(1);
  if (list.every(([name]) => /^\d+$/.test(name))) return list.length ? text(Math.max(...list.map(([, ms]) => ms))) : '–';
  return list.map(([name, ms]) => `${name} ${text(ms)}`).join(', ');
}

async function act(engine, gateway, { name, play, query }) {
  const scene = new Scene(engine, gateway, query);
  let failure;
  const late = pause(LONGEST).then(() => { throw new Error(`it was not over after ${LONGEST / 1000} s`); });
  late.catch(() => {});
  try {
    await Promise.race([play(scene), late]);
  } catch (error) {
    failure = error;
  }
  try {
    await scene.close();
  } catch (error) {
    failure ??= error;
  }
  if (failure) failures.push(`${engine.name}, ${name}: ${failure.stack}`);
  const verdict = failure ? '**NO**' : scene.unfollowed ? '–' : 'yes';
  if (failure) console.error(`browsers: ${engine.name}, ${name}: failed`);
  return `| ${engine.name} | ${name} | ${failure ? '' : scene.events} | ${verdict} | ${told(scene)} | ${scene.native ?? '–'} | ${scene.notes.join('; ')} |`;
}

console.log('| engine | what happens | events | each once, in order, and the end | s to the end | EventSource | |');
console.log('| --- | --- | --- | --- | --- | --- | --- |');
for (const engineName of chosen) {
  const began = Date.now();
  let engine;
  try {
    engine = await engines[engineName].start();
  } catch (error) {
    if (!(error instanceof Missing)) throw error;
    console.log(`| ${engineName} | **NOT TESTED**: ${error.message} | | | | | |`);
    if (!present) failures.push(`${engineName} was not tested: ${error.message}`);
    continue;
  }
  const gateway = await Gateway.start({ args: gatewayArgs });
  const played = scenarios.filter(({ name }) => name.includes(only));
  const waiting = [...played].sort((a, b) => Boolean(b.long) - Boolean(a.long));
  const lines = new Map();
  await Promise.all(Array.from({ length: engines[engineName].atOnce }, async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) lines.set(next, await act(engine, gateway, next));
  }));
  for (const scenario of played) console.log(lines.get(scenario));
  await engine.stop();
  try {
    await gateway.stop();
  } catch (error) {
    failures.push(`${engine.name}, its gateway: ${error.stack}`);
  }
  console.error(`browsers: ${engine.name} took ${((Date.now() - began) / 1000).toFixed(0)} s`);
}
for (const failure of failures) console.error(`\n${failure}`);
process.exit(failures.length > 0 ? 1 : 0);
