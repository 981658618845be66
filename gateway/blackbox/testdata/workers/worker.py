"""What the tests of hark_worker.py run: it does what the content says, and prints what happens."""

import json
import logging
import os
import sys
import time

from hark_worker import Ended, Fail, Job, Result, Retry, Snooze, Worker, WorkerError

logging.basicConfig(level=logging.INFO, format="%(message)s")
released = os.environ["WORKER_RELEASED"]  # a file: when it is there, what holds ends
worker = Worker(**json.loads(os.environ["WORKER_OPTIONS"]))


def say(*words: object) -> None:
    # In one piece, since handlers run beside each other.
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


@worker.handle(os.environ.get("WORKER_ROUTE", "default"))
def do(job: Job) -> object:
    say("began", job.id, job.attempt)
    order = job.content if isinstance(job.content, dict) else {}
    what = order.get("do")
    first = job.attempt == 1
    if what == "echo":
        return order["value"]
    if what == "nothing":
        return None
    if what == "bytes":
        return b"\x00\xff"
    if what == "typed":
        return Result("größer", "text/x-test; charset=utf-8")
    if what == "large":
        return Result(bytes(order["bytes"]), "application/octet-stream")
    if what == "about":
        return {
            "route": job.route, "topic": job.topic, "priority": job.priority, "caller": job.caller,
            "request": job.header("x-request-id"), "left": (job.deadline - job.created_at).total_seconds(),
        }
    if what == "fail":
        raise Fail("bad", "It cannot be done.") from ValueError("because")
    if what == "retry" and first:
        raise Retry("Not yet.", after=0.01, code="early")
    if what == "break" and first:
        raise ValueError("broken")
    if what == "unfit" and first:
        return {"set": {1, 2}}
    if what == "snooze" and first:
        raise Snooze(0.01)
    if what == "ask":
        more = {key: order[key] for key in ("name", "schema", "default", "timeout") if key in order}
        return [job.ask(order["message"], **more), job.ask("And then?")]
    if what == "tell":
        job.progress(step="one", percent=10)
        job.progress(message="half of it", percent=50)
        job.extend(7200)
    if what == "hold":
        try:
            while not os.path.exists(released):
                job.wait(0.01)
        except Ended as why:
            say("over", job.id, type(why).__name__.lower())
            raise
    if what == "ignore":
        job.on_end(lambda: say("over", job.id, type(job.ended).__name__.lower()))
        while not os.path.exists(released):
            time.sleep(0.01)
    if isinstance(job.content, bytes):
        return Result(job.content[::-1], job.content_type)
    return job.attempt


try:
    worker.run()
except WorkerError as error:
    say(type(error).__name__, error)
    sys.exit(1)
say("ended")
