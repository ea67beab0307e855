"""The first run: what it prints, what it leaves, and what eval and plan say of it."""

import json
import os
import pty
import re
import subprocess
import unittest

from wattle_runs import BIN, DATA, ROOT, RunTest

STEP_KEYS = {"phase", "attempt", "step", "loss", "lr", "grad_norm", "tokens", "tokens_per_s",
             "samples_per_s", "step_seconds", "mfu", "energy_joules", "energy_joules_total",
             "run_energy_joules", "power_watts", "energy_source", "peak_memory_bytes"}
EVALUATION_KEYS = {"phase", "attempt", "step", "step_seconds", "run_energy_joules", "energy_source",
                   "peak_memory_bytes", "eval_loss", "perplexity"}


class FirstRunTest(RunTest):
    """One run of two ranks that the tests of this class look at."""

    @classmethod
    def setUpClass(cls):
        run = RunTest("train")
        run.setUp()
        cls.addClassCleanup(run.doCleanups)
        cls.config = run.text_config(
            train="{steps: 6, global_batch: 12, micro_batch: 2, eval_every: 3, efficiency_steps: 2}",
            sample="{prompt: the, tokens: 10}", export="[{format: safetensors}]")
        cls.done = run.train(cls.config, ranks=2)
        cls.run_folder = run.folder

    def setUp(self):
        self.folder = self.run_folder

    def test_leaves_every_artefact(self):
        for name in ("metrics.jsonl", "resolved.yaml", "report.html", "report.json", ".lock",
                     "export/safetensors/model.safetensors", "export/safetensors/config.json",
                     "checkpoints/step-6/meta.json", "checkpoints/step-6/checksums.xxh3",
                     "checkpoints/step-6/shard-00000-of-00002.safetensors",
                     "checkpoints/step-6/shard-00001-of-00002.safetensors"):
            self.assertTrue((self.folder / "run" / name).stat().st_size > 0, name)
        self.assertEqual([c.name for c in self.checkpoints("run")], ["step-2", "step-4", "step-6"])
        self.assertFalse((self.folder / "run" / "error.json").exists())

    def test_writes_every_key_of_a_step(self):
        steps = self.train_metrics("run")
        self.assertEqual([r["step"] for r in steps], [1, 2, 3, 4, 5, 6])
        for record in steps:
            self.assertEqual(set(record), STEP_KEYS)
            self.assertEqual(record["attempt"], 1)
            self.assertEqual(record["tokens"], 12 * 32)
            self.assertEqual(record["lr"], 1e-2)
            self.assertEqual(record["energy_source"], "estimated:model")
            self.assertAlmostEqual(record["tokens_per_s"] * record["step_seconds"], 384, delta=1e-3)
            self.assertAlmostEqual(record["samples_per_s"] * record["step_seconds"], 12, delta=1e-4)
            self.assertGreater(record["grad_norm"], 0)
            self.assertGreater(record["mfu"], 0)
            self.assertLess(record["mfu"], 1)
            self.assertTrue(1e6 < record["peak_memory_bytes"] < 4e9)

    def test_learns(self):
        losses = [r["loss"] for r in self.train_metrics("run")]
        self.assertAlmostEqual(losses[0], 5.545, delta=0.1)  # log 256: nothing is known yet
        self.assertLess(losses[-1], losses[0] - 1)

    def test_counts_joules_of_steps_and_of_the_whole_run(self):
        total, run = 0, 0
        for record in self.train_metrics("run"):
            self.assertGreater(record["energy_joules"], 0)
            self.assertAlmostEqual(record["power_watts"] * record["step_seconds"],
                                   record["energy_joules"], delta=1e-6)
            total += record["energy_joules"]
            self.assertAlmostEqual(record["energy_joules_total"], total, delta=1e-6)
        for record in self.metrics("run"):
            self.assertGreater(record["run_energy_joules"], run)
            run = record["run_energy_joules"]
        self.assertGreater(run, total)  # start-up and evaluation cost something too

    def test_evaluates_when_asked_and_at_the_end(self):
        evaluations = [r for r in self.metrics("run") if r["phase"] == "evaluate"]
        self.assertEqual([r["step"] for r in evaluations], [3, 6])
        for record in evaluations:
            self.assertEqual(set(record), EVALUATION_KEYS)
            self.assertAlmostEqual(record["perplexity"], 2.718281828 ** record["eval_loss"], places=4)
        self.assertLess(evaluations[1]["eval_loss"], evaluations[0]["eval_loss"])

    def test_reports_joules_by_phase_and_layer_kind_and_use(self):
        energy = self.report("run")["energy"]
        self.assertEqual(energy["source"], "estimated:model")
        joules = {name: phase["joules"] for name, phase in energy["by_phase"].items()}
        for phase in ("forward", "backward", "optimizer", "communication", "evaluation",
                      "checkpoint", "data"):
            self.assertGreater(joules[phase], 0, phase)
        self.assertAlmostEqual(sum(joules.values()), energy["run"]["joules"], delta=1e-6)
        self.assertAlmostEqual(energy["training"]["joules"] + energy["inference"]["joules"],
                               energy["run"]["joules"], delta=1e-6)
        self.assertGreater(energy["inference"]["joules"], 0)
        kinds = energy["by_layer_kind"]
        self.assertEqual(set(kinds), {"attention", "embedding", "feed_forward", "head", "norm"})
        for phase in ("forward", "backward"):
            shared = sum(kind.get(phase, {"joules": 0})["joules"] for kind in kinds.values())
            self.assertLessEqual(shared, joules[phase] * (1 + 1e-9))
            self.assertGreater(shared, 0)

    def test_reports_the_speed_up_over_one_rank(self):
        parallel = self.report("run")["parallel"]
        self.assertEqual(parallel["ranks"], 2)
        self.assertAlmostEqual(parallel["speed_up"],
                               parallel["one_rank_step_seconds"] / parallel["step_seconds"])
        self.assertAlmostEqual(parallel["efficiency"], parallel["speed_up"] / 2)

    def test_prints_plain_lines_without_a_terminal(self):
        self.assertNotIn("\r", self.done.stderr)
        self.assertNotIn("\033", self.done.stderr)
        self.assertRegex(self.done.stderr,
                         r"step 6/6  loss \d+\.\d+  \d+ tok/s  ~\d+ W  ~\d+ J  0:00 left\n")

    def test_ends_with_a_sample_and_a_summary(self):
        text = self.report("run")["texts"][0]["text"]
        self.assertTrue(text.startswith("the") or len(text) >= 10, text)
        self.assertRegex(self.done.stderr, r"Validation loss +\d+\.\d+ +perplexity")
        self.assertRegex(self.done.stderr, r"Energy +~\d+ J +estimated:model")

    def test_eval_gives_the_figures_of_the_last_evaluation(self):
        done = self.train(self.config, ranks=2, arguments=["eval", "--json"])
        figures = json.loads(done.stdout)
        self.assertEqual(set(figures),
                         {"loss", "perplexity", "tokens", "energy_joules", "energy_source"})
        last = [r for r in self.metrics("run") if r["phase"] == "evaluate"][-1]
        self.assertAlmostEqual(figures["loss"], last["eval_loss"], delta=1e-6)
        self.assertGreater(figures["energy_joules"], 0)
        self.assertEqual(figures["energy_source"], "estimated:model")

    def test_eval_of_the_export_equals_eval_of_the_checkpoint(self):
        figures = [json.loads(self.train(self.config, ranks=0, arguments=["eval", "--json"],
                                         overrides=sets).stdout)
                   for sets in ([], ["model={init_from: run/export/safetensors}"],
                                ["model={init_from: run}"])]
        self.assertEqual(figures[0]["loss"], figures[1]["loss"])
        self.assertEqual(figures[0]["loss"], figures[2]["loss"])

    def test_the_resolved_file_is_a_run_file(self):
        self.train("run/resolved.yaml", ranks=0, overrides=["run.output_dir=again"])
        self.assertEqual((self.folder / "again" / "resolved.yaml").read_text(),
                         (self.folder / "run" / "resolved.yaml").read_text()
                         .replace("output_dir: run", "output_dir: again"))


class TerminalTest(RunTest):
    def test_draws_a_bar_on_a_terminal(self):
        config = self.text_config()
        terminal, side = pty.openpty()
        os.set_inheritable(side, True)
        process = subprocess.Popen(self.command(config, 0), cwd=self.folder, stdin=side, stdout=side,
                                   stderr=side)
        os.close(side)
        shown = b""
        try:
            while chunk := os.read(terminal, 65536):
                shown += chunk
        except OSError:  # the other side is closed: the run has ended
            pass
        os.close(terminal)
        self.assertEqual(process.wait(), 0, shown)
        self.assertRegex(shown.decode(), r"\r\033\[K▕█+.*▏ step 6/6  loss .* tok/s .* W .* J .* left")


@unittest.skipUnless((DATA / "digits.csv.gz").exists(),
                     "needs ./launch/prepare_data.sh kjv digits breast_cancer")
class ShippedConfigsTest(RunTest):
    """The configurations that Wattle comes with, made small."""

    def run_small(self, name: str, *overrides: str) -> dict:
        (self.folder / "data").symlink_to(DATA)
        sets = [f"run.output_dir={name}", "energy.meter=model", "train.steps=4", *overrides]
        self.train(ROOT / "configs" / "train" / f"{name}.yaml", ranks=2, overrides=sets)
        evaluated = self.train(ROOT / "configs" / "train" / f"{name}.yaml", ranks=0, overrides=sets,
                               arguments=["eval", "--json"])
        figures = json.loads(evaluated.stdout)
        last = [r for r in self.metrics(name) if r["phase"] == "evaluate"][-1]
        self.assertAlmostEqual(figures["loss"], last["eval_loss"], delta=1e-5)
        return figures | {"last": last}

    def test_mlp_random(self):
        figures = self.run_small("mlp_random")
        self.assertEqual(figures["samples"], 100)
        self.assertEqual(figures["accuracy"], figures["last"]["accuracy"])

    def test_mlp_breast_cancer(self):
        self.assertGreater(self.run_small("mlp_breast_cancer", "train.steps=30")["accuracy"], 0.8)

    def test_resnet_digits(self):
        self.assertEqual(self.run_small("resnet_digits", "model.channels=[4, 8]")["samples"], 180)

    def test_vgg_digits(self):
        self.assertEqual(self.run_small("vgg_digits", "model.channels=[4, 8]")["samples"], 180)

    def run_int8(self, name: str, *overrides: str):
        quantize = "compression.0.quantize."
        figures = self.run_small(name, f"{quantize}begin_step=0", f"{quantize}freeze_observers_step=3",
                                 f"{quantize}activations.begin_step=1", *overrides)
        self.assertEqual(figures["accuracy"], figures["last"]["accuracy"])
        self.assertTrue((self.folder / name / "export/model.onnx").exists())

    def test_mlp_random_int8(self):
        self.run_int8("mlp_random_int8")

    def test_resnet_digits_int8(self):
        self.run_int8("resnet_digits_int8", "model.channels=[4, 8]",
                      "compression.0.quantize.freeze_batch_norm_step=2")

    def test_vgg_digits_int8(self):
        self.run_int8("vgg_digits_int8", "model.channels=[4, 8]",
                      "compression.0.quantize.freeze_batch_norm_step=2")

    def test_gpt_kjv(self):
        figures = self.run_small("gpt_kjv", "model.layers=1", "model.width=32", "model.positions=32",
                                 "data.sequence_length=32", "evaluate.window=32",
                                 "evaluate.samples=20", "sample.tokens=8", "train.efficiency_steps=0",
                                 "optimizer.schedule.warmup_steps=0")
        self.assertLess(figures["perplexity"], 256)


if __name__ == "__main__":
    unittest.main()
