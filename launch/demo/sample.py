"""One line for samples.jsonl of the demo: the time, the cap with what is under it, and the jobs."""

import json
import sys
import time

cap, jobs = (json.load(open(path)) for path in sys.argv[1:3])
print(json.dumps({
    "time": time.time(),
    "hard_watts": cap["hard_watts"],
    "limit_watts": cap["limit_watts"],
    "watts": cap["watts"],
    "running": {job["job"]: job["nodes"] for job in jobs if job["state"] == "RUNNING"},
}))
