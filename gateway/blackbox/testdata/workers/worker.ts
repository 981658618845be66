// What the tests of hark-worker.ts run: it does what the content says, and prints what happens.

import { existsSync } from "node:fs";
import { Ended, Fail, Result, Retry, Snooze, Worker, WorkerError, type WorkerOptions } from "../../../../processor/clients/hark-worker.ts";

const released = process.env["WORKER_RELEASED"]!; // a file: when it is there, what holds ends
const worker = new Worker(JSON.parse(process.env["WORKER_OPTIONS"]!) as WorkerOptions);
const say = (...words: unknown[]) => console.log(...words);

interface Order {
  do?: string;
  value?: unknown;
  bytes?: number;
  message?: string;
  name?: string;
  schema?: Record<string, unknown>;
  default?: unknown;
  timeout?: number;
}

worker.handle<Order | Uint8Array>(process.env["WORKER_ROUTE"] ?? "default", async (job) => {
  say("began", job.id, job.attempt);
  if (job.content instanceof Uint8Array) return new Result(job.content.reverse(), job.contentType);
  const order = job.content;
  const first = job.attempt === 1;
  switch (order.do) {
    case "echo":
      return order.value;
    case "nothing":
      return undefined;
    case "bytes":
      return Uint8Array.of(0, 255);
    case "typed":
      return new Result("größer", "text/x-test; charset=utf-8");
    case "large":
      return new Result(new Uint8Array(order.bytes!), "application/octet-stream");
    case "about":
      return {
        route: job.route, topic: job.topic ?? null, priority: job.priority, caller: job.caller,
        request: job.header("x-request-id"), left: (job.deadline.getTime() - job.createdAt.getTime()) / 1000,
      };
    case "fail":
      throw new Fail("bad", "It cannot be done.", { cause: new RangeError("because") });
    case "retry":
      if (first) throw new Retry({ message: "Not yet.", after: 0.01, code: "early" });
      break;
    case "break":
      if (first) throw new RangeError("broken");
      break;
    case "unfit":
      if (first) return { big: 1n };
      break;
    case "snooze":
      if (first) throw new Snooze(0.01);
      break;
    case "ask": {
      const { do: _, message = "", ...more } = order;
      return [await job.ask({ message, ...more }), await job.ask({ message: "And then?" })];
    }
    case "tell":
      await job.progress({ step: "one", percent: 10 });
      await job.progress({ message: "half of it", percent: 50 });
      await job.extend(7200);
      break;
    case "hold":
      try {
        while (!existsSync(released)) await job.wait(0.01);
      } catch (error) {
        if (error instanceof Ended) say("over", job.id, error.why);
        throw error;
      }
      break;
    case "ignore":
      job.signal.addEventListener("abort", () => say("over", job.id, (job.signal.reason as Ended).why));
      while (!existsSync(released)) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return job.attempt;
});

try {
  await worker.run();
} catch (error) {
  if (!(error instanceof WorkerError)) throw error;
  say(error.name, error.message);
  process.exit(1);
}
say("ended");
process.exit(0); // whatever was left behind
