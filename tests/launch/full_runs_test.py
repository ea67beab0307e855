"""The configurations that Wattle comes with, run as they are: each learns what it is there to learn.
./launch/prepare_data.sh sets up their data. Minutes each: label `slow`."""

import json
import subprocess
import sys
import unittest

from wattle_runs import DATA, ROOT, RunTest


class FullRunsTest(RunTest):
    def setUp(self):
        super().setUp()
        (self.folder / "data").symlink_to(DATA)

    def run_fully(self, name: str, ranks: int = 2) -> dict:
        """The run's report.json."""
        done = self.train(ROOT / "configs/train" / f"{name}.yaml", ranks=ranks,
                          overrides=["run.output_dir=run"], timeout=3000)
        report = self.report("run")
        self.assertEqual(report["training"]["ended"], "done")
        print(f"\n{name}: {json.dumps(report.get('evaluation'))}, "
              f"{report['energy']['wall_seconds']:.0f} s\n" + "\n".join(done.stderr.splitlines()[-9:]))
        return report

    def test_gpt_kjv_learns_and_reports_its_speed_up(self):
        report = self.run_fully("gpt_kjv")
        self.assertLess(report["evaluation"]["eval_loss"], 2.0)
        self.assertGreater(report["parallel"]["speed_up"], 1)
        self.assertGreater(len(report["texts"][0]["text"]), 100)

    def test_resnet_digits(self):
        self.assertGreaterEqual(self.run_fully("resnet_digits")["evaluation"]["accuracy"], 0.96)

    def test_vgg_digits(self):
        self.assertGreaterEqual(self.run_fully("vgg_digits")["evaluation"]["accuracy"], 0.96)

    def check_int8(self, name: str, least_accuracy: float):
        self.assertGreaterEqual(self.run_fully(name)["evaluation"]["accuracy"], least_accuracy)
        done = self.train(ROOT / "configs/train" / f"{name}.yaml", arguments=("eval", "--json"),
                          overrides=["run.output_dir=run", "evaluate.integers=true"])
        figures = json.loads(done.stdout)
        print(f"{name}: {figures}")
        self.assertEqual(figures["integer_agreement"], 1, figures)
        self.assertTrue((self.folder / "run/export/model.onnx").exists())

    def test_resnet_digits_int8(self):
        self.check_int8("resnet_digits_int8", 0.96)

    def test_vgg_digits_int8(self):
        self.check_int8("vgg_digits_int8", 0.96)

    def test_mlp_random_int8(self):
        self.check_int8("mlp_random_int8", 0.3)

    def test_mlp_breast_cancer(self):
        self.assertGreaterEqual(self.run_fully("mlp_breast_cancer")["evaluation"]["accuracy"], 0.95)

    def test_mlp_random_can_only_guess(self):
        accuracy = self.run_fully("mlp_random")["evaluation"]["accuracy"]
        self.assertTrue(0.3 < accuracy < 0.7, accuracy)  # 100 samples of random labels

    def test_quantised_training_of_smollm2_wins_back_what_rounding_loses(self):
        done = subprocess.run([sys.executable, ROOT / "tests/bench/qat_recovery.py"], text=True,
                              cwd=self.folder, stdout=subprocess.PIPE, check=True)
        print(done.stdout)
        found = json.loads(done.stdout)
        self.assertGreaterEqual(found["recovered_share"], 0.7)
        for file in ("float", "qat"):  # as trained; "rounded" was rounded when it was written
            theirs, ours = (found[key][file] for key in ("llama_perplexity", "wattle_perplexity"))
            self.assertLess(abs(theirs / ours - 1), 0.005, f"{file}: {theirs} against {ours}")

    def test_int8_keeps_the_accuracy(self):
        """Paired over five folds of the digits; on random labels the classes of the float weights."""
        done = subprocess.run([sys.executable, ROOT / "tests/bench/int8_accuracy.py"], text=True,
                              stdout=subprocess.PIPE, check=True)
        print(done.stdout)
        found = json.loads(done.stdout)
        for model in ("resnet", "vgg"):
            self.assertGreaterEqual(found[model]["difference_points"], -0.5, model)
            self.assertEqual(found[model]["folds"], 5)
        self.assertGreaterEqual(found["mlp"]["agreement_percent"], 98)

    def test_smollm2_finetune_lowers_the_perplexity(self):
        config = ROOT / "configs/train/smollm2_finetune.yaml"
        before = json.loads(self.train(config, ranks=0, arguments=("eval", "--json"),
                                       overrides=["run.output_dir=run"]).stdout)
        report = self.run_fully("smollm2_finetune")
        print(f"perplexity before {before['perplexity']:.3f}")
        self.assertLess(report["evaluation"]["perplexity"], before["perplexity"])


if __name__ == "__main__":
    unittest.main()
