"""Compares Wattle's formats with the reference implementations, bit for bit.

Usage: client_test.py PROGRAM, where PROGRAM is wattle_formats_client.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import gguf
import numpy as np
import safetensors.numpy
from gguf import GGMLQuantizationType as Type

PROGRAM = sys.argv.pop(1)
BLOCK = 32


def wattle(*words):
    return subprocess.run([PROGRAM, *map(str, words)], check=True, capture_output=True, text=True).stdout


class ClientTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.random = np.random.default_rng(1)

    def recode(self, verb, kind, data):
        data.tofile(self.folder / "in")
        wattle(verb, kind.name, self.folder / "in", self.folder / "out")
        return np.fromfile(self.folder / "out", np.uint8)


class Codecs(ClientTest):
    def blocks(self):
        """Weights, few distinct values (ties), and values near the middle between two codes."""
        rows = 20000
        scale = np.exp2(self.random.integers(-10, 3, (rows, 1))).astype(np.float32)
        normal = self.random.standard_normal((rows, BLOCK), np.float32) * scale
        steps = self.random.integers(-8, 9, (rows, BLOCK)).astype(np.float32) * scale
        denominator = self.random.choice([16, 30, 254], (rows, 1)).astype(np.float32)
        middle = normal[:, :1] * (self.random.integers(0, 254, (rows, BLOCK)) % denominator).astype(np.float32)
        middle = (middle / denominator).astype(np.float32)
        middle[:, 7] = normal[:, 0]
        # The reference has no rule for a block of zeros of both signs.
        return np.concatenate([normal, steps, middle]) + np.float32(0)

    def check(self, kind):
        values = self.blocks()
        expected = gguf.quants.quantize(values, kind)
        actual = self.recode("encode", kind, values).reshape(len(values), -1)
        different = np.flatnonzero((actual != expected.view(np.uint8).reshape(len(values), -1)).any(1))
        self.assertEqual(len(different), 0, f"first: {different[:1]}: {values[different[:1]]!r}")

        back = self.recode("decode", kind, expected).view(np.float32)
        reference = gguf.quants.dequantize(expected, kind).astype(np.float32).ravel()
        np.testing.assert_array_equal(back.view(np.uint32), reference.view(np.uint32))

    def test_q4_0(self):
        self.check(Type.Q4_0)

    def test_q4_1(self):
        self.check(Type.Q4_1)

    def test_q8_0(self):
        self.check(Type.Q8_0)

    def test_tq2_0(self):
        values = self.blocks().reshape(-1, 256)
        expected = gguf.quants.quantize(values, Type.TQ2_0).view(np.uint8)
        actual = self.recode("encode", Type.TQ2_0, values).reshape(expected.shape)
        np.testing.assert_array_equal(actual, expected)
        back = self.recode("decode", Type.TQ2_0, expected)
        reference = gguf.quants.dequantize(expected, Type.TQ2_0).astype(np.float32).ravel()
        np.testing.assert_array_equal(back.view(np.uint32), reference.view(np.uint32))

    def test_random_blocks_decode_alike(self):
        for kind in (Type.Q4_0, Type.Q4_1, Type.Q8_0, Type.Q6_K):
            size = gguf.GGML_QUANT_SIZES[kind][1]
            blocks = self.random.integers(0, 256, (50000, size), np.uint8)
            # Finite scales: not all bits of the exponent set.
            for high in (-1,) if kind == Type.Q6_K else (1, 3):
                blocks[:, high] &= 0xBB
            back = self.recode("decode", kind, blocks).view(np.uint32)
            reference = gguf.quants.dequantize(blocks, kind).ravel()
            np.testing.assert_array_equal(back, reference.view(np.uint32), kind.name)

    def test_halves(self):
        floats = self.random.integers(0, 2**32, 1 << 21, np.uint32).view(np.float32)
        floats = np.concatenate([floats, self.random.standard_normal(1 << 20, np.float32)])
        floats = floats[~np.isnan(floats)].reshape(1, -1)
        with np.errstate(over="ignore"):
            halves = floats.astype(np.float16).view(np.uint16).ravel()
        np.testing.assert_array_equal(self.recode("encode", Type.F16, floats).view(np.uint16), halves)
        brains = gguf.quants.quantize(floats, Type.BF16).view(np.uint8).ravel()
        np.testing.assert_array_equal(self.recode("encode", Type.BF16, floats), brains)
        every = np.arange(1 << 16, dtype=np.uint16)
        every = every[~np.isnan(every.view(np.float16))]
        np.testing.assert_array_equal(
            self.recode("decode", Type.F16, every).view(np.uint32),
            every.view(np.float16).astype(np.float32).view(np.uint32))

    def test_sizes_of_all_types(self):
        lines = [line.split() for line in wattle("traits").splitlines()]
        self.assertGreater(len(lines), 20)
        for number, name, elements, size in lines:
            self.assertEqual(Type(int(number)).name, name)
            self.assertEqual(gguf.GGML_QUANT_SIZES[Type(int(number))], (int(elements), int(size)), name)


class Gguf(ClientTest):
    def written_by_reference(self):
        path = self.folder / "reference.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_block_count(2)
        writer.add_bool("a.bool", True)
        writer.add_float64("a.double", -0.1)
        writer.add_int64("a.long", -(2**63))
        writer.add_array("a.texts", ["eins", "", "drei – ü"])
        writer.add_array("a.floats", [1.5, -2.5])
        values = self.random.standard_normal((4, 64), np.float32)
        writer.add_tensor("norm", values[0])
        for kind in (Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q8_0):
            writer.add_tensor(kind.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    def test_copy_reads_alike(self):
        original = self.written_by_reference()
        copy = self.folder / "copy.gguf"
        wattle("copy-gguf", original, copy)
        before, after = gguf.GGUFReader(original), gguf.GGUFReader(copy)
        self.assertEqual(list(before.fields), list(after.fields))
        for name, field in before.fields.items():
            self.assertEqual(field.contents(), after.fields[name].contents(), name)
            self.assertEqual(field.types, after.fields[name].types, name)
        self.assertEqual(len(before.tensors), 6)
        for old, new in zip(before.tensors, after.tensors, strict=True):
            self.assertEqual((old.name, old.tensor_type, list(old.shape)),
                             (new.name, new.tensor_type, list(new.shape)))
            np.testing.assert_array_equal(old.data, new.data)


class Safetensors(ClientTest):
    def test_copy_has_the_bytes_of_the_reference(self):
        tensors = {
            "z.weight": self.random.standard_normal((3, 5)).astype(np.float32),
            "a.weight": self.random.standard_normal((2, 2)).astype(np.float16),
            "b.weight": self.random.standard_normal((4,)).astype(np.float64),
            "ü \"quoted\"\n": np.array(7, np.int64),
            "empty": np.zeros((0, 3), np.uint8),
            "mask": np.array([True, False, True]),
        }
        original = self.folder / "original.safetensors"
        copy = self.folder / "copy.safetensors"
        safetensors.numpy.save_file(tensors, original, metadata={"format": "pt"})
        wattle("copy-safetensors", original, copy)
        read = safetensors.numpy.load_file(copy)
        self.assertEqual(set(read), set(tensors))
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(read[name], tensor)
            self.assertEqual(read[name].dtype, tensor.dtype)
        self.assertEqual(copy.read_bytes(), original.read_bytes())


if __name__ == "__main__":
    unittest.main()
