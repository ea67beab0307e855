"""Looks at the cluster of the demo once a second: sample.py SAMPLES COMMAND... appends a line to
SAMPLES with the time, the cap with what is under it, and the jobs, as `COMMAND cap show --json` and
`COMMAND queue --all --json` have them."""

import json
import subprocess
import sys
import time

PAUSE_SECONDS = 1


def ask(command: list, *words: str):
    return json.loads(subprocess.run([*command, *words, "--json"], check=True,
                                     stdout=subprocess.PIPE, text=True).stdout)


def sample(command: list) -> dict:
    cap, jobs = ask(command, "cap", "show"), ask(command, "queue", "--all")
    return {
        "time": time.time(),
        "hard_watts": cap["hard_watts"],
        "limit_watts": cap["limit_watts"],
        "watts": cap["watts"],
        "running": {job["job"]: job["nodes"] for job in jobs if job["state"] == "RUNNING"},
        "jobs": jobs,
    }


def main() -> None:
    path, *command = sys.argv[1:]
    with open(path, "a") as samples:
        while True:
            print(json.dumps(sample(command)), file=samples, flush=True)
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
