#include "compression/distil/distil_callback.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "common/error.h"
#include "compression/deployment.h"

namespace wattle {

using nlohmann::json;

namespace {

/// Of all parameters' bytes, in the model's order.
std::string hash_of(const Model& model) {
  std::string hashes;
  for (const Parameter* parameter : model.parameters) {
    const at::Tensor values = parameter->value().detach().contiguous();
    const auto* bytes = static_cast<const char*>(values.const_data_ptr());
    hashes += text_hash({bytes, values.nbytes()});
  }
  return text_hash(hashes);
}

}  // namespace

DistilCallback::DistilCallback(std::string name, const DistilOptions& options, Model teacher,
                               Model& model)
    : name_(std::move(name)),
      options_(options),
      teacher_(std::move(teacher)),
      teacher_hash_(hash_of(teacher_)),
      model_(model),
      loss_(teacher_, options.temperature, options.weight) {
  for (const auto& [model, who] : {std::pair(&model_, "model"), {&teacher_, "teacher"}}) {
    if (model->objective->set_logit_loss(nullptr)) continue;
    throw Error(ErrorCode::kConfig,
                fmt::format("{}: the {} predicts values; distillation needs tokens or classes",
                            name_, who));
  }
}

DistilCallback::~DistilCallback() { model_.objective->set_logit_loss(nullptr); }

void DistilCallback::follow_schedule(int64_t step) {
  const bool wanted = options_.active_at(step);
  if (wanted == active_) return;
  active_ = wanted;
  model_.objective->set_logit_loss(active_ ? &loss_ : nullptr);
}

std::string DistilCallback::save_state() const {
  return json{{"temperature", options_.temperature},
              {"weight", options_.weight},
              {"begin_step", options_.begin_step},
              {"end_step", options_.end_step ? json(*options_.end_step) : json()},
              {"teacher_xxh3_128", teacher_hash_}}
      .dump();
}

void DistilCallback::load_state(const std::string& text) {
  const std::string then = json::parse(text).at("teacher_xxh3_128");
  if (then == teacher_hash_) return;
  throw Error(ErrorCode::kConfig,
              fmt::format("{}.teacher: its weights have the hash {}, those that the run was taught "
                          "by so far {}",
                          name_, teacher_hash_, then));
}

}  // namespace wattle
