"""What the report says of compression after kills, failures and under an energy budget."""

import shutil
import unittest

from wattle_runs import RunTest

Q4 = "target: 'gguf:q4_0', energy_seconds: 0"
WIDTHS = (f"[{{quantize: {{{Q4}, embeddings: target, widths: {{formats: ['gguf:q4_0', 'gguf:q8_0'], "
          "budget_bytes: 26000, samples: 4}}}]")


class CompressionReportTest(RunTest):
    def config(self, output: str, compression: str, **sections):
        run = f"{{seed: 7, output_dir: {output}, threads: 1, deterministic: true}}"
        return self.text_config(output, run=run, compression=compression,
                                **({"export": "[{format: gguf}]"} | sections))

    def page(self, output: str) -> str:
        return (self.folder / output / "report.html").read_text()

    def test_the_sensitivity_scan_outlives_an_attempt(self):
        self.train(self.config("whole", WIDTHS))
        self.train(self.config("parts", WIDTHS), overrides=["train.steps=3"])
        self.train(self.config("parts", WIDTHS))
        widths = self.report("whole")["compression"]["widths"]
        self.assertGreater(len(widths), 0)
        self.assertEqual(self.report("parts")["compression"]["widths"], widths)
        self.assertIn("Sensitivity of each weight", self.page("parts"))

    def test_a_float_run_that_goes_away_costs_neither_export_nor_report(self):
        for ranks in (1, 2):
            self.train(self.config("float", "[]", export="[]"))
            shutil.copytree(self.folder / "float/checkpoints/step-6", self.folder / "reference")
            output = f"run{ranks}"
            run = self.start(self.config(output, f"[{{quantize: {{{Q4}, float_run: reference}}}}]",
                                         train="{steps: 100, global_batch: 12, micro_batch: 2}"), ranks)
            self.wait_for_step(output, 2)
            shutil.rmtree(self.folder / "reference")
            said = run.communicate(timeout=240)[0]
            self.assertEqual(run.returncode, 0, said)
            self.assertIn("warning: not measured for the report: the float run reference", said)
            self.assertTrue((self.folder / output / "export/model.gguf").exists())
            compression = self.report(output)["compression"]
            self.assertIn("the float run reference", compression["not_measured"])
            self.assertIn("inference", compression)
            self.assertEqual([b["of"] for b in compression["baselines"]], ["own weights"])
            self.assertIn("What was not measured", self.page(output))

    def test_effects_on_the_loss_rest_on_as_many_samples_as_their_kind_needs(self):
        rows = {"model": "model: {family: mlp, inputs: 12, hidden: [24, 16], outputs: 1}",
                "data": "{kind: random, inputs: 12, samples: 200, validation: 50, targets: binary}",
                "export": "[]"}
        for kind, usual, other, sections in (("rows", 128, 2, rows), ("tokens", 2, 128, {})):
            effects = {}
            for samples in (None, usual, other):
                target = "int8" if kind == "rows" else "gguf:q4_0"
                more = f", effect_samples: {samples}" if samples else ""
                output = f"{kind}{samples}"
                self.train(self.config(output, f"[{{quantize: {{target: '{target}', "
                                       f"energy_seconds: 0{more}}}}}]", **sections))
                effects[samples] = [tensor["loss_effect"]
                                    for tensor in self.report(output)["compression"]["tensors"]]
            self.assertEqual(effects[None], effects[usual])
            self.assertNotEqual(effects[None], effects[other])

    def test_under_an_energy_budget_the_page_says_why_nothing_was_measured(self):
        self.train(self.config("run", f"[{{quantize: {{{Q4}}}}}]",
                               energy="{meter: model, idle_watts: 10, max_watts: 50, "
                                      "budget_joules: 100000}"))
        compression = self.report("run")["compression"]
        self.assertRegex(compression["not_measured"], "energy.budget_joules limits this run")
        self.assertEqual(compression["baselines"], [])
        self.assertIn("energy.budget_joules limits this run", self.page("run"))


if __name__ == "__main__":
    unittest.main()
