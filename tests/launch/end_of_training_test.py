"""What happens between the last step and the export: rounding after training, and runs that are run
again because they were killed there, or because their export failed."""

import json
import shutil
import signal
import unittest

from wattle_runs import RunTest, TINY_GPT

TINY_LLAMA = TINY_GPT.replace("gpt2", "llama")
MLP = "model: {family: mlp, inputs: 12, hidden: [24, 16], outputs: 1}"
RESNET = "model: {family: resnet, channels: [4, 8]}"
ROWS = "{kind: random, inputs: 12, samples: 200, validation: 50, targets: binary}"
DIGITS = "{kind: digits, path: digits.csv}"
EARLY = ("{steps: 40, global_batch: 12, micro_batch: 2, eval_every: 2, "
         "early_stop: {patience: 1, min_improvement: 100}}")  # after 4 steps


def quantize(target: str, more: str = "") -> str:
    return f"[{{quantize: {{target: '{target}', energy_seconds: 0, effect_samples: 0{more}}}}}]"


class EndOfTrainingTest(RunTest):
    def config(self, output: str, compression: str, export: str, model: str = TINY_LLAMA, **sections):
        rows = "".join(",".join(str((7 * (i % 10) + 3 * p * (i % 10 + 1) + i) % 17)
                                for p in range(64)) + f",{i % 10}\n" for i in range(96))
        self.write("digits.csv", rows)
        data = {MLP: {"data": ROWS}, RESNET: {"data": DIGITS}}.get(model, {})
        run = f"{{seed: 7, output_dir: {output}, threads: 1, deterministic: true}}"
        return self.text_config(output, model, run=run, compression=compression, export=export,
                                **(data | sections))

    def files(self, output: str) -> dict:
        folder = self.folder / output / "export"
        return {str(path.relative_to(folder)): path.read_bytes()
                for path in sorted(folder.rglob("*")) if path.is_file()}

    def ledger(self, output: str) -> dict:
        return json.loads((self.folder / output / "export/compression_ledger.json").read_text())

    def last_eval_loss(self, output: str) -> float:
        return [r for r in self.metrics(output) if r["phase"] == "evaluate"][-1]["eval_loss"]

    def evaluation(self, config) -> float:
        return json.loads(self.train(config, arguments=("eval", "--json")).stdout)["loss"]

    # Every key that names a step, at the last one, 6.
    AT_THE_END = {
        "end": ("gguf:q4_0", ", end_step: 6", "gguf", TINY_LLAMA),
        "begin": ("gguf:q4_0", ", begin_step: 6", "gguf", TINY_LLAMA),
        "gptq": ("int4", ", begin_step: 6, gptq: {}", "safetensors", TINY_LLAMA),
        "filters": ("int8", ", begin_step: 6, gptq: {}, activations: {}", "onnx", RESNET),
        "freeze": ("int8", ", freeze_observers_step: 6", "safetensors", TINY_LLAMA),
        "ranges": ("int8", ", weight_ranges: {observer: minmax}", "safetensors", TINY_LLAMA),
        "moving": ("int8", ", weight_ranges: {observer: ema, every: 3}", "safetensors", TINY_LLAMA),
        "learned": ("int8", ", learn: step, freeze_observers_step: 6", "safetensors", TINY_LLAMA),
        "unlearned": ("int8", ", begin_step: 6, learn: step", "safetensors", TINY_LLAMA),
        "adapt": ("gguf:q4_0", ", widths: {formats: ['gguf:q4_0', 'gguf:q8_0'], "
                  "budget_bytes: 30000, adapt: {every: 3, margin: 0}}", "gguf", TINY_LLAMA),
        "activations": ("int8", ", begin_step: 1, activations: {begin_step: 6}", "onnx", MLP),
        "observers": ("int8", ", begin_step: 1, freeze_observers_step: 6, "
                      "activations: {begin_step: 2}", "onnx", MLP),
        "norms": ("int8", ", begin_step: 1, freeze_batch_norm_step: 6, activations: {begin_step: 2}",
                  "onnx", RESNET),
    }

    def test_a_run_that_was_killed_before_its_export_exports_what_training_saw(self):
        for name, (target, more, format, model) in self.AT_THE_END.items():
            with self.subTest(name):
                config = self.config(name, quantize(target, more), f"[{{format: {format}}}]", model)
                self.train(config)
                files, seen = self.files(name), self.last_eval_loss(name)
                self.assertEqual(self.evaluation(config), seen)
                # The last checkpoint is all that a kill would leave.
                shutil.rmtree(self.folder / name / "export")
                (self.folder / name / "report.json").unlink()
                self.train(config)
                self.assertEqual(self.last_eval_loss(name), seen)
                for path, content in files.items():
                    self.assertTrue(self.files(name)[path] == content, f"{name}: {path} differs")

    def test_activations_that_begin_at_the_end_are_calibrated(self):
        config = self.config("run", quantize("int8", ", begin_step: 6, activations: {}"),
                             "[{format: onnx}]", MLP)
        self.train(config, 2)
        [before, after] = [self.ledger("run")[f"compression.0.{part}"]["events"]
                           for part in ("quantize", "activations")]
        self.assertEqual(before, [{"step": 6, "what": "begins"}])
        self.assertEqual([event["what"] for event in after], ["begins", "rounding begins"])
        integers = self.train(config, arguments=("eval", "--json"),
                              overrides=["evaluate.integers=true"])
        self.assertIn("loss", integers.stdout)
        alone = self.config("alone", quantize("int8", ", begin_step: 6, activations: {}"),
                            "[{format: onnx}]", MLP)
        self.train(alone)
        self.assertTrue(self.files("alone") == self.files("run"), "two ranks give other bytes")

    def test_an_early_stop_before_begin_step_rounds_after_training(self):
        for begin in (20, 40):
            output = f"run{begin}"
            config = self.config(output, quantize("gguf:q4_0", f", begin_step: {begin}"),
                                 "[{format: gguf}]", train=EARLY)
            done = self.train(config)
            self.assertRegex(done.stderr, f"training has ended before begin_step {begin}: weights")
            report = self.report(output)
            self.assertEqual(report["training"]["ended"], "stopped early")
            self.assertEqual(report["training"]["steps"], 4)
            self.assertIn("tensors", report["compression"])
            self.assertEqual(self.ledger(output)["compression.0.quantize"]["events"],
                             [{"step": 4, "what": "begins"}])
            self.assertEqual(self.evaluation(config), self.last_eval_loss(output))
            # It is over, though rounding changed the loss.
            self.assertRegex(self.train(config).stderr, "nothing is left to do after step 4")

    def test_an_early_stop_holds_until_patience_is_larger(self):
        config = self.config("run", quantize("gguf:q4_0", ", begin_step: 1"), "[{format: gguf}]",
                             train=EARLY)
        self.train(config)
        for same in ([], ["train.early_stop.min_improvement=0"]):
            self.assertRegex(self.train(config, overrides=same).stderr,
                             "nothing is left to do after step 4: train.early_stop ended training, "
                             "and only with a larger patience does it go on")
        self.train(config, overrides=["train.early_stop.patience=2"])
        training = self.report("run")["training"]
        self.assertEqual((training["ended"], training["steps"]), ("stopped early", 6))

    def test_rounded_losses_are_not_held_against_those_in_float(self):
        """Rounding begins with one of two evaluations of patience used up, and has both again."""
        config = self.config("run", quantize("gguf:q4_0", ", begin_step: 4"), "[{format: gguf}]",
                             train=EARLY)
        patient = ["train.early_stop.patience=2"]
        self.train(config, overrides=[*patient, "train.steps=6"])  # in two attempts
        self.train(config, overrides=patient)
        training = self.report("run")["training"]
        self.assertEqual((training["ended"], training["steps"]), ("stopped early", 10))

    def test_no_training_goes_on_from_weights_that_were_rounded_before_their_step(self):
        config = self.config("run", quantize("int4", ", begin_step: 20, gptq: {}"),
                             "[{format: safetensors}]", train=EARLY)
        self.train(config)
        files = self.files("run")
        (self.folder / "run/report.json").unlink()  # as a kill before it leaves the folder
        done = self.train(config, overrides=["train.early_stop.patience=2"], expect=2)
        self.assertRegex(done.stderr, r"compression\.0\.quantize: weights were rounded after step 4, "
                                      r"when training had ended, and begin_step is 20: training "
                                      r"can't go on from there")
        self.train(config)
        self.assertTrue(self.files("run") == files)

    def test_an_early_stop_before_activations_begin_rounds_them_too(self):
        config = self.config("run", quantize("int8", ", begin_step: 1, activations: {begin_step: 30}"),
                             "[{format: onnx}]", MLP, train=EARLY)
        done = self.train(config)
        self.assertRegex(done.stderr, "training has ended before begin_step 30: activations")
        self.train(config, arguments=("eval",), overrides=["evaluate.integers=true"])

    def test_a_stop_and_a_budget_are_heard_after_the_last_step(self):
        def config(output: str):
            return self.config(output, quantize("int4", ", begin_step: 6, gptq: {}, "
                                                "calibration_samples: 2000"),
                               "[{format: safetensors}]")
        self.train(config("whole"))
        stopped = config("stopped")
        run = self.start(stopped)
        self.wait_for_file("stopped/checkpoints/step-6")
        run.send_signal(signal.SIGUSR1)
        said = run.communicate(timeout=240)[0]
        self.assertEqual(run.returncode, 75, said)
        self.assertEqual(self.report("stopped")["training"]["ended"], "stopped")
        self.assertEqual(self.files("stopped"), {})
        self.train(stopped)
        self.assertTrue(self.files("stopped") == self.files("whole"))

        killed = config("killed")
        run = self.start(killed)
        self.wait_for_file("killed/checkpoints/step-6")
        self.kill_group(run)
        done = self.train(killed, overrides=["energy.budget_joules=0.5"], expect=3)
        self.assertRegex(done.stderr, r"energy budget 0.5 J: [\d.]+ J used after step 6 of 6")
        self.assertEqual(self.report("killed")["energy"]["inference"]["rank_seconds"], 0)
        self.assertEqual(self.files("killed"), {})
        self.train(killed)
        self.assertTrue(self.files("killed") == self.files("whole"))

    def test_a_spent_budget_takes_nothing_from_a_run_that_an_early_stop_ended(self):
        config = self.config("run", quantize("gguf:q4_0"), "[{format: gguf}]", train=EARLY)
        self.train(config)
        files = self.files("run")
        shutil.rmtree(self.folder / "run/export")
        (self.folder / "run/report.json").unlink()
        self.train(config, overrides=["energy.budget_joules=0.5"])
        self.assertTrue(self.files("run") == files)
        self.assertEqual(self.report("run")["training"]["ended"], "stopped early")

    def test_a_failed_export_after_an_early_stop_is_tried_again(self):
        place = self.folder / "place"
        config = self.config("run", quantize("gguf:q4_0"),
                             f"[{{format: gguf, path: {place}/model.gguf}}]", train=EARLY)
        run = self.start(config)
        self.wait_for_file("run/metrics.jsonl")
        place.rmdir()
        place.write_text("no folder any more")
        said = run.communicate(timeout=240)[0]
        self.assertEqual(run.returncode, 1, said)
        self.assertEqual(self.report("run")["training"]["ended"],
                         "stopped early, but an export failed")
        place.unlink()
        self.train(config)
        self.assertTrue((place / "model.gguf").exists())
        self.assertEqual(self.report("run")["training"]["ended"], "stopped early")
        self.assertEqual(len(self.train_metrics("run")), 4)

    def test_an_unfinished_run_is_not_exported_in_float(self):
        for more, what in ((", begin_step: 4", "quantize"),
                           (", begin_step: 1, activations: {begin_step: 4}", "activations")):
            config = self.config(what, quantize("int8", more), "[{format: onnx}]", MLP)
            self.train(config, overrides=["train.steps=2"])
            shutil.rmtree(self.folder / what / "export")
            done = self.train(config, arguments=("export",), expect=2)
            self.assertRegex(done.stderr, rf"compression\.0\.{what} begins at step 4, and the "
                                          r"checkpoint is of step 2")
            self.assertFalse((self.folder / what / "export").exists())
            self.train(config, arguments=("export",), overrides=["evaluate.masters=true"])
            self.assertIn("model.onnx", self.files(what))


if __name__ == "__main__":
    unittest.main()
