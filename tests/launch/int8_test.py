"""Training for int8 weights and activations as its users run it: ranks, checkpoints, evaluation with
integers, bad input."""

import json
import unittest

from wattle_runs import RunTest

INT8 = ("[{quantize: {target: int8, begin_step: 1, freeze_batch_norm_step: 6, "
        "freeze_observers_step: 7, activations: {begin_step: 3}}}]")
RESNET = "model: {family: resnet, channels: [4, 8]}"
MLP = "model: {family: mlp, inputs: 12, hidden: [24, 16], outputs: 1, dropout: 0.2}"
RANDOM = "{kind: random, inputs: 12, samples: 200, validation: 50, targets: binary}"


def digits(count: int = 96) -> str:
    """Rows of 8x8 images of ten classes that can be told apart, as the UCI digits are laid out."""
    rows = []
    for i in range(count):
        label = i % 10
        pixels = [(7 * label + 3 * p * (label + 1) + i) % 17 for p in range(64)]
        rows.append(",".join(map(str, [*pixels, label])))
    return "\n".join(rows) + "\n"


class Int8Test(RunTest):
    def config(self, output: str = "run", compression: str = INT8, model: str = RESNET, **sections):
        if not (self.folder / "digits.csv").exists():
            self.write("digits.csv", digits())
        return self.text_config(output, model, compression=compression, **({
            "run": f"{{seed: 7, output_dir: {output}, threads: 1, deterministic: true}}",
            "data": "{kind: digits, path: digits.csv}" if model == RESNET else RANDOM,
            "train": "{steps: 10, global_batch: 24, micro_batch: 2}",
            "export": "[{format: onnx}]"} | sections))

    def onnx(self, output: str = "run") -> bytes:
        return (self.folder / output / "export/model.onnx").read_bytes()

    def evaluation(self, config, overrides=(), ranks: int = 1) -> dict:
        done = self.train(config, ranks, overrides, arguments=("eval", "--json"))
        return json.loads(done.stdout)

    def activations(self, output: str) -> dict:
        return self.meta(output)["sections"]["compression.0.activations"]

    def test_the_same_on_one_to_four_ranks(self):
        for observer in ("ema", "minmax", "percentile", "histogram", "mse"):
            compression = INT8.replace("begin_step: 1,", f"begin_step: 1, observer: {observer},")
            ranks = (1, 2, 3, 4) if observer == "ema" else (1, 3)
            for count in ranks:
                self.train(self.config(f"{observer}{count}", compression), count)
            for count in ranks[1:]:
                self.assert_same_bytes(self.state(f"{observer}1"), self.state(f"{observer}{count}"))
                self.assertEqual(self.activations(f"{observer}1"),
                                 self.activations(f"{observer}{count}"))
                self.assertEqual(self.onnx(f"{observer}1"), self.onnx(f"{observer}{count}"))

    def test_learned_ends_are_the_same_on_every_number_of_ranks(self):
        learned = INT8.replace("begin_step: 3", "begin_step: 3, learn: clipping, range_lr: 0.05")
        for count in (1, 2, 4):
            self.train(self.config(f"run{count}", learned), count)
            self.assert_same_bytes(self.state("run1"), self.state(f"run{count}"))
            self.assertEqual(self.activations("run1"), self.activations(f"run{count}"))
        self.train(self.config("observed"))
        ends = [a["scale"] for a in self.activations("run1")["activations"]]
        self.assertNotEqual(ends, [a["scale"] for a in self.activations("observed")["activations"]])

    def test_what_evaluation_is_given_changes_no_exported_byte(self):
        """Ranges are calibrated after training, on batches of their own."""
        late = "[{quantize: {target: int8, begin_step: 10, activations: {}}}]"
        for batch in (8, 16):
            self.train(self.config(f"run{batch}", late, MLP, evaluate=f"{{batch: {batch}}}"))
        self.assertEqual(self.onnx("run8"), self.onnx("run16"))

    def test_a_run_in_two_parts_is_the_run_in_one(self):
        self.train(self.config("whole"))
        for cut in (2, 4, 6, 8):
            parts = f"parts{cut}"
            self.train(self.config(parts), overrides=[f"train.steps={cut}"])
            self.train(self.config(parts))
            self.assert_same_bytes(self.state(parts), self.state("whole"))
            self.assertEqual(self.onnx(parts), self.onnx("whole"))

    def test_quantisers_survive_a_kill(self):
        learned = ("[{quantize: {target: int8, begin_step: 1, freeze_batch_norm_step: 30, "
                   "freeze_observers_step: 40, activations: {begin_step: 3, learn: clipping}}}]")
        sections = {"train": "{steps: 60, global_batch: 24, micro_batch: 2}"}
        self.train(self.config("whole", learned, **sections), 2)
        run = self.start(self.config("killed", learned, **sections), 2)
        self.wait_for_step("killed", 5)
        self.kill_group(run)
        self.assertLess(self.train_metrics("killed")[-1]["step"], 60)
        self.train(self.config("killed", learned, **sections), 2)
        self.assert_same_bytes(self.state("killed"), self.state("whole"))
        self.assertEqual(self.activations("killed"), self.activations("whole"))
        self.assertEqual(self.onnx("killed"), self.onnx("whole"))

    def test_eval_and_export_apply_what_is_active(self):
        config = self.config()
        self.train(config)
        seen = [r for r in self.metrics("run") if r["phase"] == "evaluate"][-1]
        rounded = self.evaluation(config)
        self.assertEqual(rounded["loss"], seen["eval_loss"])
        self.assertNotEqual(rounded["loss"],
                            self.evaluation(config, ["evaluate.masters=true"])["loss"])
        exported = self.onnx()
        self.train(config, 2, arguments=("export",))
        self.assertEqual(self.onnx(), exported)

    def test_integers_alone_give_the_same_classes(self):
        for model in (RESNET, MLP):
            compression = INT8 if model == RESNET else INT8.replace(
                "freeze_batch_norm_step: 6, ", "")
            output = "resnet" if model == RESNET else "mlp"
            config = self.config(output, compression, model)
            self.train(config)
            for ranks in (1, 3):
                figures = self.evaluation(config, ["evaluate.integers=true"], ranks)
                self.assertEqual(figures["integer_agreement"], 1)
                self.assertEqual(figures["integer_accuracy"], figures["accuracy"])
                self.assertLessEqual(figures["integer_largest_difference_steps"], 1.01)

    def test_a_model_of_numbers_has_errors_and_no_classes(self):
        rows = [(i % 13, i % 7, 0.5 * (i % 13) - (i % 7) + 3) for i in range(160)]
        self.write("numbers.csv", "".join(",".join(map(str, row)) + "\n" for row in rows))
        numbers = ("{kind: csv, path: numbers.csv, header: false, targets: numbers, validation: 32, "
                   "standardise: false}")
        config = self.config("run", INT8.replace("freeze_batch_norm_step: 6, ", ""),
                             MLP.replace("inputs: 12", "inputs: 2"), data=numbers)
        self.train(config)
        evaluations = [self.evaluation(config, ["evaluate.integers=true",
                                                "evaluate.predictions=found.csv"], ranks)
                       for ranks in (1, 3)]
        for figures in evaluations:
            self.assertFalse({"accuracy", "integer_accuracy", "integer_agreement"} & set(figures))
            self.assertLessEqual(figures["integer_largest_difference_steps"], 1.01)
        found = [line.split(",") for line in (self.folder / "found.csv").read_text().split()[1:]]
        squares = [(float(integer) - (0.5 * float(a) - float(b) + 3)) ** 2
                   for a, b, _, integer in found]
        self.assertEqual(len(squares), 32)
        self.assertAlmostEqual(evaluations[0]["integer_loss"], sum(squares) / 32, 5)
        self.assertAlmostEqual(evaluations[0]["integer_loss"], evaluations[1]["integer_loss"], 12)
        self.assertNotEqual(evaluations[0]["integer_loss"], evaluations[0]["loss"])
        self.assertAlmostEqual(evaluations[0]["integer_loss"], evaluations[0]["loss"],
                               delta=0.05 * evaluations[0]["loss"])
        page = (self.folder / "run/report.html").read_text()
        self.assertIn("mean squared error above this run", page)
        self.assertNotIn("nats", page.replace("KL: nats", ""))
        self.assertEqual(self.report("run")["compression"]["loss_unit"], "mean squared error")

    def test_the_report_compares_with_float_and_with_calibration_alone(self):
        """Float is what evaluate.masters evaluates: activations are as they come. Calibrating after
        training rounds activations too."""
        config = self.config()
        self.train(config, 2)
        found = self.report("run")["compression"]
        masters = self.evaluation(config, ["evaluate.masters=true"])
        self.assertEqual(found["inference"]["float"]["loss"], masters["loss"])
        [own] = found["baselines"]
        self.assertEqual(own["of"], "own weights")
        self.assertEqual(own["float_loss"], masters["loss"])
        self.assertNotIn(own["nearest_loss"], (own["float_loss"], own["trained_loss"]))
        self.assertEqual(own["gained_over_nearest"], own["nearest_loss"] - own["trained_loss"])
        weights = self.config("weights", "[{quantize: {target: int8, begin_step: 1}}]")
        self.train(weights)
        rounded_weights = self.report("weights")["compression"]["baselines"][0]
        self.assertEqual(rounded_weights["nearest_loss"], rounded_weights["trained_loss"])

    def test_the_resolved_file_is_a_run_file(self):
        for output, compression in (("int8", INT8), ("weights", "[{quantize: {target: int8}}]")):
            self.train(self.config(output, compression))
            self.evaluation(self.folder / output / "resolved.yaml")
        self.train(self.text_config("gguf", compression="[{quantize: {target: 'gguf:q4_0'}}]",
                                    export="[{format: gguf}]"))
        self.evaluation(self.folder / "gguf/resolved.yaml")

    def refused(self, expected: str, compression: str = INT8, model: str = RESNET, **sections):
        done = self.train(self.config("bad", compression, model, **sections), expect=2)
        self.assertRegex(done.stderr, expected)
        self.assertEqual(self.checkpoints("bad"), [])

    def test_bad_input_is_refused_before_training(self):
        self.refused(r"compression\.0\.quantize\.activations\.targets: 'stem\.rellu' matches no "
                     r"activation \(did you mean 'stem\.relu'\?\)",
                     INT8.replace("begin_step: 3", "begin_step: 3, targets: [stem.rellu]"))
        self.refused(r"activations\.begin_step: 0 is before begin_step 1",
                     INT8.replace("begin_step: 3", "begin_step: 0"))
        self.refused(r"freeze_observers_step: 1 leaves no step from begin_step 1 on",
                     INT8.replace("freeze_observers_step: 7", "freeze_observers_step: 1"))
        self.refused(r"freeze_batch_norm_step: 0 is before begin_step 1",
                     INT8.replace("freeze_batch_norm_step: 6", "freeze_batch_norm_step: 0"))
        self.refused(r"freeze_batch_norm_step: this model has no batch norm", INT8, MLP)
        self.refused(r"activations: needs target int8 or int16", INT8.replace("int8", "int4"))
        self.refused(r"observer: needs activations",
                     "[{quantize: {target: int8, observer: mse}}]")
        self.refused(r"bits: 12; expected 8 or 16",
                     INT8.replace("begin_step: 3", "begin_step: 3, bits: 12"))
        self.refused(r"export\.0\.format: a model of family resnet", export="[{format: gguf}]")
        self.refused(r"stem\.relu is quantised by compression\.0\.quantize at the same time",
                     "[{quantize: {target: int8, targets: [stem], activations: {}}}, "
                     "{quantize: {target: int8, targets: [stages], "
                     "activations: {targets: [stem.relu]}}}]")
        for key in ("freeze_batch_norm_step", "freeze_observers_step"):
            self.refused(rf"{key}: 5 is not before end_step 4",
                         f"[{{quantize: {{target: int8, end_step: 4, {key}: 5}}}}]")
        self.refused(r"activations\.begin_step: 3 is not before end_step 2",
                     "[{quantize: {target: int8, end_step: 2, activations: {begin_step: 3}}}]")

    def test_gptq_after_training_rounds_filters_and_activations(self):
        gptq = ("[{quantize: {target: int8, begin_step: 10, gptq: {samples: 40}, activations: {}, "
                "energy_seconds: 0}}]")
        for count in (1, 2):
            config = self.config(f"run{count}", gptq)
            self.train(config, count)
        self.assert_same_bytes(self.state("run1"), self.state("run2"))
        self.assertEqual(self.onnx("run1"), self.onnx("run2"))
        [baseline] = self.report("run1")["compression"]["baselines"]
        self.assertEqual((baseline["of"], baseline["step"]), ("before gptq", 10))
        seen = [r for r in self.metrics("run1") if r["phase"] == "evaluate"][-1]["eval_loss"]
        self.assertEqual(baseline["gptq_loss"], seen)
        self.assertNotEqual(baseline["nearest_loss"], seen)
        figures = self.evaluation(config, ["evaluate.integers=true"])
        self.assertEqual(figures["integer_agreement"], 1)

    def test_gptq_is_the_baseline_of_filters_and_activations(self):
        self.train(self.config("run", INT8.replace("begin_step: 1,", "begin_step: 1, baseline: gptq,")))
        [own] = self.report("run")["compression"]["baselines"]
        self.assertNotIn(own["gptq_loss"], (own["nearest_loss"], own["float_loss"]))

    def test_widths_of_filters_with_rounded_activations(self):
        widths = INT8.replace("activations:", "widths: {formats: ['int2:channel', 'int4:channel', "
                              "'int8:channel'], budget_bytes: 1000, samples: 24, adapt: {every: 3}}, "
                              "activations:")
        for count in (1, 2):
            config = self.config(f"run{count}", widths)
            self.train(config, count)
        self.assert_same_bytes(self.state("run1"), self.state("run2"))
        self.assertEqual(self.onnx("run1"), self.onnx("run2"))
        tensors = self.report("run1")["compression"]["tensors"]
        self.assertLessEqual(sum(t["bytes_after"] for t in tensors), 1000)
        self.assertEqual(self.evaluation(config, ["evaluate.integers=true"])["integer_agreement"], 1)

    def test_scales_in_groups_leave_biases_in_float(self):
        groups = INT8.replace("freeze_batch_norm_step: 6, ", "").replace(
            "target: int8,", "target: int8, scales: group, group_size: 4,")
        config = self.config("run", groups, MLP)
        self.train(config)
        seen = [r for r in self.metrics("run") if r["phase"] == "evaluate"][-1]["eval_loss"]
        self.assertEqual(self.evaluation(config)["loss"], seen)
        done = self.train(config, arguments=("eval",), overrides=["evaluate.integers=true"],
                          expect=1)
        self.assertRegex(done.stderr, r"integers: hidden\.0: its weight has scales in groups")

    def test_activations_of_language_models_are_refused(self):
        done = self.train(self.text_config("bad", compression="[{quantize: {target: int8, "
                                           "activations: {}}}]"), expect=2)
        self.assertRegex(done.stderr, "has no activations that can be quantised")

    def test_biases_between_two_entries_are_deployed_as_training_rounded_them(self):
        mlp = ("[{quantize: {target: int8, targets: [hidden.0], begin_step: 1, "
               "activations: {targets: [input, hidden.0], begin_step: 2}}}, "
               "{quantize: {target: int8, targets: [hidden.1, output], begin_step: 1}}]")
        resnet = ("[{quantize: {target: int8, targets: [stem], begin_step: 1, "
                  "freeze_batch_norm_step: 8, activations: {targets: [input, 'stem.relu'], "
                  "begin_step: 2}}}, {quantize: {target: int8, targets: [stages, output], "
                  "begin_step: 1}}]")
        for output, compression, model in (("mlp", mlp, MLP), ("resnet", resnet, RESNET)):
            config = self.config(output, compression, model, optimizer="{name: adamw, lr: 1.0e-1}")
            self.train(config)
            seen = [r for r in self.metrics(output) if r["phase"] == "evaluate"][-1]["eval_loss"]
            self.assertEqual(self.evaluation(config)["loss"], seen)
            written = self.onnx(output)
            self.train(config, arguments=("export",))
            self.assertEqual(self.onnx(output), written)

    def test_the_report_shows_activations(self):
        self.train(self.config(), overrides=["compression.0.quantize.energy_seconds=0"])
        shown = self.report("run")["compression"]["activations"]
        self.assertIn("stem.relu", [a["name"] for a in shown])
        for a in shown:
            self.assertEqual((a["bits"], a["symmetric"]), (8, False))
            self.assertGreater(a["scale"], 0)
            self.assertLessEqual(0, a["clipped_share"])
            self.assertLess(a["clipped_share"], 0.5)
        self.assertIn("Rounded activations", (self.folder / "run/report.html").read_text())

    def test_what_is_not_int8_throughout_has_no_integers(self):
        config = self.config("run", INT8.replace("begin_step: 3", "begin_step: 3, targets: [input]"))
        self.train(config)
        done = self.train(config, arguments=("eval",), overrides=["evaluate.integers=true"],
                          expect=1)
        self.assertRegex(done.stderr, r"evaluation with integers: stem\.conv: its output is not "
                                      r"quantised")


if __name__ == "__main__":
    unittest.main()
