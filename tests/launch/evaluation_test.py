"""Every evaluation that is due happens, and none twice."""

import os
import pathlib
import re
import signal
import time
import unittest

from wattle_runs import RunTest


class EvaluationTest(RunTest):
    # No loss is lower by 1000: the first evaluation sets the mark, two do not improve on it.
    EARLY = ("{steps: 40, global_batch: 4, micro_batch: 2, eval_every: 2, "
             "early_stop: {patience: 2, min_improvement: 1000}}")

    def evaluated_steps(self):
        return [r["step"] for r in self.metrics("run") if r["phase"] == "evaluate"]

    def test_the_evaluation_that_stops_training_early_is_the_last(self):
        self.train(self.text_config(train=self.EARLY))
        self.assertEqual(self.evaluated_steps(), [2, 4, 6])

    def test_a_run_that_was_stopped_early_stays_as_it_is(self):
        config = self.text_config(train=self.EARLY)
        self.train(config)
        report = (self.folder / "run/report.json").read_bytes()
        again = self.train(config)
        self.assertIn("nothing is left to do after step 6", again.stderr)
        self.assertEqual(self.evaluated_steps(), [2, 4, 6])
        self.assertEqual((self.folder / "run/report.json").read_bytes(), report)

    def is_pending(self, number: int, pid: int) -> bool:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return any(int(mask, 16) >> (number - 1) & 1
                   for mask in re.findall(r"^S(?:ig|hd)Pnd:\s*(\w+)", status, re.MULTILINE))

    def test_a_run_killed_after_it_was_stopped_early_trains_no_further(self):
        config = self.text_config(train=self.EARLY, checkpoint="{every: 0}",
                                  sample="{prompt: \"The\", tokens: 1000000}")
        run = self.start(config)
        end = time.monotonic() + 120
        while not self.checkpoints("run"):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        self.kill_group(run)
        self.train(config, overrides=["sample.tokens=4"])
        self.assertEqual(self.last_checkpoint("run").name, "step-6")
        self.assertEqual(self.report("run")["training"]["ended"], "stopped early")

    def test_without_samples_there_is_nothing_to_evaluate(self):
        config = self.text_config()
        self.train(config)
        done = self.train(config, ranks=0, overrides=["data.validation=0"],
                          arguments=["eval"], expect=2)
        self.assertIn("data.validation: ", done.stderr)

    def test_a_prompt_may_be_any_bytes(self):
        done = self.train(self.text_config(sample="{prompt: Ärger, tokens: 4}"))
        self.assertIn("Ärger", done.stderr)

    def test_a_stop_that_is_asked_for_before_the_job_is_up_is_heeded(self):
        config = self.text_config(train="{steps: 4000, global_batch: 4, micro_batch: 2}")
        slow = self.folder / "slow.yaml"
        os.mkfifo(slow)
        run = self.start(slow, ranks=1)
        with open(slow, "w") as file:  # as soon as the rank reads it
            run.send_signal(signal.SIGUSR1)
            end = time.monotonic() + 60
            while not self.is_pending(signal.SIGUSR1, self.ranks_of(run)[0]):
                self.assertLess(time.monotonic(), end)
                time.sleep(0.01)
            file.write(config.read_text())
        said, _ = run.communicate()
        self.assertEqual(run.returncode, 75, said)

    def test_an_evaluation_that_is_due_when_a_stop_is_asked_for_still_happens(self):
        config = self.text_config(
            train="{steps: 4000, global_batch: 4, micro_batch: 2, eval_every: 1}")
        run = self.start(config)
        self.wait_for_step("run", 3)
        run.send_signal(signal.SIGUSR1)
        run.communicate()
        self.assertEqual(run.returncode, 75)
        trained = [r["step"] for r in self.train_metrics("run")]
        self.assertEqual(self.evaluated_steps(), trained)


if __name__ == "__main__":
    unittest.main()
