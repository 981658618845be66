// What frameworks and libraries do with an event by themselves, in the way that their own documentation shows for JSON, or for webhooks. Each
// has start(handle, hook), which returns { url, close }. handle(event, verified) throws for what is not to be taken.

import { createRequire } from 'node:module';
import http from 'node:http';
import { once } from 'node:events';
import { HTTP } from 'cloudevents';
import express5 from 'express';
import Fastify from 'fastify';
import rawBody from 'fastify-raw-body';
import { createApp, createRouter, defineEventHandler, getHeaders, readRawBody, setResponseStatus, toNodeListener } from 'h3';
import Koa from 'koa';
import { bodyParser } from '@koa/bodyparser';
import 'reflect-metadata';
import { Controller, Module, Post, Req, Res } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Webhook as Svix } from 'svix';
import { SECRET } from './serve.mjs';

const require = createRequire(import.meta.url);
const express4 = require('express4');
const svix = new Svix(SECRET);

const listening = async (server) => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${server.address().port}/hooks`, close: () => { server.closeAllConnections(); server.close(); } };
};

/** The usual route of express: verify what bytes() finds, answer 400 if that is nothing. */
const verifying = (express, parser, bytes, verifier) => (handle, hook) => {
  const app = express();
  app.use(parser(express));
  app.post('/hooks', (req, res, next) => {
    let event;
    try {
      event = (verifier ?? hook).verify(bytes(req), req.headers);
    } catch {
      res.sendStatus(400);
      return;
    }
    Promise.resolve(event).then((e) => handle(e, true)).then(() => res.sendStatus(204), next);
  });
  app.use((error, req, res, next) => res.sendStatus(error.status ?? 500)); // eslint-disable-line no-unused-vars -- express counts the arguments
  return listening(http.createServer(app));
};

/** Takes what express.json() has read if it is an event that is wanted, and answers 200 to the rest, as handlers of webhooks do. */
const naive = (express, type) => (handle) => {
  const app = express();
  app.use(express.json());
  app.post('/hooks', async (req, res) => {
    if (type(req) === 'request.succeeded') await handle(req.body, false);
    res.sendStatus(200);
  });
  app.use((error, req, res, next) => res.sendStatus(error.status ?? 500)); // eslint-disable-line no-unused-vars -- express counts the arguments
  return listening(http.createServer(app));
};

const keep = (req, res, bytes) => { req.rawBody = bytes; };
const kept = (req) => req.rawBody;
const body = (req) => req.body;

const fastify = (setup, take, options) => async (handle, hook) => {
  const app = Fastify();
  await setup(app);
  app.post('/hooks', { ...options }, async (req, reply) => {
    const event = take(req, hook);
    if (!event) return reply.code(400).send();
    await handle(event.event, event.verified);
    return reply.code(204).send();
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  return { url: `http://127.0.0.1:${app.server.address().port}/hooks`, close: () => { app.server.closeAllConnections(); return app.close(); } };
};

const verified = (hook, bytes, headers) => {
  try {
    return { event: hook.verify(bytes, headers), verified: true };
  } catch {
    return undefined;
  }
};

const koa = (handle, hook) => {
  const app = new Koa();
  app.silent = true;
  app.use(bodyParser());
  app.use(async (ctx) => {
    const taken = verified(hook, ctx.request.rawBody, ctx.headers);
    if (!taken) ctx.throw(400);
    await handle(taken.event, true);
    ctx.status = 204;
  });
  return listening(http.createServer(app.callback()));
};

const nest = async (handle, hook) => {
  class Hooks {
    async take(req, res) {
      const taken = verified(hook, req.rawBody, req.headers);
      if (!taken) return res.sendStatus(400);
      await handle(taken.event, true);
      return res.sendStatus(204);
    }
  }
  // Decorators, as their syntax would apply them.
  Req()(Hooks.prototype, 'take', 0);
  Res()(Hooks.prototype, 'take', 1);
  Post()(Hooks.prototype, 'take', Object.getOwnPropertyDescriptor(Hooks.prototype, 'take'));
  Controller('hooks')(Hooks);
  class App {}
  Module({ controllers: [Hooks] })(App);
  const app = await NestFactory.create(App, { rawBody: true, logger: false });
  await app.listen(0, '127.0.0.1');
  const server = app.getHttpServer();
  return { url: `http://127.0.0.1:${server.address().port}/hooks`, close: () => { server.closeAllConnections(); return app.close(); } };
};

const h3 = (handle, hook) => {
  const router = createRouter().post('/hooks', defineEventHandler(async (e) => {
    const taken = verified(hook, await readRawBody(e), getHeaders(e));
    setResponseStatus(e, taken ? 204 : 400);
    if (taken) await handle(taken.event, true);
    return null;
  }));
  return listening(http.createServer(toNodeListener(createApp({ onError: () => {} }).use(router))));
};

/** The receiver that the SDK of CloudEvents shows for express. It verifies nothing. */
const toEvent = (parser) => (handle) => {
  const app = express5();
  app.use(parser);
  app.post('/hooks', async (req, res) => {
    let event;
    try {
      event = HTTP.toEvent({ headers: req.headers, body: req.body });
    } catch {
      res.sendStatus(400);
      return;
    }
    await handle(event.toJSON ? event.toJSON() : event, false);
    res.sendStatus(204);
  });
  app.use((error, req, res, next) => res.sendStatus(500)); // eslint-disable-line no-unused-vars -- express counts the arguments
  return listening(http.createServer(app));
};

/** [package, the way in the words of the page, start]. */
export const ways = [
  ['express', '`express.raw({ type: "application/json" })`, verified', verifying(express5, (e) => e.raw({ type: 'application/json' }), body)],
  ['express', '`express.json({ verify })` that keeps the bytes', verifying(express5, (e) => e.json({ verify: keep }), kept)],
  ['express', '`express.json({ type: "+json", verify })`', verifying(express5, (e) => e.json({ type: '+json', verify: keep }), kept)],
  ['express', '`express.json()`, `JSON.stringify(req.body)` verified', verifying(express5, (e) => e.json(), (req) => JSON.stringify(req.body))],
  ['express', '`express.json()`, `req.body.type`', naive(express5, (req) => req.body.type)],
  ['express', '`express.json()`, `req.body?.type`', naive(express5, (req) => req.body?.type)],
  ['express4', '`express.raw({ type: "application/json" })`, verified', verifying(express4, (e) => e.raw({ type: 'application/json' }), body)],
  ['express4', '`express.json({ verify })` that keeps the bytes', verifying(express4, (e) => e.json({ verify: keep }), kept)],
  ['express4', '`express.json()`, `req.body.type`', naive(express4, (req) => req.body.type)],
  ['fastify', '`req.body`', fastify(() => {}, (req) => ({ event: req.body, verified: false }))],
  ['fastify-raw-body', '`rawBody: true`', fastify(
    (app) => app.register(rawBody), (req, hook) => verified(hook, req.rawBody, req.headers), { config: { rawBody: true } },
  )],
  ['@koa/bodyparser', '`ctx.request.rawBody`', koa],
  ['@nestjs/core', '`{ rawBody: true }` alone', nest],
  ['h3', '`readRawBody(event)`, `getHeaders(event)`', h3],
  ['svix', '`express.raw({ type: "*/*" })`', verifying(express5, (e) => e.raw({ type: '*/*' }), body, svix)],
  ['cloudevents', '`HTTP.toEvent` behind `express.json()`', toEvent(express5.json())],
  ['cloudevents', '`HTTP.toEvent` behind `express.text({ type: "*/*" })`', toEvent(express5.text({ type: '*/*' }))],
];

/** [module, the way in the words of the page, the name of the receiver in go/recipes.go]. */
export const waysInGo = [
  ['github.com/gin-gonic/gin', '`ShouldBind`', 'gin ShouldBind'],
  ['github.com/gin-gonic/gin', '`ShouldBindJSON`', 'gin JSON'],
  ['github.com/gin-gonic/gin', '`ShouldBindBodyWithJSON`, `gin.BodyBytesKey` verified', 'gin body'],
  ['github.com/labstack/echo/v4', '`Bind`', 'echo Bind'],
  ['github.com/standard-webhooks/standard-webhooks/libraries', '`io.ReadAll`', 'standardwebhooks'],
  ['github.com/svix/svix-webhooks', '`io.ReadAll`', 'svix'],
  ['github.com/cloudevents/sdk-go/v2', '`StartReceiver`', 'cloudevents'],
];
