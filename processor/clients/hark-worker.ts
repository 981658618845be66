/**
 * A worker of Hark in one file, to be copied: no dependency. Node 22.18 or later runs it as it is,
 * since its types can be stripped; compilers take it with all checks on.
 *
 *     import { Fail, Worker } from "./hark-worker.ts";
 *
 *     const worker = new Worker({ url: "http://127.0.0.1:8080", name: "shouter-1" });
 *
 *     worker.handle<{ text?: string }>("default", async (job) => {
 *       if (!job.content.text) throw new Fail("empty", "There is nothing to shout.");
 *       await job.progress({ step: "shouting", percent: 50 });
 *       return { text: job.content.text.toUpperCase() };
 *     });
 *
 *     await worker.run(); // until SIGTERM or Ctrl-C, then it ends what it has begun
 *
 * What a handler returns is the result: JSON, bytes, or a Result of any media type; undefined is
 * success without one. How it fails is told by what it throws:
 *
 *     new Fail(code, message)     the request fails for good, in these words
 *     new Retry({ after: 90 })    another attempt follows after that, if one is left
 *     new Snooze(60)              the request waits, and no attempt is counted
 *     Asked                       what job.ask() rejects with while there is no answer
 *     anything else               another attempt follows after the request's backoff
 *
 * While a handler runs its lease is renewed, so it must not keep the event loop from going round
 * for as long as that: what computes is for a worker thread. When nobody wants its result any more,
 * job.signal is aborted, and progress() and wait() reject.
 */

/** The request fails for good, in these words; without a detail the cause is it. */
export class Fail extends Error {
  readonly code: string;
  readonly detail: string;

  /** `code` is short and stable, for programs, `message` for the user, `detail` for developers. */
  constructor(code: string, message: string, options: { detail?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = "Fail";
    this.code = code;
    this.detail = options.detail ?? causeOf(this);
  }
}

/** The attempt has failed. Another one follows after so many seconds, or the request's backoff. */
export class Retry extends Error {
  readonly after: number | undefined;
  readonly code: string;

  constructor(options: { message?: string; after?: number; code?: string; cause?: unknown } = {}) {
    super(options.message ?? PLAIN, { cause: options.cause });
    this.name = "Retry";
    this.after = options.after;
    this.code = options.code ?? "error";
  }
}

/** Nothing went wrong: the request waits for so many seconds, and no attempt is counted. */
export class Snooze extends Error {
  readonly seconds: number;

  constructor(seconds: number) {
    super(`put off for ${seconds} s`);
    this.name = "Snooze";
    this.seconds = seconds;
  }
}

/** A question is not answered yet: see Job.ask, which rejects with it. The request waits. */
export class Asked extends Error {
  readonly question: Readonly<Question> & { readonly name: string };

  constructor(question: Question & { name: string }) {
    super(`the question is not answered yet: ${question.name}`);
    this.name = "Asked";
    this.question = question;
  }
}

/** What a handler asks those who may cancel the request. */
export interface Question {
  /** For whoever is to answer. */
  message: string;
  /** Tells it from others of its request. Those without one are named by the order of asking. */
  name?: string;
  /** A JSON Schema for whoever answers; the answer is any JSON all the same. */
  schema?: Record<string, unknown>;
  /** The answer, if none comes in time; without one the request fails then. */
  default?: unknown;
  /** Seconds that an answer is waited for; an hour if the gateway does not say otherwise. */
  timeout?: number;
}

/**
 * Why an attempt is over before its handler is.
 *
 * - canceled: the end of the request was asked for
 * - expired: its time has run out
 * - lost: the attempt was silent for too long, or somebody else has taken over
 * - shutdown: the worker is being stopped, and its time to drain is over; the work goes back
 */
export type Why = "canceled" | "expired" | "lost" | "shutdown";

/** What job.signal is aborted with. What a handler throws then is not reported as a failure. */
export class Ended extends Error {
  readonly why: Why;

  constructor(why: Why, message: string) {
    super(message);
    this.name = "Ended";
    this.why = why;
  }
}

/** The gateway will not have this worker; the message says why. */
export class WorkerError extends Error {
  override name = "WorkerError";
}

/** Another worker has called by the same name, so this one is taken for gone. */
export class WorkerSuperseded extends WorkerError {
  override name = "WorkerSuperseded";
}

/** A result of any media type. Text is sent as UTF-8, which its media type should say. */
export class Result {
  readonly body: Uint8Array | string;
  readonly contentType: string;

  constructor(body: Uint8Array | string, contentType: string) {
    this.body = body;
    this.contentType = contentType;
  }
}

/** How far the work is. What is not given keeps its value. */
export interface Progress {
  step?: string;
  /** 0 to 100. */
  percent?: number;
  message?: string;
}

/** The HTTP call that a request was made from. */
export interface Call {
  method: string;
  path: string;
  rawPath?: string;
  query?: string;
}

/** One attempt at one request. */
export interface Job<Content = unknown> {
  /** The request's: the same for every attempt. */
  readonly id: string;
  readonly life: string;
  /** From 1. */
  readonly attempt: number;
  readonly route: string;
  readonly topic: string | undefined;
  readonly priority: number;
  /** Who submitted it. */
  readonly caller: string;
  readonly createdAt: Date;
  /** By the gateway's clock, as of the start. */
  readonly deadline: Date;
  readonly headers: Readonly<Record<string, string>>;
  readonly call: Call | undefined;
  readonly contentType: string;
  /** JSON as it is, a Uint8Array of any other type, undefined if there is no content. */
  readonly content: Content;
  /** Of those who were asked, by the names of the questions. */
  readonly answers: Readonly<Record<string, unknown>>;
  /** Is aborted with an Ended when the attempt is over: give it to what the handler waits for. */
  readonly signal: AbortSignal;
  /** A header of the submission by its name in any case, "" if it is not there. */
  header(name: string): string;
  /**
   * Tells followers how far the work is. While the gateway is away this resolves all the same, and
   * the newest of each is told when it is back. Rejects with an Ended if the attempt is over.
   */
  progress(progress: Progress): Promise<void>;
  /**
   * Resolves to the answer to a question, or rejects with an Asked, which the handler lets through:
   * then the question is asked, the request waits, and this worker is free. With the answer the
   * handler is called again from its beginning, for the same attempt, here or elsewhere. So what
   * stands before a question runs at least twice. What the answer is taken for is not checked.
   */
  ask<Answer = unknown>(question: Question): Promise<Answer>;
  /** Lets the request's time run out so many seconds from now, within the gateway's bound. */
  extend(seconds: number): Promise<void>;
  /** Sleeps, or rejects with an Ended as soon as the attempt is over. */
  wait(seconds: number): Promise<void>;
}

export type Handler<Content = unknown> = (job: Job<Content>) => unknown;

export interface Log {
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

export interface WorkerOptions {
  /** The gateway's; else HARK_URL, else http://127.0.0.1:8080. */
  url?: string | undefined;
  /** A key or token of the role processor, or what returns one for each call; else HARK_KEY. */
  key?: string | (() => string | Promise<string>) | undefined;
  /**
   * Of this worker, which it keeps when it is started again: so it gets back at once what it had
   * when it was killed. Workers that run at the same time need names of their own. Without one,
   * what a killed worker had comes back after `lease`.
   */
  name?: string | undefined;
  /** How many handlers run at a time, 1 to 100. Default 8. */
  concurrency?: number;
  /** Seconds that an attempt may be silent, 1 to 3600. Default 60. */
  lease?: number;
  /**
   * Seconds between two signs of life, which tell of a cancellation, too. Default a third of the
   * lease. Each is an event of the request.
   */
  heartbeat?: number;
  /** Seconds that a call waits for work, within the gateway's bound, 240 at most. Default 20. */
  wait?: number;
  /** Seconds that handlers get to end when the worker is stopped. Default 30. */
  drain?: number;
  /** Seconds that they get once more after they were told. Default 5. */
  grace?: number;
  /** Default console. */
  log?: Log;
}

interface Settings {
  url: string;
  name: string | undefined;
  concurrency: number;
  lease: number;
  heartbeat: number;
  wait: number;
  drain: number;
  grace: number;
  log: Log;
}

/** Takes work of a gateway and has handlers do it. */
export class Worker {
  readonly #gateway: Gateway;
  readonly #options: Settings;
  readonly #session = crypto.randomUUID();
  readonly #handlers = new Map<string, Handler<never>>();
  readonly #running = new Set<Attempt>();
  readonly #stopping = new Gate(); // nothing more is begun
  readonly #ending = new Gate(); // nothing more is reported
  #changed: () => void = () => {}; // of what runs; there is one who waits for it at a time
  #hangUp: () => void = () => {};

  constructor(options: WorkerOptions = {}) {
    const { concurrency = 8, lease = 60, wait = 20, drain = 30, grace = 5, log = console } = options;
    const heartbeat = options.heartbeat ?? lease / 3;
    if (!(concurrency >= 1 && concurrency <= 100)) throw new RangeError("concurrency must be from 1 to 100");
    if (!(lease >= 1 && lease <= 3600)) throw new RangeError("lease must be from 1 to 3600 seconds");
    if (!(heartbeat > 0 && heartbeat < lease)) throw new RangeError("heartbeat must be shorter than the lease");
    // Node's fetch gives up an answer whose head has not come after 300 seconds.
    if (!(wait >= 0 && wait <= 240)) throw new RangeError("wait must be from 0 to 240 seconds");
    const url = options.url || process.env["HARK_URL"] || "http://127.0.0.1:8080";
    this.#options = { url, name: options.name, concurrency, lease, heartbeat, wait, drain, grace, log };
    // A call that gets no answer is made again while the lease still holds.
    const patience = Math.min(30, Math.max(1, lease / 3));
    this.#gateway = new Gateway(url, options.key ?? process.env["HARK_KEY"], patience);
  }

  /** Makes a function the handler of a route. What its content is taken for is not checked. */
  handle<Content = unknown>(route: string, handler: Handler<Content>): this {
    this.#handlers.set(route, handler);
    return this;
  }

  /** Has run() drain and resolve. */
  stop(): void {
    this.#stopping.open();
    this.#changed();
  }

  /**
   * Works until stop() is called, or until SIGTERM or SIGINT, of which a second one ends the
   * process at once. Then what has begun ends, and what was leased and not begun is handed back. A
   * worker runs once.
   *
   * Rejects with a WorkerSuperseded if another worker has called by the same name, and with a
   * WorkerError if the gateway will not have this one; what is running ends before that, too.
   */
  async run(): Promise<void> {
    const { log, url, drain, grace } = this.#options;
    if (this.#handlers.size === 0) throw new WorkerError("there is no handler: add one by worker.handle(route, handler)");
    const signals = ["SIGTERM", "SIGINT"] as const;
    const told = () => {
      for (const signal of signals) process.off(signal, told);
      this.stop();
    };
    for (const signal of signals) process.on(signal, told);
    log.info(`working on ${[...this.#handlers.keys()].join(", ")} for ${url}`);
    let error: unknown;
    const leasing = this.#take().catch((e: unknown) => { error = e; }).finally(told);
    await this.#stopping.within();
    log.info("draining");
    // What has come already is read first, so that it can be handed back.
    for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
    this.#hangUp();
    if (error instanceof WorkerSuperseded) {
      for (const attempt of this.#running) attempt.end("lost", error.message);
    }
    if (!(await this.#idle(error instanceof WorkerSuperseded ? 0 : drain))) {
      for (const attempt of this.#running) attempt.end("shutdown", "The worker is being stopped.");
      await this.#idle(grace);
    }
    this.#ending.open();
    await Promise.all([...this.#running].map(async (attempt) => {
      log.error(`the handler of ${attempt.id} does not end, and is left behind`);
      await this.#release(attempt);
      attempt.end("lost", "The worker has been stopped.");
    }));
    await leasing; // which hands back what it got last
    if (error) throw error;
  }

  /** Resolves to whether nothing runs any more, within so many seconds. */
  async #idle(seconds: number): Promise<boolean> {
    let late = false;
    const timer = setTimeout(() => { late = true; this.#changed(); }, seconds * 1000);
    while (this.#running.size > 0 && !late) await new Promise<void>((resolve) => { this.#changed = resolve; });
    clearTimeout(timer);
    return this.#running.size === 0;
  }

  /** Leases work and begins it. */
  async #take(): Promise<void> {
    const { concurrency, log } = this.#options;
    let misses = 0;
    let hasty = 0;
    while (!this.#stopping.isOpen) {
      const free = concurrency - this.#running.size;
      if (free === 0) {
        await new Promise<void>((resolve) => { this.#changed = resolve; });
        continue;
      }
      const began = performance.now();
      let work: Work[];
      try {
        work = await this.#leased(free);
      } catch (error) {
        if (!(error instanceof Away)) throw error;
        if (this.#stopping.isOpen) return;
        const pause = pauseAfter(++misses, error.retryAfter);
        log.warn(`no work can be had, trying again in ${pause.toFixed(1)} s: ${error.message}`);
        await this.#stopping.within(pause);
        continue;
      }
      misses = 0;
      for (const one of work) {
        const attempt = new Attempt(one, this.#gateway, this.#options);
        if (this.#stopping.isOpen) {
          await this.#release(attempt);
        } else {
          void this.#work(attempt);
        }
      }
      // A gateway that drains, and one that watches what others hold, answers at once.
      hasty = work.length > 0 || performance.now() - began > 1000 ? 0 : hasty + 1;
      if (hasty > 0) await this.#stopping.within(pauseAfter(hasty, undefined, 0.5));
    }
  }

  async #leased(most: number): Promise<Work[]> {
    const { url, name, wait, lease } = this.#options;
    const order = {
      routes: [...this.#handlers.keys()], max: most, wait: duration(wait), lease: duration(lease),
      ...(name !== undefined && { worker: name, session: this.#session }),
    };
    // Until the head of the answer has come there is no work in it.
    const waiting = new AbortController();
    this.#hangUp = () => waiting.abort(new Away("the worker is being stopped"));
    const answer = await this.#gateway
      .call("POST", "/v1/work/lease", JSON.stringify(order), "application/json", wait + 15, waiting.signal, () => { this.#hangUp = () => {}; })
      .finally(() => { this.#hangUp = () => {}; });
    if (answer.status === 200) return (answer.json() as { work: Work[] }).work;
    const problem = answer.problem();
    if (problem.type === "/problems/worker-superseded") throw new WorkerSuperseded(`worker ${name}: ${problem.detail}`);
    const error = answer.error();
    throw error instanceof Refused ? new WorkerError(`${url} refuses this worker: ${error.message}`) : error;
  }

  /** Hands an attempt back once; if that cannot be told, its lease runs out. */
  async #release(attempt: Attempt): Promise<void> {
    try {
      await attempt.send(releaseReport(0));
    } catch (error) {
      this.#options.log.warn(`${attempt.id} could not be handed back: ${textOf(error)}`);
    }
  }

  /** The whole life of an attempt. It does not reject. */
  async #work(attempt: Attempt): Promise<void> {
    this.#running.add(attempt);
    attempt.renew();
    let report: Report | undefined;
    try {
      const handler = this.#handlers.get(attempt.route) as Handler;
      report = successReport(await handler(attempt));
    } catch (error) {
      report = failureReport(attempt, error, this.#options.log);
    }
    await attempt.done();
    if (attempt.why !== "lost" && attempt.why !== "expired") await this.#settle(attempt, report);
    this.#running.delete(attempt);
    this.#changed();
  }

  /** Reports how an attempt has ended, as often as it takes: saying it twice does no harm. */
  async #settle(attempt: Attempt, report: Report): Promise<void> {
    const { log } = this.#options;
    for (let tries = 1; ; tries++) {
      try {
        await attempt.send(report);
        return;
      } catch (error) {
        if (error instanceof Ended) {
          log.info(`the end of attempt ${attempt.attempt} at ${attempt.id} is not wanted: ${error.message}`);
          return;
        }
        if (!(error instanceof Away)) {
          log.error(`the end of ${attempt.id} was refused: ${textOf(error)}`);
          if (report.what === "error") return; // the lease runs out
          report = errorReport({ ...(REFUSED[report.what] ?? REFUSED.result), detail: textOf(error), retry: false });
          continue;
        }
        const pause = pauseAfter(tries, error.retryAfter);
        log.warn(`the end of ${attempt.id} cannot be told, trying again in ${pause.toFixed(1)} s: ${error.message}`);
        if ((await this.#ending.within(pause)) || (error.status === 500 && tries >= 5)) return;
      }
    }
  }
}

/** What a lease answers. */
interface Work {
  id: string;
  life: string;
  attempt: number;
  route: string;
  topic?: string | null;
  priority?: number;
  caller: string;
  createdAt: string;
  deadline: string;
  headers?: Record<string, string> | null;
  call?: Call | null;
  contentType?: string;
  content?: unknown;
  contentBase64?: string;
  answers?: Record<string, unknown> | null;
}

class Attempt implements Job<never> {
  readonly id: string;
  readonly life: string;
  readonly attempt: number;
  readonly route: string;
  readonly topic: string | undefined;
  readonly priority: number;
  readonly caller: string;
  readonly createdAt: Date;
  readonly deadline: Date;
  readonly headers: Readonly<Record<string, string>>;
  readonly call: Call | undefined;
  readonly contentType: string;
  readonly content: never;
  readonly answers: Readonly<Record<string, unknown>>;
  readonly signal: AbortSignal;
  /** Why it is over although its handler runs. Lost is the last word. */
  why: Why | undefined;

  readonly #gateway: Gateway;
  readonly #heartbeat: number;
  readonly #log: Log;
  readonly #over = new AbortController();
  #unsent: Record<string, unknown> = {}; // progress that the gateway does not know yet
  #sending: Promise<void> = Promise.resolve(); // which keeps progress in order
  #queued: Promise<void> | undefined; // a call that has yet to begin, for all that is unsent then
  #notBefore = 0; // it is not told of progress: it was away just now
  #misses = 0;
  #asked = 0; // questions without a name
  #timer: ReturnType<typeof setTimeout> | undefined;
  #done = false;

  constructor(work: Work, gateway: Gateway, options: { heartbeat: number; log: Log }) {
    this.id = work.id;
    this.life = work.life;
    this.attempt = work.attempt;
    this.route = work.route;
    this.topic = work.topic ?? undefined;
    this.priority = work.priority ?? 0;
    this.caller = work.caller;
    this.createdAt = new Date(work.createdAt);
    this.deadline = new Date(work.deadline);
    this.headers = work.headers ?? {};
    this.call = work.call ?? undefined;
    this.contentType = work.contentType ?? "";
    this.content = (work.contentBase64 === undefined ? work.content : new Uint8Array(Buffer.from(work.contentBase64, "base64"))) as never;
    this.answers = work.answers ?? {};
    this.signal = this.#over.signal;
    this.#gateway = gateway;
    this.#heartbeat = options.heartbeat;
    this.#log = options.log;
  }

  header(name: string): string {
    return Object.entries(this.headers).find(([known]) => known.toLowerCase() === name.toLowerCase())?.[1] ?? "";
  }

  async progress({ step, percent, message }: Progress): Promise<void> {
    await this.#tell({
      ...(step !== undefined && { step: clip(step, 200) }),
      // 0 of 0 is done: nothing to say.
      ...(percent !== undefined && !Number.isNaN(percent) && { percent: Math.min(Math.max(percent, 0), 100) }),
      ...(message !== undefined && { message: clip(message, 2000) }),
    });
  }

  async ask<Answer = unknown>(question: Question): Promise<Answer> {
    let { name } = question;
    if (name === undefined) name = ++this.#asked === 1 ? "question" : `question-${this.#asked}`;
    if (Object.hasOwn(this.answers, name)) return this.answers[name] as Answer;
    throw new Asked({ ...question, name });
  }

  async extend(seconds: number): Promise<void> {
    await this.#tell({ timeout: duration(seconds) });
  }

  async wait(seconds: number): Promise<void> {
    this.signal.throwIfAborted();
    await new Promise<void>((resolve) => {
      const over = () => {
        clearTimeout(timer);
        this.signal.removeEventListener("abort", over);
        resolve();
      };
      const timer = setTimeout(over, seconds * 1000);
      this.signal.addEventListener("abort", over);
    });
    this.signal.throwIfAborted();
  }

  async #tell(fields: Record<string, unknown>): Promise<void> {
    this.signal.throwIfAborted();
    Object.assign(this.#unsent, fields);
    if (performance.now() >= this.#notBefore) await this.#flush();
    this.signal.throwIfAborted();
  }

  /** Tells the gateway what it does not know, and that the attempt is alive, too. */
  #flush(): Promise<void> {
    this.#queued ??= this.#sending = this.#sending.then(async () => {
      this.#queued = undefined;
      await this.#report();
    });
    return this.#sending;
  }

  async #report(): Promise<void> {
    const fields = this.#unsent;
    this.#unsent = {};
    let next = this.#heartbeat;
    try {
      const answer = await this.send({ method: "POST", what: "progress", body: JSON.stringify(fields), contentType: "application/json" });
      this.#misses = this.#notBefore = 0;
      if ((answer.json() as { cancel?: boolean }).cancel) this.end("canceled", "The request was canceled.");
    } catch (error) {
      if (error instanceof Away) {
        this.#unsent = { ...fields, ...this.#unsent };
        const pause = pauseAfter(++this.#misses, error.retryAfter);
        this.#notBefore = performance.now() + pause * 1000;
        next = Math.min(pause, this.#heartbeat);
        this.#log.warn(`progress of ${this.id} has to wait: ${error.message}`);
      } else if (error instanceof Ended) {
        this.end(error.why, error.message);
      } else { // it is not worth the work
        this.#log.error(`progress of ${this.id} was refused: ${textOf(error)}`);
      }
    }
    this.renew(next);
  }

  /** Keeps the lease until the handler has ended. */
  renew(seconds = this.#heartbeat): void {
    clearTimeout(this.#timer);
    if (this.#done || this.why === "lost" || this.why === "expired") return;
    this.#timer = setTimeout(() => void this.#flush(), seconds * 1000);
  }

  /** The handler has ended. Resolves when what it has told is known, or cannot be told now. */
  async done(): Promise<void> {
    this.#done = true;
    clearTimeout(this.#timer);
    await this.#sending;
    if (Object.keys(this.#unsent).length > 0 && this.why !== "lost" && this.why !== "expired") await this.#flush();
  }

  end(why: Why, message: string): void {
    if (this.why && (why !== "lost" || this.why === "lost")) return;
    this.why = why;
    this.#log.info(`attempt ${this.attempt} at ${this.id} is over: ${message}`);
    this.#over.abort(new Ended(why, message));
  }

  /** Makes one call about this attempt: all that is reported goes this way. */
  async send(report: Report): Promise<Answer> {
    const fence = new URLSearchParams({ attempt: String(this.attempt), life: this.life });
    const path = `/v1/work/${encodeURIComponent(this.id)}/${report.what}?${fence}`;
    const answer = await this.#gateway.call(report.method, path, report.body, report.contentType);
    if (answer.status === 200) return answer;
    const problem = answer.problem();
    if (answer.status === 409 || problem.type === "/problems/request-not-found") {
      const status = problem.requestStatus;
      throw new Ended(status === "canceled" || status === "expired" ? status : "lost", problem.detail || "The attempt does not count any more.");
    }
    throw answer.error();
  }
}

const PLAIN = "The work could not be done.";

/** What becomes of a request whose report the gateway does not take, by what that is. */
const REFUSED: Record<string, { code: string; message: string }> & { result: { code: string; message: string } } = {
  result: { code: "result-refused", message: "The result could not be stored." },
  question: { code: "bad-question", message: "The request cannot ask what it needs to know." },
};

/** A call about an attempt. */
interface Report {
  method: "POST" | "PUT";
  what: string;
  body?: Uint8Array | string | undefined;
  contentType?: string | undefined;
}

function successReport(result: unknown): Report {
  if (result === undefined) return { method: "POST", what: "complete" };
  let whole: Result;
  if (result instanceof Result) {
    whole = result;
  } else if (result instanceof Uint8Array) {
    whole = new Result(result, "application/octet-stream");
  } else {
    const text: string | undefined = JSON.stringify(result);
    if (text === undefined) throw new TypeError(`the handler returned a ${typeof result}, which is no JSON`);
    whole = new Result(text, "application/json");
  }
  return { method: "PUT", what: "result", body: whole.body, contentType: whole.contentType };
}

/** The report of what a handler has thrown, unless that was because the attempt is over. */
function failureReport(attempt: Attempt, error: unknown, log: Log): Report {
  if (attempt.why === "canceled") return errorReport({ code: "canceled", message: "The request was canceled.", retry: false });
  if (error instanceof Asked) return questionReport(error.question);
  if (attempt.why === "shutdown") return releaseReport(0);
  if (error instanceof Snooze) return releaseReport(error.seconds);
  if (error instanceof Fail) return errorReport({ code: error.code, message: error.message, detail: error.detail, retry: false });
  if (error instanceof Retry) return errorReport({ code: error.code, message: error.message, detail: causeOf(error), retry: true, after: error.after });
  const trace = error instanceof Error ? (error.stack ?? "") : "";
  if (attempt.why === undefined) log.error(`the handler of ${attempt.id} failed: ${trace || textOf(error)}`);
  return errorReport({ code: "error", message: PLAIN, detail: textOf(error), trace, retry: true });
}

interface Failure {
  code: string;
  message: string;
  detail?: string;
  trace?: string;
  retry: boolean;
  after?: number | undefined;
}

function errorReport({ code, message, detail = "", trace = "", retry, after }: Failure): Report {
  const report = {
    code: clip(code, 100), message: clip(message, 2000) || PLAIN, detail: clip(detail, 8000), trace: clip(trace, 60000), retry,
    ...(after !== undefined && { retryAfter: later(after) }),
  };
  return { method: "PUT", what: "error", body: JSON.stringify(report), contentType: "application/json" };
}

function questionReport({ timeout, ...question }: Question): Report {
  const body = JSON.stringify({ ...question, ...(timeout !== undefined && { timeout: duration(timeout) }) });
  return { method: "PUT", what: "question", body, contentType: "application/json" };
}

function releaseReport(seconds: number): Report {
  const report = seconds > 0 ? { retryAfter: later(seconds) } : {};
  return { method: "POST", what: "release", body: JSON.stringify(report), contentType: "application/json" };
}

/** The call may succeed when it is made again. */
class Away extends Error {
  readonly status: number;
  readonly retryAfter: number | undefined;

  constructor(message: string, status = 0, retryAfter?: number) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** The call would be refused again. */
class Refused extends Error {}

/** What an answer says is wrong (RFC 9457). */
interface Problem {
  type?: string;
  title?: string;
  detail?: string;
  requestStatus?: string;
  errors?: { pointer?: string; detail?: string }[];
}

class Answer {
  readonly status: number;
  readonly #text: string;
  readonly #headers: Headers;

  constructor(status: number, text: string, headers: Headers) {
    this.status = status;
    this.#text = text;
    this.#headers = headers;
  }

  json(): unknown {
    try {
      return JSON.parse(this.#text);
    } catch {
      throw new Away(`an answer that is no JSON: ${this.#text.slice(0, 200)}`);
    }
  }

  /** Empty if somebody else has answered. */
  problem(): Problem {
    try {
      const problem: unknown = JSON.parse(this.#text);
      return typeof problem === "object" && problem !== null ? problem : {};
    } catch {
      return {};
    }
  }

  error(): Away | Refused {
    const { title = "", detail = "", errors = [] } = this.problem();
    let text = `${this.status} ${title}: ${detail}`.replace(/[: ]+$/, "");
    for (const wrong of errors) text += ` ${wrong.pointer}: ${wrong.detail}.`;
    const location = this.#headers.get("Location");
    if (location) text += `, it is at ${location}`;
    if (![408, 425, 429, 500, 502, 503, 504].includes(this.status)) return new Refused(text);
    return new Away(text, this.status, secondsOf(this.#headers.get("Retry-After")));
  }
}

/** What is thrown when the other side has closed a connection that was kept in that moment. */
const CLOSED = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

class Gateway {
  readonly #base: string;
  readonly #key: WorkerOptions["key"];
  readonly #patience: number;

  constructor(url: string, key: WorkerOptions["key"], patience: number) {
    if (!/^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : "")) {
      throw new TypeError(`the URL of a gateway is like https://push.example.org, not ${url}`);
    }
    this.#base = url.replace(/\/+$/, "");
    this.#key = key;
    this.#patience = patience;
  }

  /** Rejects with an Away if there is no answer. `headed` is called when its head has come. */
  async call(
    method: string, path: string, body: Report["body"], contentType = "", seconds = this.#patience, signal?: AbortSignal, headed?: () => void,
  ): Promise<Answer> {
    const over = new AbortController();
    // A large body gets the time that it needs on a slow connection.
    const patience = seconds + (body?.length ?? 0) / 65536;
    const timer = setTimeout(() => over.abort(new Away(`no answer within ${Math.round(patience)} s`)), patience * 1000);
    const stop = () => over.abort(signal?.reason);
    signal?.addEventListener("abort", stop);
    try {
      const key = typeof this.#key === "function" ? await this.#key() : this.#key;
      const init: RequestInit = {
        method, signal: over.signal, redirect: "manual", body: (body ?? null) as NonNullable<RequestInit["body"]> | null,
        headers: { Accept: "application/json", ...(key && { Authorization: `Bearer ${key}` }), ...(contentType && { "Content-Type": contentType }) },
      };
      const response = await fetch(this.#base + path, init).catch((error: unknown) => {
        // All that a worker says may be said twice.
        if (over.signal.aborted || !CLOSED.has(codeOf(error))) throw error;
        return fetch(this.#base + path, init);
      });
      headed?.();
      return new Answer(response.status, await response.text(), response.headers);
    } catch (error) {
      throw error instanceof Away ? error : new Away(codeOf(error) || textOf(error));
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
  }
}

/** What happens once. Who has waited for it in vain leaves nothing behind. */
class Gate {
  isOpen = false;
  readonly #waiting = new Set<() => void>();

  open(): void {
    this.isOpen = true;
    for (const told of this.#waiting) told();
  }

  /** Resolves to whether it happens, within so many seconds, as soon as that is known. */
  async within(seconds?: number): Promise<boolean> {
    if (this.isOpen) return true;
    let told = () => {};
    let timer: ReturnType<typeof setTimeout> | undefined;
    await new Promise<void>((resolve) => {
      told = resolve;
      this.#waiting.add(told);
      if (seconds !== undefined) timer = setTimeout(resolve, seconds * 1000);
    });
    clearTimeout(timer);
    this.#waiting.delete(told);
    return this.isOpen;
  }
}

/** Reads a Retry-After (RFC 9110, section 10.2.3). */
function secondsOf(retryAfter: string | null): number | undefined {
  if (!retryAfter) return undefined;
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(seconds, 0);
}

/**
 * How long to wait before a call is made again, in seconds: what the gateway says, or longer from
 * time to time; with jitter, so that what failed together does not come back together.
 */
function pauseAfter(tries: number, retryAfter: number | undefined, most = 15): number {
  if (retryAfter !== undefined) return Math.min(Math.max(retryAfter, 0.2), 300) * (1 + 0.2 * Math.random());
  return Math.min(0.2 * 2 ** Math.min(tries - 1, 20), most) * (0.8 + 0.4 * Math.random());
}

const duration = (seconds: number) => `${Math.max(Math.ceil(seconds * 1000), 1)}ms`;

/** Within what a gateway takes, a day. */
const later = (seconds: number) => duration(Math.min(seconds, 86400));

/** Within its bound, and without halves of characters. */
const clip = (text: string, most: number) => Buffer.from(String(text).slice(0, most)).toString();

/** Of whatever was thrown, which may be no error, and may have no text. */
function textOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return typeof error;
  }
}

function causeOf(error: Error): string {
  return error.cause === undefined ? "" : textOf(error.cause);
}

/** What fetch says is in the cause of its error. */
function codeOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "";
}
