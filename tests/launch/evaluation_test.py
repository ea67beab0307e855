"""Every evaluation that is due happens, and none twice."""

import signal
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
