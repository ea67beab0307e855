"""The ONNX files of whole runs against onnx.checker and ONNX Runtime. ./launch/prepare_data.sh digits
and ./launch/clients.sh set up what this needs; the clients' Python runs it.
"""

import hashlib
import json
import pathlib
import sys
import unittest

import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from wattle_runs import DATA, RunTest  # noqa: E402

INT8 = ("[{quantize: {target: int8, begin_step: 10, freeze_batch_norm_step: 60, "
        "freeze_observers_step: 70, activations: {begin_step: 20}}}]")
MLP_INT8 = INT8.replace("freeze_batch_norm_step: 60, ", "")  # it has none
DIGITS = f"{{kind: digits, path: {DATA / 'digits.csv.gz'}}}"
RANDOM = "{kind: random, inputs: 20, samples: 400, validation: 100, targets: binary}"
RESNET = "model: {family: resnet, channels: [8, 16]}"
VGG = "model: {family: vgg, channels: [8, 16], hidden: [24]}"
MLP = "model: {family: mlp, inputs: 20, hidden: [64, 32], outputs: 1, dropout: 0.2}"


def classes(outputs: np.ndarray) -> np.ndarray:
    """One output is the logit of class 1."""
    return outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)


class OnnxClientTest(RunTest):
    def trained(self, model: str, data: str, compression: str = "[]", output: str = "run",
                optimizer: str = "{name: adam, lr: 3.0e-3}"):
        config = self.text_config(
            output, model, data=data, compression=compression,
            run=f"{{seed: 7, output_dir: {output}}}",
            train="{steps: 80, global_batch: 32, micro_batch: 8}",
            optimizer=optimizer, export="[{format: onnx}]")
        self.train(config)
        return config

    def predicted(self, config, overrides=()) -> tuple:
        """Inputs, outputs and outputs with integers of the validation set."""
        self.train(config, arguments=("eval",),
                   overrides=["evaluate.predictions=predictions.csv", *overrides])
        lines = (self.folder / "predictions.csv").read_text().splitlines()
        names = lines[0].split(",")
        values = np.array([line.split(",") for line in lines[1:]], dtype=np.float32)
        return tuple(values[:, [name.startswith(kind) for name in names]]
                     for kind in ("input_", "output_", "integer_"))

    def model(self, output: str = "run") -> onnx.ModelProto:
        model = onnx.load(self.folder / output / "export/model.onnx")
        onnx.checker.check_model(model, full_check=True)
        return model

    def run_client(self, model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        # Without it, x86 processors that have no VNNI saturate sums of two products at 16 bits.
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                               providers=["CPUExecutionProvider"])
        if len(session.get_inputs()[0].shape) == 4:
            inputs = inputs.reshape(-1, 1, 8, 8)
        return session.run(["output"], {"input": inputs})[0]

    def constants(self, model: onnx.ModelProto) -> dict:
        return {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}

    def check_float(self, model: str, data: str):
        inputs, outputs, _ = self.predicted(self.trained(model, data))
        exported = self.model()
        found = self.run_client(exported, inputs)
        np.testing.assert_allclose(found, outputs, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(classes(found), classes(outputs))
        self.assertEqual([o.version for o in exported.opset_import], [21])

    def check_int8(self, model: str, data: str, compression: str = INT8):
        """The same class for every sample, and outputs within one step, of three programs: the
        fake-quantised model, the client, and integers alone."""
        config = self.trained(model, data, compression)
        inputs, outputs, integers = self.predicted(config, ["evaluate.integers=true"])
        exported = self.model()
        constants = self.constants(exported)
        last = next(n for n in exported.graph.node if n.output[0] == "output")
        step = constants[last.input[1]]
        found = self.run_client(exported, inputs)
        for other in (found, integers):
            np.testing.assert_array_equal(classes(other), classes(outputs))
            self.assertLessEqual(np.abs(other - outputs).max(), 1.01 * step)
        self.assertGreater(np.unique(np.rint(found / step)).size, 5, "outputs that say nothing")
        for node in exported.graph.node:
            if node.op_type == "QuantizeLinear":
                self.assertEqual([constants[name].shape for name in node.input[1:]], [(), ()],
                                 "an activation has one scale and one zero point")
        return exported, constants

    def test_float_resnet(self):
        self.check_float(RESNET, DIGITS)

    def test_float_vgg(self):
        self.check_float(VGG, DIGITS)

    def test_float_mlp(self):
        self.check_float(MLP, RANDOM)

    def test_int8_resnet(self):
        exported, constants = self.check_int8(RESNET, DIGITS)
        operations = {n.op_type for n in exported.graph.node}
        self.assertNotIn("BatchNormalization", operations, "it is folded in")
        self.assertEqual(constants["stem.conv.weight"].dtype, np.int8)
        self.assertEqual(constants["stem.conv.weight.scale"].shape, (8,))
        self.assertEqual(constants["stem.conv.bias"].dtype, np.int32)
        np.testing.assert_array_equal(
            constants["stem.conv.bias.scale"],
            constants["stem.conv.weight.scale"] * constants["input.scale"])
        axes = {n.output[0]: [a.i for a in n.attribute if a.name == "axis"]
                for n in exported.graph.node if n.op_type == "DequantizeLinear"}
        self.assertEqual(axes["stem.conv.weight.dequantized"], [0])

    def check_raw_rows(self, options: str, compression: str, header: str, loss: str):
        """The file alone says how its input is made of the rows that a user has."""
        draw = np.random.default_rng(3)
        rows = draw.normal([5, -300, 0.02, 7], [2, 40, 0.01, 0], (240, 4)).astype(np.float32)
        targets = (rows[:, 0] - 5) / 2 + (rows[:, 1] + 300) / 40
        if loss == "classes":
            targets = (targets > 0).astype(np.float32)
        table = np.insert(rows, 1, targets, axis=1)  # the target is the second column
        lines = [",".join(str(v) for v in row) for row in table]
        self.write("rows.csv", "\n".join(([header] if header else []) + lines) + "\n")
        model = "model: {family: mlp, inputs: 4, hidden: [16], outputs: 1}"
        data = f"{{kind: csv, path: rows.csv, validation: 60, {options}}}"
        config = self.trained(model, data, compression)
        inputs, outputs, _ = self.predicted(config)
        exported = self.model()
        metadata = {p.key: json.loads(p.value) for p in exported.metadata_props
                    if not p.key.endswith("xxh3_128")}
        self.assertEqual(sorted(metadata), ["wattle.input.columns", "wattle.input.deviation",
                                            "wattle.input.mean", "wattle.target"])
        names = header.split(",") if header else [str(i) for i in range(5)]
        self.assertEqual(metadata["wattle.target"], names[1])
        chosen = table[:, [names.index(n) for n in metadata["wattle.input.columns"]]]
        mean, deviation = (np.array(metadata["wattle.input." + key])
                           for key in ("mean", "deviation"))
        made = ((chosen.astype(np.float64) - mean) / deviation).astype(np.float32)
        of_inputs = {row.tobytes(): i for i, row in enumerate(made)}
        evaluated = [of_inputs[row.tobytes()] for row in inputs]  # each is bit for bit one of them
        found = self.run_client(exported, made)[evaluated]
        np.testing.assert_allclose(found, outputs, rtol=1e-4, atol=1e-4)
        if loss == "classes":
            np.testing.assert_array_equal(classes(found), classes(outputs))
            self.assertGreater((classes(found) == targets[evaluated]).mean(), 0.9)
        exported_bytes = (self.folder / "run/export/model.onnx").read_bytes()
        self.write("rows.csv", "\n".join(lines[:3]) + "\n")  # it is not read again
        self.train(config, 2, arguments=("export",))
        self.assertEqual((self.folder / "run/export/model.onnx").read_bytes(), exported_bytes)
        return metadata

    def test_raw_rows_of_a_csv_file(self):
        metadata = self.check_raw_rows("target: sick", MLP_INT8, "age,sick,dose,rate,unit", "classes")
        self.assertEqual(metadata["wattle.input.deviation"][3], 1, "that column is constant")
        self.assertAlmostEqual(metadata["wattle.input.mean"][1], -300, delta=20)

    def test_raw_rows_without_names_or_standardisation(self):
        metadata = self.check_raw_rows(
            "header: false, target: 1, standardise: false, targets: numbers", "[]", "", "numbers")
        self.assertEqual(metadata["wattle.input.mean"], [0, 0, 0, 0])
        self.assertEqual(metadata["wattle.input.columns"], ["0", "2", "3", "4"])

    def test_int8_vgg(self):
        self.check_int8(VGG, DIGITS)

    def test_int8_mlp(self):
        self.check_int8(MLP, RANDOM, MLP_INT8)

    def test_int8_with_one_scale_a_tensor_and_symmetric_activations(self):
        _, constants = self.check_int8(RESNET, DIGITS, INT8.replace(
            "target: int8", "target: int8, scales: tensor").replace(
            "activations: {", "activations: {symmetric: true, "))
        self.assertEqual(constants["stem.conv.weight.scale"].shape, ())
        self.assertEqual(constants["stem.relu.zero_point"], 0)

    def test_int16(self):
        int16 = INT8.replace("int8", "int16").replace("activations: {", "activations: {bits: 16, ")
        config = self.trained(VGG, DIGITS, int16)
        inputs, outputs, _ = self.predicted(config)
        exported = self.model()
        self.assertEqual(self.constants(exported)["output.weight"].dtype, np.int16)
        found = self.run_client(exported, inputs)
        np.testing.assert_array_equal(classes(found), classes(outputs))
        np.testing.assert_allclose(found, outputs, atol=2e-3)
        done = self.train(config, arguments=("eval",), overrides=["evaluate.integers=true"],
                          expect=1)
        self.assertRegex(done.stderr, r"evaluation with integers: .*16 bits")

    def test_a_bias_that_int32_cannot_hold(self):
        """The steps of 16-bit weights times 16-bit activations are so small that it occurs."""
        int16 = INT8.replace("int8", "int16").replace("activations: {", "activations: {bits: 16, ")
        config = self.trained(RESNET, DIGITS, int16,
                              optimizer="{name: sgd, lr: 0.1, momentum: 0.9}")
        inputs, outputs, _ = self.predicted(config)
        exported = self.model()
        constants = self.constants(exported)
        kinds = [str(values.dtype) for name, values in constants.items() if name.endswith(".bias")]
        self.assertEqual(set(kinds), {"float32", "int32"})
        found = self.run_client(exported, inputs)
        np.testing.assert_array_equal(classes(found), classes(outputs))
        np.testing.assert_allclose(found, outputs, atol=2e-3)

    def test_float_layers_between_rounded_activations(self):
        """The client must not round their weights and biases on its own."""
        some = INT8.replace("target: int8", "target: int8, targets: ['re:stages.*']")
        inputs, outputs, _ = self.predicted(self.trained(RESNET, DIGITS, some))
        exported = self.model()
        constants = self.constants(exported)
        self.assertEqual(constants["stem.conv.weight"].dtype, np.float32)
        self.assertEqual(constants["output.weight"].dtype, np.float32)
        last = next(n for n in exported.graph.node if n.output[0] == "output")
        step = constants[last.input[1]]
        found = self.run_client(exported, inputs)
        np.testing.assert_array_equal(classes(found), classes(outputs))
        self.assertLessEqual(np.abs(found - outputs).max(), 1.01 * step)

    def check_narrow(self, model: str, data: str, options: str, weight: str, scales: tuple):
        """Weights of 4 bits alone: the client multiplies what training saw."""
        compression = f"[{{quantize: {{begin_step: 10, freeze_batch_norm_step: 60, {options}}}}}]"
        if model == MLP:
            compression = compression.replace("freeze_batch_norm_step: 60, ", "")
        inputs, outputs, _ = self.predicted(self.trained(model, data, compression))
        exported = self.model()
        constants = {t.name: t for t in exported.graph.initializer}
        self.assertEqual(constants[weight].data_type, onnx.TensorProto.INT4)
        self.assertEqual(tuple(constants[weight + ".scale"].dims), scales)
        found = self.run_client(exported, inputs)
        np.testing.assert_allclose(found, outputs, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(classes(found), classes(outputs))
        return exported

    def test_int4_by_channel(self):
        self.check_narrow(RESNET, DIGITS, "target: int4, scales: channel", "stem.conv.weight", (8,))

    def test_int4_in_groups(self):
        exported = self.check_narrow(MLP, RANDOM, "target: int4, group_size: 4",
                                     "hidden.1.weight", (32, 16))
        blocks = [a.i for n in exported.graph.node if n.output[0] == "hidden.1.weight.dequantized"
                  for a in n.attribute if a.name == "block_size"]
        self.assertEqual(blocks, [4])

    def test_int4_filters_in_groups_with_zero_points(self):
        self.check_narrow(RESNET, DIGITS, "target: int4, group_size: 36, symmetric: false, "
                          "targets: ['re:stages.*conv[12].weight']",
                          "stages.1.0.conv2.weight", (16, 4))

    def test_int2_by_tensor(self):
        self.check_narrow(VGG, DIGITS, "target: int2, scales: tensor", "output.weight", ())

    def test_widths_with_rounded_activations(self):
        widths = INT8.replace("activations:", "widths: {formats: ['int2:channel', 'int4:channel', "
                              "'int8:channel'], budget_bytes: 3500, samples: 32}, activations:")
        exported, _ = self.check_int8(RESNET, DIGITS, widths)
        kinds = {t.data_type for t in exported.graph.initializer if t.name.endswith(".weight")}
        self.assertEqual(kinds, {onnx.TensorProto.INT4, onnx.TensorProto.INT8})

    def test_gptq_after_training(self):
        gptq = INT8.replace("begin_step: 10, freeze_batch_norm_step: 60, freeze_observers_step: 70, "
                            "activations: {begin_step: 20}",
                            "begin_step: 80, gptq: {samples: 64}, activations: {}")
        self.assertIn("gptq", gptq)
        self.check_int8(VGG, DIGITS, gptq)

    def test_layers_that_targets_leave_out_stay_float(self):
        some = INT8.replace("target: int8", "target: int8, targets: ['re:stages.*']").replace(
            "activations: {", "activations: {targets: ['re:stages.*relu1?'], ")
        config = self.trained(RESNET, DIGITS, some)
        inputs, outputs, _ = self.predicted(config)
        exported = self.model()
        self.assertEqual(self.constants(exported)["stem.conv.weight"].dtype, np.float32)
        self.assertIn("BatchNormalization", {n.op_type for n in exported.graph.node})
        found = self.run_client(exported, inputs)
        np.testing.assert_array_equal(classes(found), classes(outputs))
        done = self.train(config, arguments=("eval",), overrides=["evaluate.integers=true"],
                          expect=1)
        self.assertRegex(done.stderr, "evaluation with integers: input: is not quantised")

    def test_the_file_names_the_ledger(self):
        self.trained(MLP, RANDOM, MLP_INT8)
        ledger = self.folder / "run/export/compression_ledger.json"
        metadata = {p.key: p.value for p in self.model().metadata_props}
        self.assertEqual(list(metadata), ["wattle.compression_ledger.xxh3_128"])
        self.assertRegex(metadata["wattle.compression_ledger.xxh3_128"], "^[0-9a-f]{32}$")
        events = json.loads(ledger.read_text())["compression.0.activations"]["events"]
        self.assertEqual([e["what"] for e in events],
                         ["begins", "rounding begins", "ranges are frozen"])

    def test_a_file_from_the_checkpoint_is_the_same(self):
        config = self.trained(RESNET, DIGITS, INT8)
        path = self.folder / "run/export/model.onnx"
        trained = hashlib.sha256(path.read_bytes()).hexdigest()
        path.unlink()
        self.train(config, 2, arguments=("export",))
        self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), trained)


if __name__ == "__main__":
    unittest.main()
