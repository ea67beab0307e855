#pragma once

#include <map>
#include <string>
#include <vector>

#include "compression/deployment.h"
#include "trainer/state/named_tensor.h"

namespace wattle {

/// Writes a model of rows or images as an ONNX file: what is not quantised as float32 operators,
/// quantised tensors in the QDQ form (int8 or int16 weights behind DequantizeLinear, int32 biases
/// likewise, QuantizeLinear and DequantizeLinear on activations). Input "input" [batch, ...],
/// output "output" [batch, outputs]: what the loss takes, as logits.
///
/// `parameters`: by name, what is not in the deployment. `metadata`: the file's metadata_props, in
/// UTF-8. Throws as deployed_graph() does.
void save_onnx(const std::string& path, Model& model, const std::vector<NamedTensor>& parameters,
               const Deployment& deployment, const std::map<std::string, std::string>& metadata);

}  // namespace wattle
