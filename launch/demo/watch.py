"""Shows the cluster of the demo until something has happened: watch.py SAMPLES half|all SECONDS.

Draws what sample.py writes: in place on a terminal, twice a minute elsewhere. Ends with exit code 0
when half of all steps are done, or all jobs; with 1 and a reason when a job has failed, when nothing
is sampled any more, or after SECONDS."""

import json
import sys
import time

from picture import Paint, picture_of

SILENCE_SECONDS = 60
PLAIN_PAUSE_SECONDS = 30
LOST = {"FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}


def is_over(until: str, jobs: list) -> bool:
    if until == "all":
        return all(job["state"] == "COMPLETED" for job in jobs)
    done = sum(job.get("units_done", 0) for job in jobs)
    return 2 * done >= sum(job.get("units", 0) for job in jobs)


def trouble(jobs: list) -> str:
    lost = [job for job in jobs if job["state"] in LOST]
    return ", ".join(f"job {job['job']} ({job['name']}) is {job['state']}" for job in lost)


def draw(samples: list, began: float, is_terminal: bool) -> None:
    lines = picture_of(samples, began, Paint(is_terminal))
    if is_terminal:  # each line is cleared to its end, so that nothing flickers
        print("\033[H" + "".join(f"{line}\033[K\n" for line in lines) + "\033[J", end="", flush=True)
    else:
        print("\n".join(lines) + "\n", flush=True)


def watch(path: str, until: str, seconds: float) -> str:
    """"" or what went wrong."""
    is_terminal = sys.stdout.isatty()
    deadline, drawn = time.time() + seconds, 0.0
    if is_terminal:
        print("\033[2J", end="")
    while True:
        with open(path) as lines:
            samples = [json.loads(line) for line in lines if line.endswith("\n")]
        now, newest = time.time(), samples[-1] if samples else {"time": 0, "jobs": []}
        wrong = trouble(newest["jobs"])
        over = bool(newest["jobs"]) and is_over(until, newest["jobs"])
        if samples and (is_terminal or over or wrong or now >= drawn + PLAIN_PAUSE_SECONDS):
            draw(samples, samples[0]["time"], is_terminal)
            drawn = now
        if wrong or over:
            return wrong
        if now > deadline:
            return f"after {seconds:.0f} s it is not over"
        if samples and now > newest["time"] + SILENCE_SECONDS:
            return f"for {SILENCE_SECONDS} s nothing was heard of the cluster"
        time.sleep(0.5)


def main() -> None:
    path, until, seconds = sys.argv[1:]
    wrong = watch(path, until, float(seconds))
    if wrong:
        print(wrong, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
