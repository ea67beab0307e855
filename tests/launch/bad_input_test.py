"""Bad input ends with a message that names the place, what was expected and what came; nothing
that was there before is lost."""

import pathlib
import shutil
import struct
import subprocess
import unittest

from wattle_runs import BIN, RunTest


def gguf_header() -> bytes:
    """A GGUF file that names its architecture and one tensor, and ends before the tensor's data."""
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()
    return (b"GGUF" + struct.pack("<IQQ", 3, 1, 1) +
            text("general.architecture") + struct.pack("<I", 8) + text("llama") +
            text("token_embd.weight") + struct.pack("<IQQIQ", 2, 32, 256, 0, 0))


class ConfigurationTest(RunTest):
    """Mistakes in the file: exit code 2, a line each, before anything is written."""

    def refuse(self, *expected: str, overrides=(), ranks: int = 0, **sections):
        config = self.text_config(**sections)
        done = self.train(config, ranks, overrides=overrides, expect=2)
        for text in expected:
            self.assertRegex(done.stderr, text)
        self.assertFalse((self.folder / "run" / "checkpoints").exists())
        self.assertFalse((self.folder / "run" / "metrics.jsonl").exists())
        return done

    def test_table_of_mistakes(self):
        self.write("table.csv", "a,b,target\n" + "1,2,0\n3,4,1\n" * 20)
        cases = {
            "an unknown key": (dict(train="{step: 6}"),
                               r"run\.yaml:4:9: train\.step: unknown key \(did you mean 'steps'\?\)"),
            "an unknown section": (dict(trian="{steps: 6}"),
                                   r"run\.yaml:8:1: trian: unknown key \(did you mean 'train'\?\)"),
            "a wrong type": (dict(train="{steps: many}"),
                             r"run\.yaml:4:16: train\.steps: expected .*integer.*, got 'many'"),
            "an unknown value": (dict(optimizer="{name: adamax}"),
                                 r"run\.yaml:5:19: optimizer\.name: .*adamax.*did you mean 'adam"),
            "a value out of range": (dict(optimizer="{lr: -1}"), r"run\.yaml:5:17: optimizer\.lr: .*-1"),
            "steps and epochs": (dict(train="{steps: 6, epochs: 2}"), r"run\.yaml:4:\d+: train\.\w+: "),
            "neither steps nor epochs": (dict(train="{global_batch: 4}"), r"run\.yaml:4:\d+: train"),
            "a missing file": (dict(data="{kind: text, path: nowhere.txt}"),
                               r"run\.yaml:3:26: data\.path: no such file: 'nowhere\.txt'"),
            "a key of another optimizer": (dict(optimizer="{name: adamw, momentum: 0.9}"),
                                           r"run\.yaml:5:36: optimizer\.momentum: only sgd"),
            "a layout of another version": (dict(parallelism="{tensor: 2}"),
                                            r"run\.yaml:8:23: parallelism\.tensor: 2 is not available"),
            "a sequence longer than the model's positions": (
                dict(data="{kind: text, path: text.txt, sequence_length: 33}"),
                r"run\.yaml:3:53: data\.sequence_length: 33 .*32 positions"),
            "a model of tokens on rows": (dict(data="{kind: random}"),
                                          r"run\.yaml:\d+:\d+: (data\.kind|model\.family): "),
            "a model of rows on tokens": (
                dict(model="model: {family: mlp, inputs: 10, hidden: [4]}"),
                r"run\.yaml:\d+:\d+: (data\.kind|model\.family): "),
            "rows of another width": (
                dict(model="model: {family: mlp, inputs: 10, hidden: [4]}",
                     data="{kind: random, inputs: 11}"),
                r"run\.yaml:1:\d+: model\.inputs: 10.*11"),
            "a table of another width": (
                dict(model="model: {family: mlp, inputs: 10, hidden: [4]}",
                     data="{kind: csv, path: table.csv, validation: 1}"),
                r"model\.inputs: 10, but a sample of the data has 2"),
            "tokens beyond the vocabulary": (
                dict(model="model: {family: gpt2, layers: 1, width: 16, heads: 2, vocab: 100}"),
                r"model\.vocab: 100, but the data's tokens are of a vocabulary of 256"),
            "a number that is none": (dict(optimizer="{lr: .inf}"),
                                      r"run\.yaml:5:17: optimizer\.lr: expected number, got '\.inf'"),
            "no output folder": (dict(run="{output_dir: ''}"),
                                 r"run\.yaml:2:19: run\.output_dir: is empty"),
            "a second document": (dict(train="{steps: 6}\n---\nmodel: {family: mlp}"),
                                  r"run\.yaml:6:1: a second document begins; expected one"),
            "YAML that is none": (dict(train="{steps: 6"), r"run\.yaml:\d+:\d+: "),
        }
        for name, (sections, expected) in cases.items():
            with self.subTest(name):
                self.refuse(expected, **sections)

    def test_all_mistakes_in_one_pass(self):
        done = self.refuse(r"run\.yaml:4:9: train\.step: unknown key",
                           r"run\.yaml:5:19: optimizer\.name: ", r"run\.yaml:6:30: checkpoint\.keep: expected at least 1, got 0",
                           train="{step: 6}", optimizer="{name: adamax}",
                           checkpoint="{every: 2, keep: 0}")
        self.assertGreaterEqual(len(done.stderr.splitlines()), 3)

    def test_an_override_is_named_itself(self):
        self.refuse(r"--set train\.step=3: train\.step: unknown key", overrides=["train.step=3"])

    def test_each_mistake_is_said_once_whatever_the_ranks(self):
        done = self.refuse(r"train\.step: ", ranks=3, train="{step: 6}")
        self.assertEqual(done.stderr.count("unknown key"), 1)

    def refuse_after(self, script: str, config, ranks: int) -> str:
        """What a job says that is refused; each rank runs a line of shell before its program."""
        words = self.command(config, ranks)
        program = words.index(str(BIN / "wattle-train"))
        done = subprocess.run([*words[:program], "sh", "-c", script + 'exec "$@"', "sh",
                               *words[program:]],
                              cwd=self.folder, capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    def test_the_first_rank_speaks_though_it_comes_last(self):
        said = self.refuse_after('test "$OMPI_COMM_WORLD_RANK" != 0 || sleep 2; ',
                                 self.text_config(train="{step: 6}"), ranks=3)
        self.assertEqual(said.count("unknown key"), 1)

    def test_a_file_that_another_rank_lacks(self):
        said = self.refuse_after('test "$OMPI_COMM_WORLD_RANK" = 0 || cd /; ',
                                 self.text_config(), ranks=2)
        self.assertRegex(said, r"rank 1: .*data\.path: no such file: 'text\.txt'")

    def test_a_file_that_is_not_there(self):
        done = self.train("none.yaml", ranks=0, expect=2)
        self.assertIn("none.yaml: can't be read", done.stderr)

    def test_a_folder_or_nothing_in_place_of_a_file(self):
        (self.folder / "folder.yaml").mkdir()
        self.write("empty.yaml", "")
        self.write("comment.yaml", "# nothing yet\n")
        for name, expected in (
                ("folder.yaml", "folder.yaml: expected a YAML file, got a folder"),
                ("empty.yaml", "empty.yaml:1:1: expected sections ('run: ...'), got nothing"),
                ("comment.yaml", "comment.yaml:1:1: expected sections ('run: ...'), got nothing")):
            with self.subTest(name):
                self.assertIn(expected, self.train(name, ranks=0, expect=2).stderr)

    def test_a_meter_that_is_not_here(self):
        absent = "nvml" if list(pathlib.Path("/sys/class/powercap").glob("*-rapl:0")) else "rapl"
        if absent == "nvml" and pathlib.Path("/dev/nvidia0").exists():
            self.skipTest("this machine has every meter")
        done = self.refuse(rf"energy\.meter: {absent} is not here: ", ranks=2,
                           overrides=[f"energy.meter={absent}"])
        self.assertEqual(done.stderr.count("energy.meter: "), 1)

    def test_an_impossible_batch(self):
        self.refuse(r"train\.global_batch: 7 is not divisible by 2 .*6 or 8", ranks=2,
                    train="{steps: 6, global_batch: 7}")

    def test_an_impossible_micro_batch(self):
        self.refuse(r"train\.micro_batch: 4", ranks=2,
                    train="{steps: 6, global_batch: 12, micro_batch: 4}")

    def test_an_impossible_mesh(self):
        self.refuse(r"parallelism\.data: 3 .*2|parallelism: .*2", ranks=2, parallelism="{data: 3}")


class FileTest(RunTest):
    """Files that are not what they promise."""

    def refuse(self, *expected: str, overrides=(), ranks: int = 2, **sections):
        done = self.train(self.text_config(**sections), ranks, overrides=overrides, expect=1)
        for text in expected:
            self.assertRegex(done.stderr, text)
        return done

    def test_token_shards(self):
        self.train(self.text_config())  # makes a shard of the text
        shard = next((self.folder / ".tokens").glob("*.tokens"))
        content = shard.read_bytes()
        damaged = bytearray(content)
        damaged[100] ^= 1
        for name, data, expected in (
                ("empty", b"", r"bad\.tokens: token shard, at byte 0: expected a header of 64 bytes"),
                ("header", content[:40], r"bad\.tokens: token shard, at byte 0: expected a header"),
                ("body", content[:1000],
                 r"bad\.tokens: token shard, at byte 1000: expected a file of \d+ bytes for \d+ tokens, "
                 r"got 1000 bytes"),
                ("flipped", bytes(damaged),
                 r"bad\.tokens: token shard, at byte 64: expected \d+ bytes with checksum")):
            with self.subTest(name):
                self.write("bad.tokens", data)
                done = self.train(self.text_config(
                    "other", data="{kind: tokens, path: bad.tokens, sequence_length: 32}"),
                    ranks=2, expect=1)
                self.assertRegex(done.stderr, expected)
                self.assertRegex(self.error_json("other")["message"], expected)

    def test_a_damaged_cache_of_tokens_is_named(self):
        self.train(self.text_config())
        shard = next((self.folder / ".tokens").glob("*.tokens"))
        shard.write_bytes(shard.read_bytes()[:1000])
        self.refuse(rf"\.tokens/{shard.name}: token shard, at byte 1000: expected a file of \d+ bytes.*"
                    r"; it is only a cache of text\.txt: delete it, and it is made again")

    def test_gguf_files(self):
        whole = gguf_header()
        for size in (0, 3, 10, 30, 60, len(whole) - 5, len(whole)):
            with self.subTest(size):
                self.write("bad.gguf", whole[:size])
                self.refuse(r"bad\.gguf: .*(byte|offset) \d+", ranks=1,
                          model="model: {init_from: bad.gguf}")

    def test_safetensors_files(self):
        config = self.text_config(export="[{format: safetensors}]")
        self.train(config)
        exported = self.folder / "run" / "export" / "safetensors"
        whole = (exported / "model.safetensors").read_bytes()
        shutil.copytree(exported, self.folder / "bad")
        for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
            with self.subTest(size):
                self.write("bad/model.safetensors", whole[:size])
                self.refuse(r"bad/model\.safetensors: .*bytes? \d+", ranks=1,
                          model="model: {init_from: bad}")
        self.write("bad/model.safetensors", whole)
        config_json = self.folder / "bad/config.json"
        self.write("bad/config.json", config_json.read_text().replace('"n_inner": 128',
                                                                      '"n_inner": 2147483648'))
        self.refuse(r"bad/config\.json: announces a model of at least \d+ weights, but", ranks=1,
                    model="model: {init_from: bad}")
        config_json.unlink()
        self.refuse(r"bad/config\.json: can't be opened: No such file", ranks=1,
                    model="model: {init_from: bad}")

    def test_an_output_folder_that_cannot_be_made(self):
        done = self.refuse(r"can't create the folder /proc/wattle", overrides=["run.output_dir=/proc/wattle"])
        self.assertEqual(done.stderr.count("can't create the folder"), 1)

    def test_an_output_folder_that_is_a_file(self):
        self.write("file", "mine")
        self.refuse(r"file", overrides=["run.output_dir=file"])
        self.assertEqual((self.folder / "file").read_text(), "mine")


class CheckpointTest(RunTest):
    """What is wrong with a checkpoint, or with going on from it."""

    def setUp(self):
        super().setUp()
        self.config = self.text_config()
        self.train(self.config, ranks=2)

    def flip(self, file: pathlib.Path):
        data = bytearray(file.read_bytes())
        data[-100] ^= 4
        file.write_bytes(data)
        return bytes(data)

    def test_a_flipped_byte_takes_the_run_to_the_older_checkpoint(self):
        shard = self.last_checkpoint("run") / "shard-00001-of-00002.safetensors"
        expected = self.state("run")
        damaged = self.flip(shard)
        done = self.train(self.config, ranks=2)
        self.assertRegex(done.stderr, r"warning: checkpoint run/checkpoints/step-6 is broken: "
                                      r"run/checkpoints/step-6/shard-00001-of-00002\.safetensors: "
                                      r"bytes .* expected checksum \w+, got \w+; ")
        self.assertIn("going on after step 4\n", done.stderr)
        self.assertEqual([r["step"] for r in self.train_metrics("run")], [1, 2, 3, 4, 5, 6, 5, 6])
        self.assertEqual(self.state("run").keys(), expected.keys())
        aside = self.folder / "run/checkpoints/step-6.broken-1" / shard.name
        self.assertEqual(aside.read_bytes(), damaged)

    def test_a_broken_checkpoint_that_is_the_only_one_is_kept(self):
        for old in self.checkpoints("run")[:-1]:
            shutil.rmtree(old)
        shard = self.last_checkpoint("run") / "shard-00000-of-00002.safetensors"
        damaged = self.flip(shard)
        done = self.train(self.config, ranks=2)
        self.assertIn("warning: checkpoint run/checkpoints/step-6 is broken", done.stderr)
        aside = self.folder / "run/checkpoints/step-6.broken-1" / shard.name
        self.assertEqual(aside.read_bytes(), damaged)
        self.assertEqual({r["attempt"] for r in self.train_metrics("run")}, {1, 2})
        self.assertEqual(self.meta("run")["step"], 6)

    def test_a_shard_that_is_missing_or_cut(self):
        shard = self.last_checkpoint("run") / "shard-00001-of-00002.safetensors"
        shard.write_bytes(shard.read_bytes()[:200])
        self.assertIn("step-6 is broken", self.train(self.config, ranks=1).stderr)
        (self.last_checkpoint("run") / "shard-00000-of-00001.safetensors").unlink()
        self.assertIn("step-6 is broken", self.train(self.config, ranks=1).stderr)

    def test_a_folder_of_another_name_is_left_alone(self):
        stray = self.folder / "run/checkpoints/step-0012"
        stray.mkdir()
        done = self.train(self.config, ranks=1, overrides=["train.steps=8"])
        self.assertIn("going on after step 6\n", done.stderr)
        self.assertTrue(stray.exists())

    def test_never_refuses_a_folder_with_a_checkpoint(self):
        before = self.state("run")
        done = self.train(self.config, ranks=2, overrides=["run.resume=never"], expect=2)
        self.assertIn("run.resume: never, but run holds a checkpoint", done.stderr)
        self.assert_same_bytes(self.state("run"), before)

    def test_a_line_of_the_metrics_that_is_none(self):
        path = self.folder / "run/metrics.jsonl"
        with path.open("a") as metrics:
            metrics.write("xx}\n")
        content, lines = path.read_text(), len(path.read_text().splitlines())
        done = self.train(self.config, ranks=2, overrides=["train.steps=8"], expect=1)
        self.assertIn(f"run/metrics.jsonl:{lines}: expected a metrics record, got 'xx}}'", done.stderr)
        self.assertEqual(path.read_text(), content)

    def test_another_seed_or_batch_is_another_run(self):
        before, metrics = self.state("run"), self.metrics("run")
        done = self.train(self.config, ranks=2, overrides=["run.seed=8"], expect=2)
        self.assertRegex(done.stderr, r"run\.seed: 8, but run/checkpoints/step-6 was trained with 7")
        done = self.train(self.config, ranks=2, overrides=["train.global_batch=24"], expect=2)
        self.assertRegex(done.stderr, r"train\.global_batch: 24, but run/checkpoints/step-6 consumed 72")
        self.assert_same_bytes(self.state("run"), before)
        self.assertEqual(self.metrics("run"), metrics)

    def test_another_shape_is_refused(self):
        before = self.state("run")
        done = self.train(self.config, ranks=2, overrides=["model.width=16"], expect=2)
        self.assertRegex(done.stderr,
                         r"model\.width: 16, but run/checkpoints/step-6 was trained with 32")
        self.assert_same_bytes(self.state("run"), before)


class FullDiskTest(RunTest):
    """A file system of one megabyte, on which checkpoints are written until none fits."""

    def setUp(self):
        super().setUp()
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", self.disk],
                                 capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest(f"can't mount a small file system: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", self.disk], check=True)

    def test_earlier_checkpoints_stay_and_the_message_names_the_file(self):
        # 420 kB a checkpoint: the third does not fit.
        config = self.text_config("run", train="{steps: 12, global_batch: 12, micro_batch: 2}",
                                  checkpoint="{every: 2, keep: 9}")
        sets = ["run.output_dir=disk/run"]
        done = self.train(config, ranks=2, overrides=sets, expect=1)
        self.assertRegex(done.stderr, r"checkpoint step-6: rank \d: .*/\.step-6\.tmp-1/shard-0000\d-of-00002"
                                      r"\.safetensors.*No space left on device")
        self.assertEqual([c.name for c in self.checkpoints("disk/run")], ["step-2", "step-4"])
        self.assertEqual(list((self.disk / "run" / "checkpoints").glob(".step-*")), [])
        self.assertIn("No space left on device", self.error_json("disk/run")["message"])

        subprocess.run(["mount", "-o", "remount,size=8m", self.disk], check=True)
        done = self.train(config, ranks=2, overrides=sets)
        self.assertIn("going on after step 4\n", done.stderr)
        self.assertEqual(self.meta("disk/run")["step"], 12)

    def test_a_disk_that_others_fill_is_told_in_error_json_too(self):
        config = self.text_config("run", train="{steps: 100000, global_batch: 12, micro_batch: 2}",
                                  checkpoint="{every: 0}")
        process = self.start(config, ranks=2, overrides=["run.output_dir=disk/run"])
        self.wait_for_step("disk/run", 2)
        with self.assertRaisesRegex(OSError, "No space left"), \
                open(self.disk / "filler", "wb", buffering=0) as filler:
            while filler.write(b"x" * 4096) == 4096:
                pass
            filler.write(b"x")
        said = process.communicate(timeout=120)[0]
        self.assertEqual(process.returncode, 1, said)
        expected = "disk/run/metrics.jsonl: a record can't be written; is the disk full?"
        self.assertIn(expected, said)
        self.assertEqual(self.error_json("disk/run")["message"], expected)


if __name__ == "__main__":
    unittest.main()
