"""A run goes on as itself alone: other settings or other data are refused with the key."""

import unittest

from wattle_runs import RunTest, english


class SameRunTest(RunTest):
    TRAIN = "{steps: 2, global_batch: 4, micro_batch: 2}"
    RUN = "{seed: 7, output_dir: run, threads: 1, deterministic: true}"

    def first_run(self, run: str = RUN):
        self.train(self.text_config(run=run, train=self.TRAIN))
        self.before = self.state("run")

    def go_on(self, *overrides, run: str = RUN, expect: int = 2):
        config = self.text_config(run=run, train=self.TRAIN)
        done = self.train(config, overrides=("train.steps=4", *overrides), expect=expect)
        return done.stderr

    def test_other_settings(self):
        self.first_run()
        cases = {"train.micro_batch=1": r"train\.micro_batch: 1, but .* was trained with 2",
                 "train.precision=bf16": r"train\.precision: bf16, but .* was trained with fp32",
                 "model.dropout=0.5": r"model\.dropout: 0\.5, but .* was trained with 0",
                 "model.width=16": r"model\.width: 16, but .* was trained with 32",
                 "optimizer.name=sgd": r"optimizer\.name: sgd, but .* was trained with adamw",
                 "run.deterministic=false": r"run\.deterministic: false, but .* with true",
                 "data.validation=0.2": r"data: \d+ samples .*, but .* was trained with \d+ samples"}
        for override, expected in cases.items():
            with self.subTest(override):
                self.assertRegex(self.go_on(override), expected)
        self.assert_same_bytes(self.state("run"), self.before)
        self.go_on(expect=0)

    def test_another_text_of_the_same_size(self):
        self.first_run()
        self.write("text.txt", english(20000, seed=2))
        self.assertRegex(self.go_on(), r"data: .* was trained with")

    def test_a_run_that_is_not_deterministic_may_change_its_micro_batch(self):
        run = "{seed: 7, output_dir: run, threads: 1}"
        self.first_run(run)
        self.go_on("train.micro_batch=1", run=run, expect=0)


if __name__ == "__main__":
    unittest.main()
