"""A worker of Hark in one file, to be copied: Python 3.9 or later, the standard library alone.

    from hark_worker import Fail, Job, Worker

    worker = Worker("http://127.0.0.1:8080", name="shouter-1")

    @worker.handle("default")
    def shout(job: Job) -> object:
        if not job.content.get("text"):
            raise Fail("empty", "There is nothing to shout.")  # for good; other errors are retried
        job.progress(step="shouting", percent=50)
        return {"text": job.content["text"].upper()}

    worker.run()  # until SIGTERM or Ctrl-C, then it ends what it has begun

What a handler returns is the result: JSON, bytes, or a Result of any media type; None is success
without one. How it fails is told by what it raises:

    Fail(code, message)    the request fails for good, in these words
    Retry(after=90)        another attempt follows after that, if one is left
    Snooze(60)             the request waits, and no attempt is counted: nothing went wrong
    Asked                  what job.ask() raises while there is no answer: the request waits for it
    anything else          another attempt follows after the request's backoff, if one is left

Handlers run in threads, at most ``concurrency`` at a time. While one runs its lease is renewed. It
cannot be stopped from outside, so it is told when nobody wants its result any more: progress() and
wait() raise then, ended is set, and what on_end() was given is called.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import logging
import math
import os
import queue
import random
import signal
import socket
import ssl
import threading
import time
import traceback
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar, Union

__all__ = [
    "Asked", "Canceled", "Ended", "Expired", "Fail", "Job", "Lost", "Result", "Retry", "Shutdown",
    "Snooze", "Worker", "WorkerError", "WorkerSuperseded",
]

log = logging.getLogger("hark_worker")


# What a handler raises to say how its attempt ends.


class Fail(Exception):
    """The request fails for good. ``code`` is short and stable, for programs; ``message`` is for
    the user, ``detail`` for the developer. The owner of the request can read all three."""

    def __init__(self, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.detail = code, message, detail


class Retry(Exception):
    """The attempt has failed, and another one follows if one is left: ``after`` so many seconds, or
    after the request's backoff. What is raised ``from`` another exception tells it as detail."""

    def __init__(self, message: str = "", after: float | None = None, code: str = "error") -> None:
        super().__init__(message or _PLAIN)
        self.message, self.after, self.code = message or _PLAIN, after, code


class Snooze(Exception):
    """Nothing went wrong, but there is nothing to be done yet: the request waits for so many
    seconds, and no attempt is counted. Its time goes on."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"put off for {seconds:g} s")
        self.seconds = seconds


class Asked(Exception):
    """A question is not answered yet: see Job.ask, which raises it. The request waits."""

    def __init__(self, question: Mapping[str, Any]) -> None:
        super().__init__(f"the question is not answered yet: {question['name']}")
        self.question = question


# Why an attempt is over before its handler is. What the handler raises then is not reported as a
# failure; what it returns is reported, unless the attempt does not count any more.


class Ended(Exception):
    """Nobody waits for what the handler does any more."""


class Canceled(Ended):
    """The end of the request was asked for."""


class Expired(Ended):
    """The request's time has run out."""


class Lost(Ended):
    """The attempt does not count any more: it was silent for too long, or somebody else has taken
    over, or the request has ended otherwise."""


class Shutdown(Ended):
    """The worker is being stopped, and its time to drain is over. The work goes back."""


class WorkerError(Exception):
    """The gateway will not have this worker; the text says why."""


class WorkerSuperseded(WorkerError):
    """Another worker has called by the same name, so this one is taken for gone."""


class Result:
    """A result of any media type. Text is sent as UTF-8, which its media type should say."""

    def __init__(self, body: bytes | bytearray | memoryview | str, content_type: str) -> None:
        if not content_type.isascii() or not content_type.isprintable():
            raise ValueError(f"not a media type: {content_type!r}")
        self.body = body.encode() if isinstance(body, str) else bytes(body)
        self.content_type = content_type


class Job:
    """One attempt at one request. The attributes are for reading; the methods may be called by
    several threads."""

    def __init__(self, worker: Worker, work: Mapping[str, Any]) -> None:
        self.id: str = work["id"]  # the request's: the same for every attempt
        self.life: str = work["life"]
        self.attempt: int = work["attempt"]  # from 1
        self.route: str = work["route"]
        self.topic: str | None = work.get("topic")
        self.priority: int = work.get("priority", 0)
        self.caller: str = work["caller"]  # who submitted it
        self.created_at = _time(work["createdAt"])
        self.deadline = _time(work["deadline"])  # by the gateway's clock, as of the start
        self.headers: Mapping[str, str] = work.get("headers") or {}
        self.call: Mapping[str, Any] | None = work.get("call")  # that the request was made from
        self.content_type: str = work.get("contentType", "")
        # JSON as it is in Python, bytes of any other type, None if there is no content.
        self.content: Any = work.get("content")
        if "contentBase64" in work:
            self.content = base64.b64decode(work["contentBase64"])
        self.answers: Mapping[str, Any] = work.get("answers") or {}  # by the names of the questions

        self._worker = worker
        self._mutex = threading.Lock()  # of what follows
        self._why: tuple[type[Ended], str] | None = None
        self._told: list[Callable[[], object]] = []
        self._unsent: dict[str, Any] = {}  # progress that the gateway does not know yet
        self._due = time.monotonic()  # when the gateway is to hear of this attempt
        self._asked = 0  # questions without a name
        self._not_before = 0.0  # it is not told of progress: it was away just now
        self._misses = 0
        self._sending = threading.Lock()  # held around a call, which keeps progress in order
        self._over = threading.Event()  # the attempt is over, for whatever reason
        self._done = threading.Event()  # the handler has ended

    def header(self, name: str) -> str:
        """A header of the submission by its name in any case, "" if it is not there."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), "")

    def progress(
        self, *, step: str | None = None, percent: float | None = None, message: str | None = None
    ) -> None:
        """Tells followers how far the work is. What is not given keeps its value. While the gateway
        is away this returns all the same, and the newest of each is told when it is back. Raises
        an Ended if the attempt is over."""
        fields: dict[str, Any] = {}
        if step is not None:
            fields["step"] = _clip(step, 200)
        if percent is not None and not math.isnan(percent):  # 0 of 0 is done: nothing to say
            fields["percent"] = min(max(percent, 0), 100)
        if message is not None:
            fields["message"] = _clip(message, 2000)
        self._tell(fields)

    def ask(
        self, message: str, *, name: str | None = None, schema: Mapping[str, Any] | None = None,
        default: Any = ..., timeout: float | None = None,
    ) -> Any:
        """The answer to a question, or raises Asked, which the handler lets through: then the
        question is asked, the request waits, and this worker is free. With the answer the handler
        is called again from its beginning, for the same attempt, here or elsewhere, and this
        returns it. So what stands before a question runs at least twice.

        ``name`` tells it from others of its request; those without one are named by the order in
        which they are asked. ``schema`` is a JSON Schema for whoever answers; the answer is any
        JSON all the same. Without an answer within ``timeout`` seconds, an hour if the gateway
        does not say otherwise, the request goes on with ``default``, or fails if there is none."""
        if name is None:
            with self._mutex:
                self._asked += 1
                name = "question" if self._asked == 1 else f"question-{self._asked}"
        if name in self.answers:
            return self.answers[name]
        question: dict[str, Any] = {"name": name, "message": message}
        if schema is not None:
            question["schema"] = schema
        if default is not ...:
            question["default"] = default
        if timeout is not None:
            question["timeout"] = _duration(timeout)
        raise Asked(question)

    def extend(self, seconds: float) -> None:
        """Lets the request's time run out so many seconds from now, within the gateway's bound."""
        self._tell({"timeout": _duration(seconds)})

    @property
    def ended(self) -> Ended | None:
        """Why the attempt is over although its handler runs, or None."""
        with self._mutex:
            return self._why and self._why[0](self._why[1])

    def check(self) -> None:
        """Raises an Ended if the attempt is over."""
        why = self.ended
        if why:
            raise why

    def wait(self, seconds: float) -> None:
        """Sleeps, or raises an Ended as soon as the attempt is over."""
        self._over.wait(seconds)
        self.check()

    def on_end(self, call: Callable[[], object]) -> None:
        """Has something called when the attempt is over while the handler runs, once and in another
        thread: to end a child process, or to close what the handler reads."""
        with self._mutex:
            if not self._why:
                self._told.append(call)
                return
        call()

    def _tell(self, fields: Mapping[str, Any]) -> None:
        self.check()
        with self._mutex:
            self._unsent.update(fields)
            later = time.monotonic() < self._not_before
        if not later:
            self._flush()
            self.check()

    def _flush(self) -> None:
        """Tells the gateway what it does not know, and that the attempt is alive, too."""
        with self._sending:
            with self._mutex:
                fields, self._unsent = self._unsent, {}
            try:
                answer = self._send("POST", "progress", _json(fields), "application/json")
            except _Away as away:
                with self._mutex:
                    self._unsent = {**fields, **self._unsent}
                    self._misses += 1
                    pause = _pause(self._misses, away.retry_after)
                    self._not_before = time.monotonic() + pause
                    self._due = time.monotonic() + min(pause, self._worker.heartbeat)
                log.warning("progress of %s has to wait: %s", self.id, away)
                return
            except Ended as why:
                self._end(type(why), str(why))
            except _Refused as refused:  # it is not worth the work
                log.error("progress of %s was refused: %s", self.id, refused)
            else:
                if answer.json().get("cancel"):
                    self._end(Canceled, "The request was canceled.")
            with self._mutex:
                self._misses, self._not_before = 0, 0.0
                self._due = time.monotonic() + self._worker.heartbeat

    def _renew(self) -> None:
        """Keeps the lease until the handler has ended."""
        while True:
            with self._mutex:
                due = self._due
            if self._done.wait(max(due - time.monotonic(), 0)):
                return
            with self._mutex:
                if self._why and self._why[0] in (Lost, Expired):
                    return
                due = self._due
            if due <= time.monotonic():
                self._flush()

    def _end(self, why: type[Ended], text: str) -> None:
        with self._mutex:
            # Lost is the last word: a request may be lost after it was canceled.
            if self._why and (why is not Lost or self._why[0] is Lost):
                return
            self._why, told, self._told = (why, text), self._told, []
        log.info("attempt %d at %s is over: %s", self.attempt, self.id, text)
        self._over.set()
        for call in told:
            try:
                call()
            except Exception:
                log.exception("on_end of %s", self.id)

    def _send(self, method: str, what: str, body: bytes | None, content_type: str) -> _Answer:
        """Makes one call about this attempt: all that is reported goes this way."""
        fence = urllib.parse.urlencode({"attempt": self.attempt, "life": self.life})
        path = f"/v1/work/{urllib.parse.quote(self.id, safe='')}/{what}?{fence}"
        answer = self._worker._gateway.call(method, path, body, content_type)
        if answer.status == 200:
            return answer
        problem = answer.problem()
        if answer.status == 409 or problem.get("type") == "/problems/request-not-found":
            status = problem.get("requestStatus")
            kind = {"canceled": Canceled, "expired": Expired}.get(status, Lost)
            raise kind(problem.get("detail") or "The attempt does not count any more.")
        raise answer.error()


class Worker:
    """Takes work of a gateway and has handlers do it.

    url          the gateway's; else HARK_URL, else http://127.0.0.1:8080
    key          an API key or token of the role processor, or what returns one for each call; else
                 HARK_KEY
    name         of this worker, which it keeps when it is started again: so it gets back at once
                 what it had when it was killed. Workers that run at the same time need names of
                 their own. Without one, what a killed worker had comes back after ``lease``.
    concurrency  how many handlers run at a time, 1 to 100
    lease        seconds that an attempt may be silent, 1 to 3600
    heartbeat    seconds between two signs of life, which tell of a cancellation, too; a third of
                 the lease. Each is an event of the request.
    wait         seconds that a call waits for work, within the gateway's bound
    drain        seconds that handlers get to end when the worker is stopped
    grace        seconds that they get once more after they were told
    context      how servers are proven, with https
    """

    def __init__(
        self, url: str | None = None, *, key: str | Callable[[], str] | None = None,
        name: str | None = None, concurrency: int = 8, lease: float = 60,
        heartbeat: float | None = None, wait: float = 20, drain: float = 30, grace: float = 5,
        context: ssl.SSLContext | None = None,
    ) -> None:
        if not 1 <= concurrency <= 100:
            raise ValueError("concurrency must be from 1 to 100")
        if not 1 <= lease <= 3600:
            raise ValueError("lease must be from 1 to 3600 seconds")
        self.heartbeat = lease / 3 if heartbeat is None else heartbeat
        if not 0 < self.heartbeat < lease:
            raise ValueError("heartbeat must be shorter than the lease")
        self.url = url or os.environ.get("HARK_URL") or "http://127.0.0.1:8080"
        # A call that gets no answer is made again while the lease still holds.
        self._gateway = _Gateway(
            self.url, key or os.environ.get("HARK_KEY"), context, min(30, max(1, lease / 3))
        )
        self.name, self.concurrency = name, concurrency
        self._lease, self._wait, self._drain, self._grace = lease, wait, drain, grace
        self._session = uuid.uuid4().hex
        self._line = _Line(self._gateway)  # on which work comes
        self._handlers: dict[str, Callable[[Job], Any]] = {}
        self._running: set[Job] = set()
        self._changed = threading.Condition()  # of what runs
        self._stopping = threading.Event()  # nothing more is begun
        self._ending = threading.Event()  # nothing more is reported
        # SimpleQueue.put may be called by a signal handler, whatever it has interrupted.
        self._events: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def handle(self, route: str) -> Callable[[_Handler], _Handler]:
        """Makes the function behind it the handler of a route."""

        def register(handler: _Handler) -> _Handler:
            self._handlers[route] = handler
            return handler

        return register

    def stop(self) -> None:
        """Has run() drain and return. It may be called by any thread, and by signal handlers."""
        self._events.put(None)

    def run(self) -> None:
        """Works until stop() is called or, in the main thread, until SIGTERM or SIGINT, of which a
        second one ends the process at once. Then what has begun ends, and what was leased and not
        begun is handed back. A worker runs once.

        Raises WorkerSuperseded if another worker has called by the same name, and WorkerError if
        the gateway will not have this one; what is running ends before that, too."""
        if not self._handlers:
            raise WorkerError("there is no handler: make a function one by @worker.handle(route)")
        before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                before[number] = signal.signal(number, lambda *_: self.stop())
        leaser = threading.Thread(target=self._take, name="hark-lease", daemon=True)
        error = None
        try:
            leaser.start()
            log.info("working on %s for %s", ", ".join(self._handlers), self.url)
            while True:
                try:
                    # With a time, because Windows tells no signal to a thread that waits for ever.
                    error = self._events.get(timeout=1)
                    break
                except queue.Empty:
                    pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)
        self._end(leaser, error)
        if error:
            raise error

    def _end(self, leaser: threading.Thread, error: Exception | None) -> None:
        self._stopping.set()
        log.info("draining")
        with self._changed:
            self._changed.notify_all()
        self._line.hang_up()
        leaser.join(2)
        self._line.cut()
        drain: float = self._drain
        if isinstance(error, WorkerSuperseded):
            for job in self._jobs():
                job._end(Lost, str(error))
            drain = 0
        if not self._idle(drain):
            for job in self._jobs():
                job._end(Shutdown, "The worker is being stopped.")
            self._idle(self._grace)
        self._ending.set()
        for job in self._jobs():
            log.error("the handler of %s does not end, and is left behind", job.id)
            self._release(job, 0)
        leaser.join(self._grace)  # which hands back what it got last
        if not leaser.is_alive():
            self._line.close()
        self._gateway.close()

    def _jobs(self) -> list[Job]:
        with self._changed:
            return list(self._running)

    def _idle(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def _take(self) -> None:
        """Leases work and begins it, in a thread of its own."""
        misses = hasty = 0
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: len(self._running) < self.concurrency or self._stopping.is_set()
                    )
                    free = self.concurrency - len(self._running)
                if self._stopping.is_set():
                    return
                began = time.monotonic()
                try:
                    work = self._leased(free)
                except _Away as away:
                    if self._stopping.is_set():
                        return
                    misses += 1
                    pause = _pause(misses, away.retry_after)
                    log.warning("no work can be had, trying again in %.1f s: %s", pause, away)
                    self._stopping.wait(pause)
                    continue
                misses = 0
                for job in work:
                    self._begin(job)
                # A gateway that drains, and one that watches what others hold, answers at once.
                hasty = 0 if work or time.monotonic() - began > 1 else hasty + 1
                if hasty:
                    self._stopping.wait(_pause(hasty, None, most=0.5))
        except Exception as error:  # a mistake of this module is one, too
            self._events.put(error)

    def _leased(self, most: int) -> list[Job]:
        order: dict[str, Any] = {
            "routes": list(self._handlers), "max": most,
            "wait": _duration(self._wait), "lease": _duration(self._lease),
        }
        if self.name is not None:
            order.update(worker=self.name, session=self._session)
        answer = self._line.call(
            "POST", "/v1/work/lease", _json(order), "application/json", self._wait + 15
        )
        if answer.status == 200:
            return [Job(self, work) for work in answer.json()["work"]]
        problem = answer.problem()
        if problem.get("type") == "/problems/worker-superseded":
            raise WorkerSuperseded(f"worker {self.name}: {problem.get('detail')}")
        error = answer.error()
        if isinstance(error, _Refused):
            raise WorkerError(f"{self.url} refuses this worker: {error}")
        raise error

    def _begin(self, job: Job) -> None:
        if self._stopping.is_set():
            self._release(job, 0)
            return
        with self._changed:
            self._running.add(job)
        try:
            threading.Thread(
                target=self._work, args=(job,), name=f"hark-{job.id}", daemon=True
            ).start()
        except RuntimeError as error:  # there are too many threads
            with self._changed:
                self._running.discard(job)
            log.error("%s cannot be begun: %s", job.id, error)
            self._release(job, 5)

    def _release(self, job: Job, seconds: float) -> None:
        """Hands an attempt back once; if that cannot be told, its lease runs out."""
        try:
            job._send(*_release(seconds))
        except (_Away, _Refused, Ended) as error:
            log.warning("%s could not be handed back: %s", job.id, error)

    def _work(self, job: Job) -> None:
        """The whole life of an attempt, in a thread of its own."""
        # Known before the handler runs, so that it has a lease in any case.
        with job._mutex:
            job._due = time.monotonic() + self.heartbeat
        try:
            renewing = threading.Thread(target=job._renew, name=f"hark-lease-{job.id}", daemon=True)
            renewing.start()
        except RuntimeError as error:
            report: _Report | None = _release(5)
            log.error("%s cannot be begun: %s", job.id, error)
        else:
            try:
                report = _success(self._handlers[job.route](job))
            except BaseException as error:  # SystemExit ends a thread without a word
                try:
                    report = _failure(job, error)
                except Exception as wrong:  # it was raised with what cannot be told
                    report = _error("error", _PLAIN, repr(wrong))
            job._done.set()
            renewing.join()
        ended = job.ended
        if isinstance(ended, (Lost, Expired)):
            report = None
        if report:
            with job._mutex:
                unsent = job._unsent
            if unsent:
                job._flush()
            self._settle(job, report)
        with self._changed:
            self._running.discard(job)
            self._changed.notify_all()

    def _settle(self, job: Job, report: _Report) -> None:
        """Reports how an attempt has ended, as often as it takes: saying it twice does no harm."""
        for tries in itertools.count(1):
            try:
                job._send(*report)
                return
            except Ended as why:
                log.info("the end of attempt %d at %s is not wanted: %s", job.attempt, job.id, why)
                return
            except _Refused as refused:
                log.error("the end of %s was refused: %s", job.id, refused)
                if report.what == "error":
                    return  # the lease runs out
                code, message = _REFUSED.get(report.what, _REFUSED["result"])
                report = _error(code, message, str(refused), retry=False)
            except _Away as away:
                pause = _pause(tries, away.retry_after)
                log.warning(
                    "the end of %s cannot be told, trying again in %.1f s: %s", job.id, pause, away
                )
                if self._ending.wait(pause) or away.status == 500 and tries >= 5:
                    return


_Handler = TypeVar("_Handler", bound=Callable[[Job], Any])

_PLAIN = "The work could not be done."

# The code and the message of what the gateway does not take, by what it is.
_REFUSED = {
    "result": ("result-refused", "The result could not be stored."),
    "question": ("bad-question", "The request cannot ask what it needs to know."),
}


class _Report(NamedTuple):
    """A call that ends an attempt."""

    method: str
    what: str
    body: Union[bytes, None]
    content_type: str


def _success(result: Any) -> _Report:
    if result is None:
        return _Report("POST", "complete", None, "")
    if isinstance(result, (bytes, bytearray, memoryview)):
        result = Result(result, "application/octet-stream")
    if not isinstance(result, Result):
        result = Result(_json(result), "application/json")
    return _Report("PUT", "result", result.body, result.content_type)


def _failure(job: Job, error: BaseException) -> _Report:
    """The report of what a handler has raised, unless that was because the attempt is over."""
    ended = job.ended
    if isinstance(ended, Canceled):
        return _error("canceled", "The request was canceled.", retry=False)
    if isinstance(error, Asked):
        return _Report("PUT", "question", _json(error.question), "application/json")
    if isinstance(ended, Shutdown):
        return _release(0)
    if isinstance(error, Snooze):
        return _release(error.seconds)
    if isinstance(error, Fail):
        return _error(error.code, error.message, error.detail or _cause(error), retry=False)
    if isinstance(error, Retry):
        return _error(error.code, error.message, _cause(error), after=error.after)
    log.error("the handler of %s failed", job.id, exc_info=error)
    stack = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return _error("error", _PLAIN, f"{type(error).__name__}: {error}", stack)


def _cause(error: BaseException) -> str:
    return str(error.__cause__) if error.__cause__ else ""


def _error(
    code: str, message: str, detail: str = "", trace: str = "", *,
    retry: bool = True, after: float | None = None,
) -> _Report:
    report: dict[str, Any] = {
        "code": _clip(code, 100), "message": _clip(message, 2000) or _PLAIN,
        "detail": _clip(detail, 8000), "trace": _clip(trace[-60000:], 64000), "retry": retry,
    }
    if after is not None:
        report["retryAfter"] = _later(after)
    return _Report("PUT", "error", _json(report), "application/json")


def _release(seconds: float) -> _Report:
    report = {"retryAfter": _later(seconds)} if seconds > 0 else {}
    return _Report("POST", "release", _json(report), "application/json")


# How the gateway is called.


class _Away(Exception):
    """The call may succeed when it is made again."""

    def __init__(self, text: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status, self.retry_after = status, retry_after


class _Refused(Exception):
    """The call would be refused again."""


class _Answer(NamedTuple):
    status: int
    body: bytes
    retry_after: Union[float, None]
    location: str

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise _Away(f"an answer that is no JSON: {self.body[:200]!r}") from None

    def problem(self) -> Mapping[str, Any]:
        """What the answer says is wrong (RFC 9457); nothing if somebody else has answered."""
        try:
            problem = json.loads(self.body)
        except ValueError:
            return {}
        return problem if isinstance(problem, dict) else {}

    def error(self) -> _Away | _Refused:
        problem = self.problem()
        text = f"{self.status} {problem.get('title', '')}: {problem.get('detail', '')}".strip(": ")
        for wrong in problem.get("errors", []):
            text += f" {wrong.get('pointer')}: {wrong.get('detail')}."
        if self.location:
            text += f", it is at {self.location}"
        if self.status in (408, 425, 429, 500, 502, 503, 504):
            return _Away(text, self.status, self.retry_after)
        return _Refused(text)


class _Gateway:
    """Where the gateway is. Connections are kept between calls."""

    def __init__(
        self, url: str, key: str | Callable[[], str] | None, context: ssl.SSLContext | None,
        timeout: float,
    ) -> None:
        at = urllib.parse.urlsplit(url)
        if at.scheme not in ("http", "https") or not at.hostname:
            raise ValueError(f"the URL of a gateway is like https://push.example.org, not {url!r}")
        self._at, self._key, self._timeout = at, key, timeout
        self._context = context or (ssl.create_default_context() if at.scheme == "https" else None)
        self._lines: list[_Line] = []  # nobody uses them now; list.pop and append are atomic
        self.base = at.path.rstrip("/")

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        host = self._at.hostname or ""
        if self._context:
            return http.client.HTTPSConnection(
                host, self._at.port, timeout=timeout, context=self._context
            )
        return http.client.HTTPConnection(host, self._at.port, timeout=timeout)

    def headers(self, content_type: str) -> dict[str, str]:
        fields = {"Accept": "application/json", "User-Agent": "hark-worker-python"}
        key = self._key() if callable(self._key) else self._key
        if key:
            fields["Authorization"] = f"Bearer {key}"
        if content_type:
            fields["Content-Type"] = content_type
        return fields

    def call(self, method: str, path: str, body: bytes | None, content_type: str) -> _Answer:
        try:
            line = self._lines.pop()
        except IndexError:
            line = _Line(self)
        answer = line.call(method, path, body, content_type, self._timeout)
        self._lines.append(line)
        return answer

    def close(self) -> None:
        """Closes what nobody uses now."""
        while self._lines:
            self._lines.pop().close()


class _Line:
    """One connection, for one call at a time. hang_up and cut may be called beside that."""

    def __init__(self, gateway: _Gateway) -> None:
        self._gateway = gateway
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def call(
        self, method: str, path: str, body: bytes | None, content_type: str, timeout: float
    ) -> _Answer:
        """Raises an _Away if there is no answer."""
        try:
            headers = self._gateway.headers(content_type)
        except Exception as error:  # of whoever makes the keys
            raise _Away(f"there is no key: {error!r}") from error
        path = self._gateway.base + path
        try:
            if self._connection:
                try:
                    return self._exchange(self._connection, method, path, body, headers, timeout)
                except socket.timeout:
                    raise
                except (OSError, http.client.HTTPException):
                    # The other side may have closed in that moment what was kept. All that a worker
                    # says may be said twice.
                    self.close()
            if self._closed:
                raise OSError("the worker is being stopped")
            connection = self._gateway.connection(min(timeout, 10))
            connection.connect()
            self._connection = connection
            if self._closed:  # while nobody saw the connection
                raise OSError("the worker is being stopped")
            return self._exchange(connection, method, path, body, headers, timeout)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _Away(f"{type(error).__name__}: {error}") from error

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None,
        headers: Mapping[str, str], timeout: float,
    ) -> _Answer:
        connection.sock.settimeout(timeout)
        whole = True
        try:
            connection.request(method, path, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            # A body that is too large is refused by its head: the answer may be there.
            whole = False
        response = connection.getresponse()
        data = response.read()
        if response.will_close or not whole:
            self.close()
        return _Answer(
            response.status, data, _seconds(response.getheader("Retry-After")),
            response.getheader("Location") or "",
        )

    def close(self) -> None:
        """Closes the connection; the next call makes another one."""
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def hang_up(self) -> None:
        """Says that nothing more is asked. The gateway ends a call that waits, and says whether it
        had something for it, which what waits here still reads."""
        self._closed = True
        self._shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Ends what waits here."""
        self._closed = True
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how: int) -> None:
        connection = self._connection
        sock = connection.sock if connection else None
        if sock:
            try:
                # That of an SSLSocket gives up reading, too.
                socket.socket.shutdown(sock, how)
            except OSError:
                pass  # it is closed


def _seconds(retry_after: str | None) -> float | None:
    """Reads a Retry-After (RFC 9110, section 10.2.3)."""
    if not retry_after:
        return None
    try:
        return float(int(retry_after))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(retry_after)
        return max((at - datetime.now(timezone.utc)).total_seconds(), 0)
    except (TypeError, ValueError):
        return None


def _pause(tries: int, retry_after: float | None, most: float = 15) -> float:
    """How long to wait before a call is made again: what the gateway says, or longer from time to
    time; with jitter, so that what failed together does not come back together."""
    if retry_after is not None:
        return min(max(retry_after, 0.2), 300) * (1 + 0.2 * random.random())
    return min(0.2 * 2 ** min(tries - 1, 20), most) * (0.8 + 0.4 * random.random())


def _duration(seconds: float) -> str:
    return f"{max(math.ceil(seconds * 1000), 1)}ms"


def _later(seconds: float) -> str:
    return _duration(min(seconds, 86400))  # within what a gateway takes


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _clip(text: object, most: int) -> str:
    return str(text).encode("utf-8", "replace").decode()[:most]
