"""A run that is stopped or killed and started again ends as one that never was."""

import os
import random
import signal
import subprocess
import sys
import time
import unittest

from wattle_runs import RunTest, english

MODEL = "model: {family: gpt2, layers: 1, width: 16, heads: 2, vocab: 256, positions: 16, dropout: 0.2}"
SEEDS = range(50) if "--slow" in sys.argv else range(3)


class ResumeTest(RunTest):
    """Deterministic runs with dropout and AdamW: what they leave can be compared by the byte."""

    def config(self, output: str, steps: int = 40, every: int = 7, batch: int = 12):
        self.write("text.txt", english(20000))
        return self.text_config(
            output, MODEL, run=f"{{seed: 7, output_dir: {output}, deterministic: true}}",
            data="{kind: text, path: text.txt, sequence_length: 16}",
            train=f"{{steps: {steps}, global_batch: {batch}, micro_batch: 1, eval_every: 10}}",
            checkpoint=f"{{every: {every}, keep: 2}}")

    def assert_ended_alike(self, output: str, reference: str):
        self.assert_same_bytes(self.state(output), self.state(reference))
        one, other = self.meta(output), self.meta(reference)
        for key in ("step", "samples", "stream_hash", "seed"):
            self.assertEqual(one[key], other[key], key)
        self.assertEqual(self.report(output)["data"], self.report(reference)["data"])

    def assert_joules_never_fall(self, output: str):
        joules = [record["run_energy_joules"] for record in self.metrics(output)]
        self.assertEqual(joules, sorted(joules))

    def one_rank_seconds(self, steps: int, *overrides: str) -> float:
        config = self.text_config(
            train=f"{{steps: {steps}, global_batch: 12, micro_batch: 2, efficiency_steps: 3}}")
        self.train(config, ranks=2, overrides=overrides)
        return self.report("run")["parallel"]["one_rank_step_seconds"]

    def test_one_rank_is_timed_once_and_again_under_other_conditions(self):
        first = self.one_rank_seconds(4)
        self.assertEqual(self.one_rank_seconds(6), first)
        self.assertNotEqual(self.one_rank_seconds(8, "run.threads=2"), first)

    def test_killed_at_any_moment_ends_with_the_same_bytes(self):
        self.train(self.config("reference"), ranks=2)
        for seed in SEEDS:
            with self.subTest(seed=seed):
                kills = self.run_under_fire(f"killed-{seed}", random.Random(seed))
                self.assert_ended_alike(f"killed-{seed}", "reference")
                self.assert_joules_never_fall(f"killed-{seed}")
                print(f"seed {seed}: killed {kills} times", flush=True)

    def run_under_fire(self, output: str, draw: random.Random, most: int = 6) -> int:
        """Starts the run and kills all of it at drawn moments until it comes through."""
        config = self.config(output)
        for kill in range(most):
            process = self.start(config, ranks=2)
            if draw.random() < 0.25:  # while it starts
                time.sleep(draw.uniform(0, 1))
            else:  # some steps on, in the middle of one or of a checkpoint
                self.wait_for_lines(process, output, draw.randint(1, 20))
                time.sleep(draw.uniform(0, 0.05))
            if process.poll() is not None:
                self.assertEqual(process.returncode, 0)
                return kill
            self.kill_group(process)
        self.train(config, ranks=2)
        return most

    def wait_for_lines(self, process: subprocess.Popen, output: str, lines: int):
        """Until so many more lines stand in the metrics, or the run has ended."""
        path = self.folder / output / "metrics.jsonl"
        count = lambda: path.read_bytes().count(b"\n") if path.exists() else 0
        wanted = count() + lines
        while count() < wanted and process.poll() is None:
            time.sleep(0.002)

    def test_killed_after_a_certain_step_goes_on_from_the_checkpoint(self):
        self.train(self.config("reference", steps=60), ranks=2)
        config = self.config("killed", steps=60)
        process = self.start(config, ranks=2)
        self.wait_for_step("killed", 24)
        self.kill_group(process)
        before = self.metrics("killed")
        lost = [record for record in before if record["phase"] == "train"]
        done = self.train(config, ranks=2)
        self.assertRegex(done.stderr, r"going on after step (7|14|21|28|35|42|49|56)\n")
        self.assert_ended_alike("killed", "reference")
        after = self.metrics("killed")
        self.assertEqual(after[:len(before)], before)  # lost steps stay
        self.assertEqual({record["attempt"] for record in before}, {1})
        self.assertEqual({record["attempt"] for record in after[len(before):]}, {2})
        self.assert_joules_never_fall("killed")
        again = [r["step"] for r in after[len(before):] if r["phase"] == "train"]
        if again[0] <= lost[-1]["step"]:  # the usual case: some steps were lost
            self.assertGreater(self.report("killed")["energy"]["lost_steps_joules"], 0)

    def test_goes_on_with_another_number_of_ranks(self):
        self.train(self.config("reference"), ranks=1)
        config = self.config("moved")
        for ranks, steps in ((1, 10), (3, 20), (2, 30), (4, 40)):
            self.train(config, ranks=ranks, overrides=[f"train.steps={steps}"])
        self.assert_ended_alike("moved", "reference")
        self.assertEqual(self.meta("moved")["attempt"], 4)

    def test_a_stop_that_is_asked_for_saves_and_ends_with_75(self):
        self.train(self.config("reference", steps=60), ranks=2)
        config = self.config("stopped", steps=60, every=1000)
        process = self.start(config, ranks=2)
        self.wait_for_step("stopped", 5)
        process.send_signal(signal.SIGUSR1)
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, output)
        done = self.meta("stopped")["step"]
        self.assertEqual(done, self.train_metrics("stopped")[-1]["step"])  # no step is lost
        self.assertLess(done, 60)
        self.assertIn(f"stopped after step {done}; a checkpoint is saved", output)
        self.assertEqual(self.report("stopped")["training"]["ended"], "stopped")

        self.train(config, ranks=2)
        self.assert_ended_alike("stopped", "reference")
        steps = [record["step"] for record in self.train_metrics("stopped")]
        self.assertEqual(steps, list(range(1, 61)))
        self.assert_joules_never_fall("stopped")

    def test_sigterm_to_one_rank_stops_all(self):
        config = self.config("stopped", steps=2000, every=10000)
        process = self.start(config, ranks=2)
        self.wait_for_step("stopped", 3)
        os.kill(self.ranks_of(process)[1], signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, output)
        self.assertEqual(self.meta("stopped")["step"], self.train_metrics("stopped")[-1]["step"])

    def test_a_run_that_is_done_stays_as_it_is(self):
        config = self.config("run", steps=8)
        self.train(config)
        before, hash_before = self.state("run"), self.meta("run")["stream_hash"]
        self.train(config)
        self.assert_same_bytes(self.state("run"), before)
        self.assertEqual(self.meta("run")["stream_hash"], hash_before)
        self.assertEqual([r["step"] for r in self.train_metrics("run")], list(range(1, 9)))



if __name__ == "__main__":
    if "--slow" in sys.argv:
        sys.argv.remove("--slow")
    unittest.main()
