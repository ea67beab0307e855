"""Folders of quantised weights against compressed-tensors and transformers: the same logits.
./launch/clients.sh sets up what this needs; the clients' Python runs it.
"""

import json
import pathlib
import sys
import unittest

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationScheme
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from wattle_runs import RunTest  # noqa: E402

LLAMA = ("model: {family: llama, layers: 2, width: 64, heads: 4, kv_heads: 2, ffn_width: 96, "
         "vocab: 256, positions: 32}")
EXPORT = "[{format: compressed-tensors, path: packed}, {format: safetensors, path: float}]"
BLOCKS = "targets: ['re:blocks.*']"


class CompressedTensorsClientTest(RunTest):
    def load(self, name: str):
        return AutoModelForCausalLM.from_pretrained(self.folder / "run/export" / name,
                                                    dtype=torch.float32).eval()

    def check(self, quantize: str, kind: str):
        """What loads computes what the float folder with the rounded weights computes."""
        config = self.text_config(model=LLAMA, export=EXPORT,
                                  compression=f"[{{quantize: {{{quantize}}}}}]")
        self.train(config)
        written = json.loads((self.folder / "run/export/packed/config.json").read_text())
        self.assertEqual(written["quantization_config"]["format"], kind)
        tokens = torch.tensor([list(b"the lord said unto moses and all")])
        with torch.no_grad():
            expected = self.load("float")(tokens).logits
            packed = self.load("packed")(tokens).logits
        self.assertTrue(torch.allclose(packed, expected, rtol=0, atol=1e-5),
                        (packed - expected).abs().max())
        loss = torch.nn.functional.cross_entropy(packed[0, :-1], tokens[0, 1:]).item()
        self.assertLess(loss, np.log(256))

    def test_int4_in_groups(self):
        self.check(f"target: int4, {BLOCKS}", "pack-quantized")

    def test_int4_asymmetric(self):
        """By the library alone: transformers 5.23 expects unpacked zero points, which
        compressed-tensors 0.20 then fails to unpack."""
        quantize = f"target: int4, symmetric: false, group_size: 16, {BLOCKS}"
        self.train(self.text_config(model=LLAMA, export=EXPORT,
                                    compression=f"[{{quantize: {{{quantize}}}}}]"))
        packed, expected = (load_file(self.folder / "run/export" / name / "model.safetensors")
                            for name in ("packed", "float"))
        config = json.loads((self.folder / "run/export/packed/config.json").read_text())
        group = config["quantization_config"]["config_groups"]["group_0"]
        scheme = QuantizationScheme(targets=group["targets"], weights=group["weights"])
        modules = {name.removesuffix(".weight_packed") for name in packed
                   if name.endswith(".weight_packed")}
        self.assertEqual(len(modules), 14)
        for module in modules:
            parts = {name.removeprefix(module + "."): tensor for name, tensor in packed.items()
                     if name.startswith(module + ".")}
            weight = PackedQuantizationCompressor.decompress(parts, scheme)["weight"]
            self.assertTrue(torch.equal(weight, expected[module + ".weight"]), module)

    def test_int8_by_channel_with_learned_steps(self):
        self.check(f"target: int8, learn: step, {BLOCKS}", "pack-quantized")

    def test_int8_of_a_tensor(self):
        self.check(f"target: int8, scales: tensor, {BLOCKS}", "pack-quantized")

    def test_a_part_of_the_layers(self):
        self.check("target: int4, targets: ['re:.*feed_forward.*']", "pack-quantized")

    def test_fp8(self):
        self.check(f"target: fp8, {BLOCKS}", "float-quantized")

    def test_what_it_cannot_hold_is_refused(self):
        config = self.text_config(
            model=LLAMA, export=EXPORT,
            compression=f"[{{quantize: {{target: ternary, {BLOCKS}}}}}]")
        done = self.train(config, expect=2)
        self.assertIn("compressed-tensors can't hold ternary:group32", done.stderr)


if __name__ == "__main__":
    unittest.main()
