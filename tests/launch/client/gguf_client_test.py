"""The GGUF files of whole runs against gguf-py and llama.cpp. ./launch/prepare_data.sh smollm2 and
./launch/clients.sh set up what this needs; the clients' Python runs it.
"""

import json
import pathlib
import re
import subprocess
import sys
import unittest

import gguf
import numpy as np
import safetensors.numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from wattle_runs import DATA, ROOT, RunTest  # noqa: E402

LLAMA_CPP = ROOT / ".deps/llama.cpp/bin"
TOKENIZER = DATA / "SmolLM2-135M-Instruct.Q4_1.gguf"

LLAMA = ("model: {family: llama, layers: 2, width: 64, heads: 4, kv_heads: 2, ffn_width: 128, "
         "vocab: 49152, positions: 128}")
GPT2 = ("model: {family: gpt2, layers: 2, width: 64, heads: 2, vocab: 49152, positions: 128, "
        "tied_embeddings: false}")
ROWS_OF_256 = ("width: 64, heads: 4, kv_heads: 2, ffn_width: 128", "width: 256, heads: 4, ffn_width: 512")
EXPORT = ("[{format: gguf}, {format: gguf, type: f32, path: float.gguf}, "
          "{format: gguf, type: f32, masters: true, path: masters.gguf}, "
          "{format: safetensors, path: hf}]")


def tensors_of(path) -> dict:
    """name → (type, bytes as the file holds them)."""
    return {t.name: (t.tensor_type, np.array(t.data)) for t in gguf.GGUFReader(path).tensors}


def numbers(kind, data) -> np.ndarray:
    return gguf.quants.dequantize(data, kind).astype(np.float32)


class GgufClientTest(RunTest):
    def trained(self, model: str, compression: str, export: str = EXPORT, output: str = "run"):
        """A model with SmolLM2's tokenizer that has read a little of the Bible."""
        for name, first, size in (("text.txt", 0, 60000), ("heldout.txt", 200000, 9000)):
            with open(DATA / "kjv.txt", "rb") as bible:
                bible.seek(first)
                self.write(name, bible.read(size))
        config = self.text_config(
            output, model,
            run=f"{{seed: 7, output_dir: {output}}}",
            data=f"{{kind: text, path: text.txt, validation: heldout.txt, tokenizer: {TOKENIZER}, "
                 "sequence_length: 64}",
            train=f"{{steps: {5 if 'width: 256' in model else 20}, global_batch: 8, micro_batch: 8}}",
            evaluate="{window: 128, score: second_half}",
            compression=compression, export=export)
        self.train(config)
        return config

    def exported(self, name: str, output: str = "run") -> pathlib.Path:
        return self.folder / output / "export" / name

    def llama(self, program: str, *arguments) -> str:
        done = subprocess.run([LLAMA_CPP / program, *map(str, arguments)], cwd=self.folder,
                              capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def assert_same_tensors(self, one: pathlib.Path, other: pathlib.Path):
        ours, theirs = tensors_of(one), tensors_of(other)
        self.assertEqual(ours.keys(), theirs.keys())
        for name, (kind, data) in ours.items():
            self.assertEqual(kind, theirs[name][0], name)
            self.assertTrue(np.array_equal(data, theirs[name][1]), name)

    def kinds(self, path) -> dict:
        return {name: kind.name for name, (kind, _) in tensors_of(path).items()}

    def check_bits(self):
        """The file decodes to what forward read, which the float exports hold."""
        forward = tensors_of(self.exported("float.gguf"))
        for name, (kind, data) in tensors_of(self.exported("model.gguf")).items():
            expected = forward[name][1].reshape(-1)
            self.assertTrue(np.array_equal(numbers(kind, data).reshape(-1).view(np.uint32),
                                           expected.view(np.uint32)), name)

    def check_perplexity(self, config, model: pathlib.Path, ours: float):
        said = self.llama("llama-perplexity", "-m", model, "-f", "heldout.txt", "-c", 128, "-t", 2)
        theirs = float(re.search(r"Final estimate: PPL = ([0-9.]+)", said)[1])
        self.assertLess(abs(theirs / ours - 1), 0.005, f"{theirs} against {ours}")

    def perplexity(self, config, *overrides) -> float:
        done = self.train(config, overrides=overrides, arguments=("eval", "--json"))
        return json.loads(done.stdout)["perplexity"]

    def check_target(self, model: str, target: str, embeddings: str, source: str = "float.gguf"):
        """All that must hold of a target: bits, llama-quantize's bytes, the same perplexity. Q6_K's
        scales are searched, and found anew in values that it has rounded: then the source is what
        was rounded, masters.gguf."""
        config = self.trained(
            model, f"[{{quantize: {{target: 'gguf:{target}', embeddings: {embeddings}}}}}]")
        file = self.exported("model.gguf")
        self.check_bits()
        pure = ["--pure"] if embeddings == "target" else []
        self.llama("llama-quantize", *pure, self.exported(source), "theirs.gguf", target.upper())
        self.assert_same_tensors(file, self.folder / "theirs.gguf")
        ours = self.perplexity(config)
        self.assertAlmostEqual(self.perplexity(config, f"model.init_from={file}"), ours, places=6)
        self.check_perplexity(config, file, ours)

    def test_llama_mixed(self):
        self.check_target(LLAMA, "q4_0", "mixed")
        kinds = self.kinds(self.exported("model.gguf"))
        self.assertEqual(kinds["token_embd.weight"], "Q8_0")
        self.assertEqual(kinds["blk.0.attn_q.weight"], "Q4_0")
        self.assertEqual(kinds["blk.0.attn_norm.weight"], "F32")

    def test_llama_pure(self):
        self.check_target(LLAMA, "q4_0", "target")
        self.assertEqual(self.kinds(self.exported("model.gguf"))["token_embd.weight"], "Q4_0")

    def test_llama_mixed_with_rows_of_256(self):
        self.check_target(LLAMA.replace(*ROWS_OF_256), "q4_0", "mixed", "masters.gguf")
        kinds = self.kinds(self.exported("model.gguf"))
        self.assertEqual(kinds["token_embd.weight"], "Q6_K")
        self.assertEqual(kinds["blk.0.ffn_down.weight"], "Q4_0")

    def test_gpt2_mixed_with_rows_of_256(self):
        gpt2 = GPT2.replace("width: 64, heads: 2", "width: 256, heads: 2")
        self.check_target(gpt2, "q4_1", "mixed", "masters.gguf")
        kinds = self.kinds(self.exported("model.gguf"))
        self.assertEqual((kinds["output.weight"], kinds["token_embd.weight"]), ("Q6_K", "Q4_1"))

    def test_llama_q6_k(self):
        self.check_target(LLAMA.replace(*ROWS_OF_256), "q6_k", "target", "masters.gguf")
        self.assertEqual(set(self.kinds(self.exported("model.gguf")).values()), {"Q6_K", "F32"})

    def test_llama_ternary(self):
        self.check_target(LLAMA.replace(*ROWS_OF_256), "tq2_0", "target")
        self.assertEqual(set(self.kinds(self.exported("model.gguf")).values()), {"TQ2_0", "F32"})

    def test_llama_ternary_mixed(self):
        self.check_target(LLAMA.replace(*ROWS_OF_256), "tq2_0", "mixed", "masters.gguf")
        kinds = self.kinds(self.exported("model.gguf"))
        self.assertEqual((kinds["token_embd.weight"], kinds["blk.0.ffn_down.weight"]),
                         ("Q6_K", "TQ2_0"))

    def test_gpt2_q4_1(self):
        self.check_target(GPT2, "q4_1", "mixed")
        kinds = self.kinds(self.exported("model.gguf"))
        self.assertEqual((kinds["output.weight"], kinds["token_embd.weight"]), ("Q8_0", "Q4_1"))

    def test_llama_q4_1(self):
        self.check_target(LLAMA, "q4_1", "target")

    def test_gpt2_q4_0(self):
        self.check_target(GPT2, "q4_0", "mixed")

    def test_gpt2_q8_0(self):
        self.check_target(GPT2, "q8_0", "target")

    def test_llama_q8_0_and_the_rows_of_hugging_face(self):
        self.check_target(LLAMA, "q8_0", "target")
        rows = safetensors.numpy.load_file(self.exported("hf") / "model.safetensors")
        q = rows["model.layers.0.self_attn.q_proj.weight"]
        adjacent = q.reshape(4, 2, 8, 64).swapaxes(1, 2).reshape(64, 64)
        kind, data = tensors_of(self.exported("model.gguf"))["blk.0.attn_q.weight"]
        self.assertTrue(np.array_equal(numbers(kind, data), adjacent))

    def test_rounding_after_training_is_llama_quantize(self):
        ptq = ", ".join(f"{{format: gguf, type: {kind}, embeddings: {how}, path: {kind}-{how}.gguf}}"
                        for kind in ("q4_0", "q4_1") for how in ("mixed", "target"))
        for model, output in ((LLAMA, "narrow"), (LLAMA.replace(*ROWS_OF_256), "wide")):
            config = self.trained(model, "[]", f"[{{format: gguf}}, {ptq}]", output)
            float_file = self.exported("model.gguf", output)
            for kind in ("q4_0", "q4_1"):
                for how, pure in (("mixed", []), ("target", ["--pure"])):
                    self.llama("llama-quantize", *pure, float_file, "theirs.gguf", kind.upper())
                    self.assert_same_tensors(self.exported(f"{kind}-{how}.gguf", output),
                                             self.folder / "theirs.gguf")
        self.check_perplexity(config, float_file, self.perplexity(config))

    def test_the_tokenizer_is_the_one_that_the_model_came_with(self):
        self.trained(LLAMA, "[]", export="[{format: gguf}, {format: gguf, type: f16, path: h.gguf}]")
        theirs, ours = gguf.GGUFReader(TOKENIZER), gguf.GGUFReader(self.exported("model.gguf"))
        for key, field in theirs.fields.items():
            if key.startswith("tokenizer."):
                self.assertEqual(ours.get_field(key).contents(), field.contents(), key)
        self.assertEqual(self.kinds(self.exported("h.gguf"))["token_embd.weight"], "F16")

    def test_bytes_load_without_a_tokenizer(self):
        config = self.text_config(compression="[{quantize: {target: 'gguf:q4_0'}}]",
                                  export="[{format: gguf}]")
        self.train(config)
        self.llama("llama-bench", "-m", self.exported("model.gguf"), "-p", 8, "-n", 1, "-r", 1)


if __name__ == "__main__":
    unittest.main()
