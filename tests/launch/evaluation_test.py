"""Every evaluation that is due happens, and none twice."""

import unittest

from wattle_runs import RunTest


class EvaluationTest(RunTest):
    def test_the_evaluation_that_stops_training_early_is_the_last(self):
        # No loss is lower by 1000: the first evaluation sets the mark, two do not improve on it.
        train = ("{steps: 40, global_batch: 4, micro_batch: 2, eval_every: 2, "
                 "early_stop: {patience: 2, min_improvement: 1000}}")
        self.train(self.text_config(train=train))
        evaluated = [r["step"] for r in self.metrics("run") if r["phase"] == "evaluate"]
        self.assertEqual(evaluated, [2, 4, 6])


if __name__ == "__main__":
    unittest.main()
