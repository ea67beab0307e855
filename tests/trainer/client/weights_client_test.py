"""Models of transformers through Wattle and back: the same bits, and the same logits.

Usage: weights_client_test.py PROGRAM [MODEL.gguf], where PROGRAM is wattle_weights_client. With a
llama GGUF file, its weights are compared with those that transformers reads from it.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

os.environ["HF_HUB_OFFLINE"] = "1"

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

transformers.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()
PROGRAM = sys.argv.pop(1)
MODEL = sys.argv.pop(1) if len(sys.argv) > 1 else None


def wattle(*words):
    subprocess.run([PROGRAM, *map(str, words)], check=True)


def gpt2(tied):
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=64, n_head=4, n_inner=96, n_positions=32,
                                      vocab_size=50, tie_word_embeddings=tied))


def llama(tied):
    return LlamaForCausalLM(LlamaConfig(
        num_hidden_layers=2, hidden_size=64, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=96, max_position_embeddings=32, vocab_size=50, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0}, tie_word_embeddings=tied))


def pairs_adjacent(weight, heads):
    """As llama.cpp's converter permutes the rows of q and k."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


class WeightsTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        torch.manual_seed(1)

    def saved(self, model, dtype=torch.float32, **options):
        with torch.no_grad():
            for parameter in model.parameters():  # norms and biases are constant otherwise
                parameter.add_(torch.randn_like(parameter) * 0.2)
        path = self.folder / "original"
        model.to(dtype).eval().save_pretrained(path, **options)
        return path

    def check_bits(self, model, path, dtype="F32"):
        wattle("convert", path, self.folder / "copy", dtype)
        copy = AutoModelForCausalLM.from_pretrained(self.folder / "copy", dtype="auto")
        expected, actual = model.state_dict(), copy.state_dict()
        self.assertEqual(set(expected), set(actual))
        for name, tensor in expected.items():
            self.assertEqual(tensor.dtype, actual[name].dtype, name)
            self.assertTrue(torch.equal(tensor, actual[name]), name)
        return copy

    def check_logits(self, model, path):
        tokens = torch.randint(0, model.config.vocab_size, (1, 24))
        tokens.numpy().tofile(self.folder / "tokens")
        wattle("logits", path, self.folder / "tokens", self.folder / "logits")
        logits = torch.from_numpy(np.fromfile(self.folder / "logits", np.float32)).view(24, -1)
        with torch.no_grad():
            expected = model(tokens).logits[0].float()
        difference = ((logits - expected).abs().max() / expected.abs().max()).item()
        self.assertLess(difference, 1e-5)

    def test_gpt2(self):
        for tied in (True, False):
            model = gpt2(tied)
            path = self.saved(model)
            self.check_bits(model, path)
            self.check_logits(model, path)

    def test_llama(self):
        for tied in (True, False):
            model = llama(tied)
            path = self.saved(model)
            self.check_bits(model, path)
            self.check_logits(model, path)

    def test_bfloat16(self):
        for model in (gpt2(True), llama(False)):
            self.check_bits(model, self.saved(model, torch.bfloat16), "BF16")

    def test_shards(self):
        model = llama(False)
        path = self.saved(model, max_shard_size="40KB")
        self.assertTrue((path / "model.safetensors.index.json").exists())
        self.check_bits(model, path)

    def test_gguf(self):
        model = llama(True)
        self.saved(model)
        path = self.folder / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        for add, value in ((writer.add_block_count, 2), (writer.add_embedding_length, 64),
                           (writer.add_head_count, 4), (writer.add_head_count_kv, 2),
                           (writer.add_feed_forward_length, 96), (writer.add_context_length, 32),
                           (writer.add_rope_freq_base, 50000.0), (writer.add_layer_norm_rms_eps, 1e-5)):
            add(value)
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                values = parameter.numpy()
                if parameter.dim() == 2:
                    # The model takes the values that the file can hold.
                    values = gguf.quants.dequantize(gguf.quants.quantize(values, Type.Q8_0), Type.Q8_0)
                    parameter.copy_(torch.from_numpy(values))
                for part, heads in (("q_proj", 4), ("k_proj", 2)):
                    if part in name:
                        values = pairs_adjacent(values, heads)
                target = names.get_name(name, try_suffixes=(".weight",))
                kind = Type.Q8_0 if parameter.dim() == 2 else Type.F32
                writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        self.check_bits(model, path)
        self.check_logits(model, path)

    @unittest.skipIf(MODEL is None, "no GGUF file of a real model was named")
    def test_real_gguf(self):
        path = pathlib.Path(MODEL)
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        self.check_bits(model, path)
        self.check_logits(model.eval(), path)


if __name__ == "__main__":
    unittest.main()
