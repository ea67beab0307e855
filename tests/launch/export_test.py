"""Exports: what a file can't hold is refused before training, what fails afterwards loses nothing,
equal runs and other numbers of ranks give equal bytes, and every file names its ledger."""

import hashlib
import json
import pathlib
import unittest

from wattle_runs import RunTest, TINY_GPT

TINY_LLAMA = TINY_GPT.replace("gpt2", "llama")
MLP = "model: {family: mlp, inputs: 12, hidden: [24, 16], outputs: 1}"
RANDOM = "{kind: random, inputs: 12, samples: 200, validation: 50, targets: binary}"
EARLY = ("{steps: 6, global_batch: 12, micro_batch: 2, eval_every: 2, "
         "early_stop: {patience: 1, min_improvement: 100}}")  # after 4 steps
LEDGER_KEY = b"wattle.compression_ledger.xxh3_128"


def quantize(target: str, more: str = "") -> str:
    return f"[{{quantize: {{target: '{target}', energy_seconds: 0{more}}}}}]"


class ExportTest(RunTest):
    def config(self, output: str, compression: str, export: str, model: str = TINY_LLAMA, **sections):
        rows = {"data": RANDOM, "train": "{steps: 6, global_batch: 12, micro_batch: 2}"}
        run = f"{{seed: 7, output_dir: {output}, threads: 1, deterministic: true}}"
        return self.text_config(output, model, run=run, compression=compression, export=export,
                                **((rows if model == MLP else {}) | sections))

    def files(self, output: str) -> dict:
        folder = self.folder / output / "export"
        return {str(path.relative_to(folder)): path.read_bytes()
                for path in sorted(folder.rglob("*")) if path.is_file()}

    def assert_same_files(self, one: dict, other: dict):
        self.assertEqual({name: hashlib.sha256(data).hexdigest() for name, data in one.items()},
                         {name: hashlib.sha256(data).hexdigest() for name, data in other.items()})

    def refused(self, expected: str, *arguments, **sections):
        done = self.train(self.config("bad", *arguments, **sections), expect=2)
        self.assertRegex(done.stderr, expected)
        self.assertEqual(self.metrics("bad"), [])

    def test_what_a_killed_export_left_aside_is_removed(self):
        left = [self.write(f"run/export/{name}.4711.tmp", "half") for name in (
            "model.onnx", "folder/model.safetensors")]
        own = [self.write(f"run/export/{name}", "a user's") for name in ("notes.tmp", "a.b.tmp")]
        config = self.config("run", "[]", "[{format: safetensors, path: folder}]")
        self.train(config)
        self.assertEqual([path.exists() for path in left + own], [False, False, True, True])
        self.assertEqual(sorted(file["path"] for file in self.report("run")["exported"]),
                         ["run/export/folder/config.json", "run/export/folder/model.safetensors"])

    def test_pairs_that_no_file_can_hold_are_refused_at_their_place(self):
        place = r"bad\.yaml:\d+:\d+: export\.0\.format: "
        for target, format in (("int8", "gguf"), ("ternary", "compressed-tensors"),
                               ("int16", "compressed-tensors"), ("gguf:q4_0", "compressed-tensors")):
            self.refused(place + f"{format} can't hold {target}.*, for which "
                         r"compression\.0\.quantize trains; expected", quantize(target),
                         f"[{{format: {format}}}]")
        for target in ("ternary", "fp8", "gguf:q8_0"):
            self.refused(place + "onnx can't hold " + target, quantize(target), "[{format: onnx}]", MLP)
        self.refused(place + "a model of family gpt2 can't be written so: compressed-tensors is for "
                     "llama", quantize("int4"), "[{format: compressed-tensors}]", TINY_GPT)
        self.refused(r"bad\.yaml:\d+:\d+: compression\.0\.quantize\.embeddings: quantises the "
                     "embedding, which compressed-tensors can't hold",
                     quantize("int4", ", embeddings: target"), "[{format: compressed-tensors}]")
        self.refused(r"compression\.0\.quantize\.targets: chooses the embedding embed\.tokens\.weight",
                     quantize("int4", ", targets: ['re:.*'], embeddings: target"),
                     "[{format: compressed-tensors}]")
        self.refused(place + "a compressed-tensors folder can't hold both fp8:channel and int4:group32",
                     quantize("int4", ", widths: {formats: ['int4:group32', 'fp8:channel'], "
                              "budget_bytes: 30000}"), "[{format: compressed-tensors}]")
        self.refused(r"export\.0\.format: compressed-tensors needs a quantize entry", "[]",
                     "[{format: compressed-tensors}]")

    def test_two_files_at_one_place_are_refused(self):
        place = r"bad\.yaml:\d+:\d+: export\.1\.path: .*bad/export/%s is written by export\.0 already"
        for name, exports in {
                "model.gguf": "[{format: gguf}, {format: gguf, type: q4_0}]",
                "here": "[{format: safetensors, path: here}, {format: gguf, path: ./there/../here/}]",
                "x.gguf": f"[{{format: gguf, path: x.gguf}}, "
                          f"{{format: gguf, path: {self.folder}/bad/export/x.gguf}}]"}.items():
            self.refused(place % name, "[]", exports)

    def test_what_only_the_model_tells_is_refused_before_training(self):
        narrow = "model: {family: llama, layers: 1, width: 40, heads: 2, vocab: 256, positions: 32}"
        self.refused(r"export\.0\.type.*a row of 40 values", "[]", "[{format: gguf, type: q4_0}]",
                     narrow)
        self.train(self.config("gpt2", "[]", "[{format: safetensors}]", TINY_GPT))
        self.refused(r"export\.0\.format: a model of family gpt2", quantize("int4"),
                     "[{format: compressed-tensors}]",
                     "model: {init_from: gpt2/export/safetensors}")

    def test_entries_that_have_ended_are_no_obstacle(self):
        ended = quantize("int8", ", end_step: 3")
        self.train(self.config("run", ended, "[{format: gguf}]"))
        self.assertIn("model.gguf", self.files("run"))

    def test_what_is_active_after_the_epochs_is_refused_before_them(self):
        epoch = "{epochs: 1, global_batch: 12, micro_batch: 2}"
        def handover(step: int) -> str:
            return (quantize("int8", f", end_step: {step}")[:-1] + ", " +
                    quantize("gguf:q4_0", f", begin_step: {step}")[1:])
        self.refused(r"export\.0\.format: gguf can't hold int8:channel, for which "
                     r"compression\.0\.quantize trains", handover(1000), "[{format: gguf}]",
                     train=epoch)
        self.train(self.config("run", handover(3), "[{format: gguf}]", train=epoch))
        self.assertIn("model.gguf", self.files("run"))

    def test_what_rows_get_that_no_width_fits_is_refused(self):
        def widths(formats: str) -> str:
            return quantize("fp8", f", widths: {{formats: [{formats}], budget_bytes: 100000}}")
        narrow = "model: {family: mlp, inputs: 20, hidden: [32], outputs: 1}"
        data = RANDOM.replace("inputs: 12", "inputs: 20")
        self.refused(r"export\.0\.format: onnx can't hold fp8:channel, for which compression\.0\."
                     r"quantize trains hidden\.0\.weight, which no format of widths fits; expected",
                     widths("'int4:group32', 'int8:group32'"), "[{format: onnx}]", narrow, data=data)
        self.refused(r"export\.0\.format: a compressed-tensors folder can't hold both fp8:channel and "
                     "int8:group64", widths("'int4:group64', 'int8:group64'"),
                     "[{format: compressed-tensors}]")

    def test_what_an_early_stop_may_leave_active_is_refused(self):
        place = r"bad\.yaml:\d+:\d+: export\.0\.format: "
        self.refused(place + "gguf can't hold int8", quantize("int8", ", end_step: 3"),
                     "[{format: gguf}]", train=EARLY)
        self.train(self.config("run", quantize("int8", ", end_step: 1"), "[{format: gguf}]",
                               train=EARLY))
        apart = (quantize("fp8", ", end_step: 5, targets: ['re:.*attention.*']")[:-1] + ", " +
                 quantize("int4", ", begin_step: 5, targets: ['re:.*feed_forward.*']")[1:])
        self.refused(place + "a compressed-tensors folder can't hold both fp8:channel and int4:group32",
                     apart, "[{format: compressed-tensors}]", train=EARLY)

    def test_formats_that_follow_one_another_need_no_common_packing(self):
        handover = (quantize("fp8", ", end_step: 6")[:-1] + ", " +
                    quantize("int4", ", begin_step: 6")[1:])
        self.train(self.config("run", handover, "[{format: compressed-tensors}]"))
        self.assertIn("compressed-tensors/config.json", self.files("run"))
        early = quantize("fp8", ", end_step: 5")[:-1] + ", " + quantize("int4", ", begin_step: 5")[1:]
        self.train(self.config("early", early, "[{format: compressed-tensors}]", train=EARLY))
        self.assertIn(b"float-quantized", self.files("early")["compressed-tensors/config.json"])

    def test_nan_in_samples_is_found_before_training(self):
        rows = [f"{i}.5,{i % 7},{i % 2}" for i in range(40)]
        rows[17] = "nan,1,0"
        self.write("table.csv", "\n".join(rows) + "\n")
        model = MLP.replace("inputs: 12", "inputs: 2")
        for more in (", begin_step: 4, activations: {}", ", begin_step: 4, gptq: {samples: 40}"):
            done = self.train(self.config("bad", quantize("int8", more), "[]", model,
                                          data="{kind: csv, path: table.csv, header: false, "
                                               "target: '2', targets: binary, validation: 1}",
                                          train="{steps: 6, global_batch: 4, micro_batch: 2}"),
                              expect=1)
            self.assertRegex(done.stderr, r"table\.csv:18: column 1: expected a finite float32 number")
            self.assertEqual(self.metrics("bad"), [])

    def test_places_that_cannot_be_written_are_found_before_training(self):
        self.write("file", "no folder")
        (self.folder / "folder.gguf").mkdir()
        (self.folder / "link").symlink_to(self.folder / "nowhere")
        here = self.folder
        for export, expected in {
                f"{{format: gguf, path: {here}/file/model.gguf}}":
                    r"file/model\.gguf: its folder can't be made: Not a directory",
                f"{{format: gguf, path: {here}/folder.gguf}}":
                    r"folder\.gguf: expected a file, it is a folder",
                f"{{format: safetensors, path: {here}/file}}": "file: expected a folder: it is a file",
                f"{{format: safetensors, path: {here}/link}}": "link: expected a folder: it is a link",
                f"{{format: safetensors, path: {here}/file/model}}": "file/model.*Not a directory",
                "{format: gguf, path: /proc/model.gguf}": r"/proc/model\.gguf: can't be created"}.items():
            for compression in ("[]", quantize("gguf:q4_0")):
                done = self.train(self.config("bad", compression, f"[{{format: gguf}}, {export}]"), 2,
                                  expect=1)
                self.assertRegex(done.stderr, r"export\.1\.path: .*" + expected)
                self.assertEqual(self.metrics("bad"), [])
                self.assertEqual(self.files("bad"), {}, "what was tried is gone")
        done = self.train(self.config("bad", "[]", "[{format: gguf, path: a}, {format: gguf, path: a/b}]"),
                          expect=1)
        self.assertRegex(done.stderr, r"export\.0\.path: .*/a: expected a file, it is a folder")
        self.write("taken/export", "a file")
        done = self.train(self.config("taken", quantize("gguf:q4_0"),
                                      f"[{{format: gguf, path: {here}/model.gguf}}]"), expect=1)
        self.assertRegex(done.stderr, r"taken/export/compression_ledger\.json: its folder can't be made")
        self.assertEqual(self.metrics("taken"), [])

    def test_an_export_that_fails_loses_neither_the_report_nor_the_other_exports(self):
        place = self.folder / "place"
        export = f"[{{format: gguf, path: {place}/model.gguf}}, {{format: safetensors}}]"
        config = self.config("run", quantize("gguf:q4_0"), export,
                             train="{steps: 60, global_batch: 12, micro_batch: 2}")
        run = self.start(config, 2)
        self.wait_for_step("run", 2)
        place.rmdir()
        place.write_text("no folder any more")
        said = run.communicate(timeout=240)[0]
        self.assertEqual(run.returncode, 1, said)
        self.assertRegex(said, r"not exported: .*place/model\.gguf: ")
        report = self.report("run")
        self.assertIn("place/model.gguf", report["export_failure"])
        self.assertEqual(report["training"]["ended"], "trained, but an export failed")
        self.assertIn("safetensors/model.safetensors", self.files("run"))
        self.assertEqual({pathlib.Path(f["path"]).name for f in report["exported"]},
                         {"model.safetensors", "config.json"})
        self.assertIn("An export failed", (self.folder / "run/report.html").read_text())
        # Run again where it can be written, it trains no more and exports.
        place.unlink()
        self.train(config, 2)
        self.assertTrue((place / "model.gguf").exists())
        self.assertEqual(self.report("run")["training"]["ended"], "done")
        self.assertEqual(len(self.train_metrics("run")), 60)

    def test_a_run_in_float_says_the_hashes_of_its_files(self):
        self.train(self.config("run", "[]", "[{format: gguf}]"))
        [file] = self.report("run")["exported"]
        self.assertRegex(file["xxh3_128"], "^[0-9a-f]{32}$")
        self.assertIn(file["xxh3_128"], (self.folder / "run/report.html").read_text())

    CASES = {
        "gguf": ("gguf:q4_0", "", "[{format: gguf}, {format: safetensors}]", TINY_LLAMA),
        "compressed-tensors": ("int4", "", "[{format: compressed-tensors}, {format: safetensors}]",
                               TINY_LLAMA),
        "onnx": ("int8", ", begin_step: 1, activations: {begin_step: 2}", "[{format: onnx}]", MLP),
    }

    def test_equal_runs_and_all_layouts_give_equal_bytes_that_name_their_ledger(self):
        for name, (target, more, export, model) in self.CASES.items():
            compression = quantize(target, more)
            self.train(self.config(f"{name}1", compression, export, model), 1)
            files = self.files(f"{name}1")
            self.train(self.config(f"{name}again", compression, export, model), 1)
            self.assert_same_files(self.files(f"{name}again"), files)
            ledger = self.report(f"{name}1")["compression"]["ledger_xxh3_128"].encode()
            for path, data in files.items():
                if not path.endswith(".json"):
                    self.assertIn(LEDGER_KEY, data, path)
                    self.assertIn(ledger, data, path)
            for ranks in (2, 3):
                # Trained on so many, and its checkpoint, which lies in so many shards, exported by
                # any number.
                output = f"{name}{ranks}"
                config = self.config(output, compression, export, model)
                self.train(config, ranks)
                self.assert_same_files(self.files(output), files)
                for exporting in (1, 2, 3):
                    for path in self.files(output):
                        (self.folder / output / "export" / path).unlink()
                    self.train(config, exporting, arguments=("export",))
                    self.assert_same_files(self.files(output), files)


if __name__ == "__main__":
    unittest.main()
