"""GPTQ, distillation and the report of compression as their users run them."""

import json
import unittest

from wattle_runs import RunTest, english

GGUF = "[{format: gguf}]"


class CompressionRunTest(RunTest):
    def config(self, output: str, compression: str, **sections):
        run = f"{{seed: 7, output_dir: {output}, threads: 1, deterministic: true}}"
        return self.text_config(output, run=run, compression=compression,
                                **({"export": GGUF} | sections))

    def gguf(self, output: str) -> bytes:
        return (self.folder / output / "export/model.gguf").read_bytes()

    def last_eval_loss(self, output: str) -> float:
        return [r for r in self.metrics(output) if r["phase"] == "evaluate"][-1]["eval_loss"]

    def test_gptq_after_training_beats_the_nearest_and_no_rank_changes_it(self):
        """begin_step: train.steps: training is in float, the file is rounded after it."""
        gptq = "[{quantize: {target: int4, embeddings: target, begin_step: 40, gptq: {samples: 40}}}]"
        sections = {"train": "{steps: 40, global_batch: 12, micro_batch: 2}", "export": "[]"}
        self.train(self.config("one", gptq, **sections), 1)
        self.train(self.config("two", gptq, **sections), 2)
        self.assert_same_bytes(self.state("two"), self.state("one"))
        [baseline] = self.report("one")["compression"]["baselines"]
        self.assertEqual((baseline["of"], baseline["step"]), ("before gptq", 40))
        self.assertEqual(baseline["gained_over_nearest"],
                         baseline["nearest_loss"] - self.last_eval_loss("one"))
        self.assertLess(baseline["gptq_loss"], baseline["nearest_loss"])
        self.assertEqual(self.last_eval_loss("one"), baseline["gptq_loss"])

    def test_training_goes_on_from_gptq(self):
        gptq = "[{quantize: {target: 'gguf:q4_0', begin_step: 2, gptq: {samples: 8}}}]"
        self.train(self.config("whole", gptq))
        self.train(self.config("parts", gptq), overrides=["train.steps=3"])
        self.train(self.config("parts", gptq))
        self.assert_same_bytes(self.state("parts"), self.state("whole"))
        self.assertEqual(self.gguf("parts"), self.gguf("whole"))

    def test_a_student_with_little_text_learns_more_from_a_teacher(self):
        """Both students read 400 letters again and again, quantised; one has a teacher that has read
        much more. What counts is a text that none has read."""
        self.write("little.txt", english(400, 3))
        self.write("unread.txt", english(3000, 2))

        def trained(output: str, text: str, steps: int, compression: str) -> float:
            data = (f"{{kind: text, path: {text}, tokenizer: bytes, sequence_length: 32, "
                    "validation: unread.txt}")
            train = f"{{steps: {steps}, global_batch: 12, micro_batch: 6}}"
            self.train(self.config(output, compression, data=data, train=train, export="[]"))
            return self.last_eval_loss(output)

        teacher = trained("teacher", "text.txt", 600, "[]")
        quantize = ("{quantize: {target: 'gguf:q4_0', embeddings: target, baseline: none, "
                    "effect_samples: 0}}")
        distil = "{distil: {teacher: teacher/checkpoints/step-600, temperature: 1.0, weight: 0.9}}"
        alone = trained("alone", "little.txt", 300, f"[{quantize}]")
        taught = trained("taught", "little.txt", 300, f"[{quantize}, {distil}]")
        self.assertLess(teacher, 1)
        self.assertLess(taught, 0.7 * alone)

    def test_the_report_explains_what_was_compressed(self):
        self.train(self.config("run", "[{quantize: {target: 'gguf:q4_0', embeddings: target}}]"))
        found = self.report("run")["compression"]
        self.assertLess(found["bytes_after"], 0.3 * found["bytes_before"])
        tensor = {t["name"]: t for t in found["tensors"]}["blocks.0.attention.qkv.weight"]
        self.assertEqual(tensor["bits_per_weight"], 4.5)
        self.assertEqual(tensor["bytes_after"], 96 * 32 * 18 // 32)
        self.assertGreater(tensor["signal_to_noise_db"], 10)
        energy = found["inference"]["energy"]
        self.assertEqual((energy["source"], energy["estimated"]), ("estimated:model", True))
        self.assertEqual(energy["pairs"], 7)
        for side in ("float", "compressed"):
            figures = energy[side]
            self.assertGreater(figures["least"], 0)
            self.assertLessEqual(figures["least"], figures["median"])
            self.assertLessEqual(figures["median"], figures["most"])
        same_sign = energy["difference"]["least"] * energy["difference"]["most"] > 0
        self.assertEqual(energy["verdict"] != "no difference measured", same_sign)
        self.assertEqual(found["inference"]["compressed"]["loss"], self.last_eval_loss("run"))
        self.assertIn(found["ledger_xxh3_128"].encode(), self.gguf("run"))
        [file] = self.report("run")["exported"]
        self.assertTrue(file["path"].endswith("model.gguf"))
        self.assertEqual(file["bytes"], len(self.gguf("run")))
        page = (self.folder / "run/report.html").read_text()
        self.assertIn(file["xxh3_128"], page)
        self.assertIn("blocks.0.attention.qkv.weight", page)

    def test_widths_are_chosen_within_the_budget_and_alike_on_all_ranks(self):
        """Four-bit weights of this model take 17 kB, eight-bit ones 32 kB."""
        quantize = ("[{quantize: {target: 'gguf:q4_0', embeddings: target, widths: "
                    "{formats: ['gguf:q4_0', 'gguf:q8_0'], budget_bytes: 26000, samples: 12}}}]")
        for output, ranks in (("one", 1), ("two", 2)):
            self.train(self.config(output, quantize), ranks)
        self.assertEqual(self.gguf("one"), self.gguf("two"))
        report = self.report("one")["compression"]
        self.assertEqual(len(report["widths"]), 2 * len(report["tensors"]))
        chosen = {w["name"]: w for w in report["widths"] if w["chosen"]}
        self.assertEqual({w["format"] for w in chosen.values()}, {"gguf:q4_0", "gguf:q8_0"})
        self.assertLessEqual(sum(w["bytes"] for w in chosen.values()), 26000)
        for tensor in report["tensors"]:
            self.assertEqual(tensor["format"], chosen[tensor["name"]]["format"])
        for width in report["widths"]:
            self.assertGreater(width["kl_divergence"], 0)
        ledger = json.loads((self.folder / "one/export/compression_ledger.json").read_text())
        said = [event["what"] for event in ledger["compression.0.quantize"]["events"]]
        self.assertRegex(said[0], r"widths are chosen: \d+ bytes")
        self.assertEqual(report["width_budgets"],
                         [{"entry": "compression.0.quantize", "bytes": 26000}])

    def test_a_budget_of_joules_is_one_of_bytes_and_says_that_it_is_estimated(self):
        widths = "{formats: ['gguf:q4_0', 'gguf:q8_0'], samples: 4, "
        entry = "[{quantize: {target: 'gguf:q4_0', embeddings: target, widths: "
        self.train(self.config("bytes", entry + widths + "budget_bytes: 26000}}}]"))
        joules = "budget_joules: 5.2e-6, joules_per_byte: 2.0e-10}}}]"
        self.train(self.config("joules", entry + widths + joules))
        formats = [{t["name"]: t["format"] for t in self.report(output)["compression"]["tensors"]}
                   for output in ("bytes", "joules")]
        self.assertEqual(formats[0], formats[1])
        ledgers = [(self.folder / output / "export/compression_ledger.json").read_text()
                   for output in ("bytes", "joules")]
        self.assertEqual(ledgers[0], ledgers[1])
        budget = self.report("joules")["compression"]["width_budgets"][0]
        self.assertEqual((budget["joules"], budget["joules_per_byte"]), (5.2e-6, 2e-10))
        self.assertRegex(budget["source"], r"^estimated: ")
        page = (self.folder / "joules/report.html").read_text()
        self.assertIn("estimated at 2e-10 J a byte", page)

    def test_gains_are_over_the_same_training_in_float_rounded_afterwards(self):
        """What fine-tuning itself brings is no gain of quantised training."""
        plain = "[{format: gguf, type: q4_0, embeddings: target, path: ptq.gguf}]"
        self.train(self.config("float", "[]", export=plain))
        quantize = "target: 'gguf:q4_0', embeddings: target"
        named = f"[{{quantize: {{{quantize}, begin_step: 2, float_run: float/checkpoints/step-6}}}}]"
        self.train(self.config("run", named), 2)
        report = self.report("run")["compression"]
        of_run, own = report["baselines"]
        self.assertEqual((of_run["of"], own["of"]), ("float run", "own weights"))
        self.assertIn("float/checkpoints/step-6", of_run["what"])
        self.assertAlmostEqual(of_run["float_loss"], self.last_eval_loss("float"), 12)
        rounded = self.train(self.folder / "float.yaml", arguments=("eval", "--json"),
                             overrides=["model.init_from=float/export/ptq.gguf"])
        self.assertAlmostEqual(of_run["nearest_loss"], json.loads(rounded.stdout)["loss"], 12)
        self.assertEqual(of_run["trained_loss"], self.last_eval_loss("run"))
        self.assertEqual(of_run["gained_over_nearest"],
                         of_run["nearest_loss"] - of_run["trained_loss"])
        # Rounding one's own weights afterwards is what this run did: nothing is gained over it.
        self.assertNotIn("gained_over_nearest", own)
        self.assertEqual(own["nearest_loss"], own["trained_loss"])
        masters = self.train(self.folder / "run.yaml", arguments=("eval", "--json"),
                             overrides=["evaluate.masters=true"])
        self.assertAlmostEqual(own["float_loss"], json.loads(masters.stdout)["loss"], 12)
        page = (self.folder / "run/report.html").read_text()
        self.assertIn("Gained over rounding", page)
        self.train(self.config("unnamed", f"[{{quantize: {{{quantize}, begin_step: 2}}}}]"))
        self.assertNotIn("Gained over rounding", (self.folder / "unnamed/report.html").read_text())
        self.assertEqual(self.gguf("unnamed"), self.gguf("run"), "the report's keys change no file")

    def test_the_float_side_is_float_with_several_entries(self):
        two = ("[{quantize: {target: 'gguf:q4_0', targets: [blocks.0], embeddings: float}}, "
               "{quantize: {target: 'gguf:q8_0', targets: [blocks.1], embeddings: float, "
               "begin_step: 4, baseline: gptq}}]")
        self.train(self.config("run", two))
        masters = self.train(self.folder / "run.yaml", arguments=("eval", "--json"),
                             overrides=["evaluate.masters=true"])
        [own] = self.report("run")["compression"]["baselines"]
        self.assertAlmostEqual(own["float_loss"], json.loads(masters.stdout)["loss"], 12)
        self.assertEqual(own["nearest_loss"], own["trained_loss"])
        self.assertNotEqual(own["gptq_loss"], own["trained_loss"])

    def test_a_teacher_of_the_same_shape_is_compared_with_too(self):
        self.train(self.config("float", "[]", export="[]"))
        distil = "{distil: {teacher: float/checkpoints/step-6}}"
        self.train(self.config("run", f"[{{quantize: {{target: 'gguf:q4_0'}}}}, {distil}]"))
        teacher, own = self.report("run")["compression"]["baselines"]
        self.assertEqual((teacher["of"], own["of"]), ("teacher", "own weights"))
        self.assertAlmostEqual(teacher["float_loss"], self.last_eval_loss("float"), 12)
        self.assertGreater(abs(teacher["gained_over_nearest"]), 0)

    def refused(self, compression: str, expected: str):
        done = self.train(self.config("bad", compression), expect=2)
        self.assertRegex(done.stderr, expected)
        self.assertEqual(self.checkpoints("bad"), [])

    def test_bad_input_is_refused_before_training(self):
        other = self.text_config("other", "model: {family: gpt2, layers: 1, width: 32, heads: 2, "
                                 "vocab: 300, positions: 32}")
        self.train(other)
        self.refused("[{distil: {teacher: other/checkpoints/step-6}}]",
                     r"compression\.0\.distil\.teacher: has 300 tokens in its vocabulary, the "
                     r"model 256")
        self.refused("[{distil: {temperature: 2}}]", r"teacher")
        self.refused("[{distil: {teacher: other/checkpoints/step-6, temperature: 0}}]",
                     r"temperature")
        widths = "formats: ['gguf:q4_0', 'gguf:q8_0']"
        self.refused(f"[{{quantize: {{target: 'gguf:q4_0', widths: {{{widths}, budget_bytes: 9}}}}}}]",
                     r"widths: the budget is 9, but the smallest formats take \d+")
        self.refused(f"[{{quantize: {{target: int8, widths: {{{widths}, budget_bytes: 90000}}}}}}]",
                     r"gguf:q4_0 doesn't go with target int8")
        self.refused(f"[{{quantize: {{target: 'gguf:q4_0', widths: {{{widths}}}}}}}]",
                     r"expected one budget")
        for key, entry in (("distil.teacher", "distil: {teacher: nowhere.gguf}"),
                           ("quantize.float_run",
                            "quantize: {target: 'gguf:q4_0', float_run: nowhere.gguf}")):
            self.refused(f"[{{{entry}}}]",
                         rf"compression\.0\.{key}: no such file or folder: 'nowhere\.gguf'")
        self.refused("[{quantize: {target: 'gguf:q4_0', float_run: other/checkpoints/step-6}}]",
                     r"compression\.0\.quantize\.float_run: model\.layers is 1 there, but 2 here")
        quantised = self.config("quantised", "[{quantize: {target: 'gguf:q4_0'}}]", export="[]")
        self.train(quantised)
        self.refused("[{quantize: {target: 'gguf:q4_0', float_run: quantised/checkpoints/step-6}}]",
                     r"float_run: .* was itself trained with compression\.0\.quantize")
        run = "float_run: other/checkpoints/step-6"
        self.refused(f"[{{quantize: {{target: 'gguf:q4_0', end_step: 2, {run}}}}}, "
                     f"{{quantize: {{target: 'gguf:q8_0', begin_step: 2, {run}}}}}]",
                     r"compression\.1\.quantize\.float_run: stands in an entry before")
        self.refused("[{quantize: {target: 'gguf:q4_0', gptq: {samples: 0}}}]", r"gptq\.samples")
        self.refused("[{quantize: {target: int8, learn: step, gptq: {samples: 4}}}]", r"learn: step")
        self.refused("[{quantize: {target: int8}, distil: {teacher: x.gguf}}]", r"several kinds")


    def test_teachers_take_turns(self):
        self.train(self.config("float", "[]", export="[]"))
        one, other = ("{distil: {teacher: float/checkpoints/step-6, %s}}" % step
                      for step in ("end_step: 3", "begin_step: 2"))
        self.refused(f"[{one}, {other}]", r"bad\.yaml:\d+:\d+: compression\.1\.distil: "
                     r"compression\.0\.distil teaches at the same time, from step 2 on")
        self.train(self.config("turns", f"[{one}, {other.replace('2', '3')}]", export="[]"))

    def test_phases_past_the_end_are_told_whatever_the_end_follows_from(self):
        late = "[{quantize: {target: int8, begin_step: 900, freeze_observers_step: 950}}]"
        for length in ("steps: 6", "epochs: 1"):
            train = f"{{{length}, global_batch: 12, micro_batch: 2}}"
            done = self.train(self.config("late", late, export="[]", train=train),
                              overrides=[f"run.output_dir=late-{length[:5]}"])
            for key in ("begin_step", "freeze_observers_step"):
                self.assertRegex(done.stderr, rf"warning: .*compression\.0\.quantize\.{key}: 9\d0 is "
                                              r"past the last step, \d+")

    def test_scales_that_have_no_step_to_learn_in_are_told(self):
        for begin_step, is_told in ((5, self.assertNotRegex), (6, self.assertRegex)):
            entry = f"[{{quantize: {{target: int8, learn: step, begin_step: {begin_step}}}}}]"
            done = self.train(self.config(f"run{begin_step}", entry, export="[]"))
            is_told(done.stderr, r"warning: .*quantize\.learn: nothing is learned: begin_step is the "
                                 r"last step, 6")

    def test_phases_that_end_too_soon_or_come_in_the_wrong_order_are_told(self):
        done = self.train(self.config("early", "[{quantize: {target: 'gguf:q4_0', end_step: 4}}]"))
        self.assertRegex(done.stderr, r"warning: .*quantize\.end_step: 4 is before the last step, 6: "
                                      r"these weights are in float")
        order = ("[{quantize: {target: int8, freeze_observers_step: 2, freeze_batch_norm_step: 4}}]")
        self.write("digits.csv", "".join(",".join(map(str, [*((p * i) % 17 for p in range(64)),
                                                                i % 10])) + "\n" for i in range(40)))
        done = self.train(self.config("order", order, model="model: {family: resnet, channels: [4]}",
                                      data="{kind: digits, path: digits.csv}", export="[]"))
        self.assertRegex(done.stderr, r"warning: .*freeze_observers_step: 2 comes before "
                                      r"freeze_batch_norm_step 4")


if __name__ == "__main__":
    unittest.main()
