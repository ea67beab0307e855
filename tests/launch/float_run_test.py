"""A section `float_run:` trains the file in float first: for its teacher, and for the report."""

import json
import shutil
import signal
import unittest

from wattle_runs import RunTest

QUANTIZE = "{quantize: {target: 'gguf:q4_0', embeddings: target, effect_samples: 0, energy_seconds: 0}}"
DISTIL = "{distil: {temperature: 1.0, weight: 0.7}}"


class FloatRunTest(RunTest):
    def config(self, output: str, compression: str = f"[{QUANTIZE}, {DISTIL}]", **sections):
        run = f"{{seed: 7, output_dir: {output}, threads: 1, deterministic: true}}"
        return self.text_config(output, run=run, compression=compression,
                                **({"float_run": "{}", "export": "[{format: gguf}]"} | sections))

    def gguf(self, output: str) -> bytes:
        return (self.folder / output / "export/model.gguf").read_bytes()

    def test_it_is_the_same_as_two_runs_by_hand(self):
        """On two ranks too; the float run has its own learning rate."""
        first = self.config("first", "[]", float_run="", export="[]",
                            optimizer="{name: adamw, lr: 5.0e-3}")
        text = first.read_text().replace("float_run: \n", "")
        first.write_text(text)
        self.train(first)
        named = self.config("named", f"[{QUANTIZE}, {DISTIL}]", float_run="{}")
        named.write_text(named.read_text().replace("float_run: {}\n", "").replace(
            "{distil: {", "{distil: {teacher: first/checkpoints/step-6, "))
        self.train(named)
        self.train(self.config("own", float_run="{set: [optimizer.lr=5.0e-3]}"), 2)
        self.assertEqual(self.state("own/float"), self.state("first"))
        self.assertEqual(self.gguf("own"), self.gguf("named"))
        self.assertFalse((self.folder / "own/float/export").exists(), "that one is not deployed")

    def test_the_report_says_what_was_gained_over_it(self):
        said = self.train(self.config("run", f"[{QUANTIZE}]")).stderr
        [of_run, of_own] = self.report("run")["compression"]["baselines"]
        self.assertEqual((of_run["of"], of_run["path"]), ("float run", "run/float"))
        self.assertEqual(of_own["of"], "own weights")
        self.assertRegex(said, "above the float run run/float|below the float run run/float")

    def test_a_stop_in_either_part_is_gone_on_from(self):
        steps = {"train": "{steps: 60, global_batch: 12, micro_batch: 2}",
                 "checkpoint": "{every: 100}"}
        self.train(self.config("whole", **steps))
        config = self.config("parts", **steps)
        for output in ("parts/float", "parts"):
            process = self.start(config)
            self.wait_for_step(output, 5)
            process.send_signal(signal.SIGUSR1)
            self.assertEqual(process.wait(60), 75)
        self.train(config)
        self.assertEqual(self.state("parts"), self.state("whole"))
        self.assertEqual(self.gguf("parts"), self.gguf("whole"))
        attempts = {r["attempt"] for r in self.train_metrics("parts")}
        self.assertEqual(attempts, {1, 2})

    def test_its_folder_is_part_of_the_run(self):
        """It goes on where all has moved, and says what is missing where the float run stayed behind."""
        steps = {"train": "{steps: 60, global_batch: 12, micro_batch: 2}",
                 "checkpoint": "{every: 100}"}
        config = self.config("run", **steps)
        process = self.start(config)
        self.wait_for_step("run", 5)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(process.wait(60), 75)
        shutil.copytree(self.folder / "run", self.folder / "moved")
        (self.folder / "run/float").rename(self.folder / "behind")
        done = self.train(config, expect=2)
        self.assertIn("float_run: run has checkpoints, but run/float has none", done.stderr)
        self.assertFalse((self.folder / "run/float").exists())
        done = self.train(config, overrides=["run.output_dir=moved"])
        self.assertIn("going on after step", done.stderr)

    def test_a_failure_of_it_stands_in_the_folder_of_the_run(self):
        config = self.config("run", optimizer="{name: sgd, lr: 1.0e30}")
        done = self.train(config, expect=1)
        self.assertIn("not finite", done.stderr)
        self.assertTrue((self.folder / "run/error.json").exists())
        self.assertFalse((self.folder / "run/float/error.json").exists())

    def test_the_energy_budget_is_for_both(self):
        long = {"train": "{steps: 400, global_batch: 12, micro_batch: 2}"}
        config = self.config("run", f"[{QUANTIZE}]", **long)
        self.train(config)
        joules = max(r["run_energy_joules"] for r in self.metrics("run/float"))
        again = self.config("again", f"[{QUANTIZE}]", **long)
        done = self.train(again, overrides=[f"energy.budget_joules={1.3 * joules}"], expect=3)
        self.assertIn("the float run used", done.stderr)
        used = sum(max(r["run_energy_joules"] for r in self.metrics(part))
                   for part in ("again/float", "again"))
        self.assertLess(used, 1.5 * joules)
        self.assertTrue(self.checkpoints("again"))

    def test_what_can_be_known_is_refused_before_it(self):
        for compression, sections, said in [
            ("[{quantize: {target: 'gguf:q4_0', targets: [blocks.9]}}]", {}, "blocks.9"),
            ("[]", {}, "float_run: compression is empty"),
            (f"[{QUANTIZE}]", {"float_run": "{set: [optimizer.lrr=1]}"}, "optimizer.lrr"),
            (f"[{QUANTIZE}]", {"float_run": "{set: [optimizer.lr=-1]}"}, "optimizer.lr"),
            (f"[{QUANTIZE}]", {"export": "[{format: onnx}]"}, "export"),
            (f"[{QUANTIZE}]", {"float_run": "{set: [model.width=16]}"},
             "float_run: model.width is 16 there, but 32 here; expected the same model"),
            (f"[{DISTIL}]", {"float_run": "{set: [model.vocab=300]}"},
             "float_run: has 300 tokens in its vocabulary, the model 256"),
            (f"[{QUANTIZE}]", {"float_run": "{set: [run.output_dir=elsewhere]}"},
             "float_run.set: run.output_dir is elsewhere, expected run/float"),
            (f"[{QUANTIZE}]", {"float_run": f"{{set: [\"compression=[{QUANTIZE}]\"]}}"},
             "float_run.set: compression is given"),
            (f"[{QUANTIZE}]", {"float_run": "{set: [parallelism.backend=mpi]}"},
             "float_run.set: parallelism is changed"),
        ]:
            self.refused(self.config("run", compression, **sections), said)

    def test_distilling_a_model_of_numbers_is_refused_before_it(self):
        self.write("numbers.csv", "".join(f"{i},{i % 7},{0.1 * i}\n" for i in range(60)))
        run = {"model": "model: {family: mlp, inputs: 2, hidden: [8]}", "export": "[]",
               "data": "{kind: csv, path: numbers.csv, header: false, targets: numbers}"}
        self.refused(self.config("run", "[{quantize: {target: int8}}, {distil: {}}]", **run),
                     "compression.1.distil: the model predicts values")

    def refused(self, config, said: str):
        """By the run, before anything is trained, and by its plan."""
        with self.subTest(said=said):
            done = self.train(config, expect=2)
            self.assertIn(said, done.stderr)
            for folder in ("run/float", "elsewhere"):
                self.assertFalse((self.folder / folder).exists(), folder)
            plan = self.train(config, 0, arguments=["plan", "--json"], expect=2)
            answer = json.loads(plan.stdout)
            self.assertFalse(answer["valid"])
            self.assertIn(said, "\n".join(answer["errors"]))

    def test_a_teacher_is_named_or_trained(self):
        config = self.config("run")
        config.write_text(config.read_text().replace("float_run: {}\n", ""))
        done = self.train(config, expect=2)
        self.assertIn("compression.1.distil.teacher: is required; or train one first", done.stderr)


if __name__ == "__main__":
    unittest.main()
