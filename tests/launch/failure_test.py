"""A run that fails ends soon, on every rank, and says why."""

import os
import signal
import subprocess
import time
import unittest

from wattle_runs import RunTest

ENDLESS = ["train.steps=1000000", "checkpoint.every=0"]

# A disk that has no room left when a checkpoint is to get its name.
NO_NAMES = """#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
int rename(const char* from, const char* to) {
  if (strstr(to, "/checkpoints/step-")) return errno = ENOSPC, -1;
  return ((int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename"))(from, to);
}
"""


def wattle_lines(output: str) -> list:
    """What Wattle printed, without the banners of mpirun."""
    lines, in_banner = [], False
    for line in output.splitlines():
        if line.startswith("-" * 20):
            in_banner = not in_banner
        elif line.startswith("wattle:") or not (in_banner or not line or "ORTE_ERROR_LOG" in line):
            lines.append(line)
    return lines


class FailureTest(RunTest):
    def kill_rank(self, victim: int, ranks: int, moment: str):
        config = self.text_config("run")
        process = self.start(config, ranks, overrides=ENDLESS)
        if moment == "training":
            self.wait_for_step("run", 3)
        else:
            self.wait_for_file("run/resolved.yaml")
        pid = self.ranks_of(process)[victim]
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        output, _ = process.communicate(timeout=30)
        self.assertLess(time.monotonic() - killed, 10)
        self.assertNotEqual(process.returncode, 0)
        cause = f"rank {victim} (process {pid}) ended unexpectedly"
        self.assertIn(cause, wattle_lines(output)[-1])
        self.assertEqual(output.count("ended unexpectedly"), 1, output)
        self.assertIn(cause, self.error_json("run")["message"])
        self.assertEqual(self.error_json("run")["exit_code"], 1)
        return config

    def test_a_killed_rank_ends_the_job_and_is_named(self):
        self.kill_rank(victim=1, ranks=2, moment="training")

    def test_a_killed_first_rank_ends_the_job_and_is_named(self):
        config = self.kill_rank(victim=0, ranks=3, moment="training")
        self.train(config, ranks=2)  # nothing is in the way of the next attempt
        self.assertFalse((self.folder / "run" / "error.json").exists())

    def test_a_rank_killed_while_it_starts_ends_the_job(self):
        self.kill_rank(victim=1, ranks=2, moment="start")

    def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step(self):
        config = self.text_config(optimizer="{name: sgd, lr: 1.0e+30}")
        done = self.train(config, ranks=2, expect=1)
        self.assertRegex(wattle_lines(done.stderr)[-1],
                         r"step 2: loss .*, gradient norm .*: not finite; the update was not made")
        self.assertIn("step 2: loss", self.error_json("run")["message"])
        self.assertEqual([r["step"] for r in self.train_metrics("run")], [1])
        self.assertEqual(done.stderr.count("not finite"), 1)  # one rank speaks

    def test_steps_that_are_not_finite_can_be_skipped(self):
        config = self.text_config(optimizer="{name: sgd, lr: 1.0e+30}")
        done = self.train(config, ranks=2, overrides=["train.on_non_finite=skip"])
        steps = self.train_metrics("run")
        self.assertEqual([r.get("skipped", False) for r in steps], [False] + [True] * 5)
        self.assertEqual(done.stderr.count("not finite; the update is left out"), 5)

    def test_too_many_skipped_steps_are_an_error(self):
        config = self.text_config(optimizer="{name: sgd, lr: 1.0e+30}")
        done = self.train(config, ranks=2, expect=1, overrides=[
            "train.on_non_finite=skip", "train.max_skipped_steps=2"])
        self.assertRegex(wattle_lines(done.stderr)[-1], r"step 4: .*: not finite, as in 2 steps before")
        self.assertEqual(self.train_metrics("run")[-1]["step"], 3)

    def test_a_last_checkpoint_that_gets_no_name_is_an_error(self):
        shim = self.folder / "no_names.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", shim], input=NO_NAMES,
                       text=True, check=True)
        config = self.text_config("run", checkpoint="{every: 0}")
        done = self.train(config, ranks=2, expect=1, environment={"LD_PRELOAD": str(shim)})
        self.assertRegex(wattle_lines(done.stderr)[-1],
                         "checkpoint step-6: rank 0: .*No space left on device")
        self.assertEqual(self.checkpoints("run"), [])
        self.train(config, ranks=2)
        self.assertEqual(self.meta("run")["step"], 6)

    def test_two_runs_never_share_a_folder(self):
        config = self.text_config("run")
        process = self.start(config, 2, overrides=ENDLESS)
        self.wait_for_step("run", 1)
        holder = self.ranks_of(process)[0]
        before = len(self.metrics("run"))
        done = self.train(config, ranks=2, expect=2)
        self.assertRegex(wattle_lines(done.stderr)[-1],
                         rf"run\.output_dir: run: is in use by process {holder} on ")
        self.assertFalse((self.folder / "run" / "error.json").exists())
        self.wait_for_step("run", before + 3)  # the first run was not disturbed
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75)


if __name__ == "__main__":
    unittest.main()
