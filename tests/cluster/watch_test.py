"""What is seen of the demo: the picture of the cluster, and when watching it ends."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import time
import unittest

from cluster import ROOT

sys.path.insert(0, str(ROOT / "launch" / "demo"))
from picture import CHART_COLUMNS, Paint, picture_of  # noqa: E402
from watch import watch  # noqa: E402


def job(number: int, state: str = "RUNNING", done: float = 0, **more) -> dict:
    return {"job": number, "name": f"job{number}", "tenant": "team-a", "state": state,
            "units_done": done, "units": 100, "nodes": ["node-1"]} | more


def sample(time: float, cap: float, planned: float, drawn: float, jobs=()) -> dict:
    return {"time": time, "hard_watts": cap, "limit_watts": planned, "watts": drawn,
            "jobs": list(jobs)}


class PictureTest(unittest.TestCase):
    def columns(self, samples: list) -> list:
        """The chart's columns, from the lowest row up."""
        lines = picture_of(samples, samples[0]["time"], Paint(False))
        rows = [line.split("│")[1] for line in lines if "│" in line]
        return ["".join(row[i] for row in reversed(rows)) for i in range(len(rows[0]))]

    def test_watts_stand_below_the_cap(self):
        self.assertEqual(self.columns([sample(0, 160, 120, 80), sample(1, 80, 80, 40)]),
                         ["████░░ ▔", "██░▔    "])

    def test_a_long_run_fits_and_ends_with_the_newest(self):
        samples = [sample(i, 160, 0, 0) for i in range(500)] + [sample(500, 160, 160, 160)]
        columns = self.columns(samples)
        self.assertEqual(len(columns), CHART_COLUMNS)
        self.assertEqual(columns[-1], "███████▔")

    def test_jobs_say_where_they_are_or_why_not(self):
        jobs = [job(1, done=50, limit_watts=20, ranks=2, watts=33, nodes=["node-1", "node-3"]),
                job(2, "PENDING", reason="PowerCap", nodes=[])]
        *_, running, waiting = picture_of([sample(0, 100, 50, 50, jobs)], 0, Paint(False))
        for words in ("50 %", "33 of  40 W", "node-1 node-3", "█" * 10 + "░" * 10):
            self.assertIn(words, running)
        self.assertIn("PowerCap", waiting)

    def test_no_colours_where_there_is_no_terminal(self):
        text = "".join(picture_of([sample(0, 100, 50, 50, [job(1)])], 0, Paint(False)))
        self.assertNotIn("\033", text)


class WatchTest(unittest.TestCase):
    def watch(self, until: str, *jobs: dict, seconds: float = 60, age: float = 0) -> str:
        """What watching says, and the test fails if it would go on."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "samples.jsonl"
            path.write_text(json.dumps(sample(time.time() - age, 100, 50, 50, jobs)) + "\n{\"torn")
            with contextlib.redirect_stdout(io.StringIO()):
                return watch(str(path), until, seconds)

    def test_ends_at_half_of_all_steps(self):
        self.assertEqual(self.watch("half", job(1, done=100), job(2)), "")
        self.assertIn("not over", self.watch("half", job(1, done=99), job(2), seconds=0))

    def test_ends_when_all_are_completed(self):
        self.assertEqual(self.watch("all", job(1, "COMPLETED")), "")
        self.assertIn("not over", self.watch("all", job(1, "COMPLETED"), job(2), seconds=0))

    def test_ends_at_once_when_a_job_has_failed(self):
        self.assertIn("job 2 (job2) is FAILED", self.watch("all", job(1), job(2, "FAILED")))

    def test_ends_when_nothing_is_heard(self):
        self.assertIn("nothing was heard", self.watch("all", job(1), age=100))


if __name__ == "__main__":
    unittest.main()
