#include "scheduler/daemon/services/calls/agent_message.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "common/text.h"
#include "energy/source.h"
#include "scheduler/daemon/services/calls/caller.h"

namespace wattle::scheduler {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kMostTextBytes = 1 << 16;

void require_number(const FieldDescriptor& field, double value) {
  if (std::isfinite(value) && value >= 0) return;
  throw Refusal(RefusalCode::kInvalid, fmt::format("{}: expected a finite number of at least 0, "
                                                   "got {}",
                                                   field.full_name(), value));
}

/// All fields of floating point, in all that the message holds.
void require_numbers(const Message& message) {
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
      for (int i = 0; i < count; ++i) {
        require_number(*field, field->is_repeated()
                                   ? reflection.GetRepeatedDouble(message, field, i)
                                   : reflection.GetDouble(message, field));
      }
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      for (int i = 0; i < count; ++i) {
        require_numbers(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                             : reflection.GetMessage(message, field));
      }
    }
  }
}

void require_sources(const google::protobuf::RepeatedPtrField<v1::SourceJoules>& parts) {
  for (const v1::SourceJoules& part : parts) {
    try {
      parse_source(part.source());
    } catch (const Error& e) {
      throw Refusal(RefusalCode::kInvalid, brief(e.what()));
    }
  }
}

/// What the ledger is told and what the accounts are told are one figure.
template <class Report>
void require_sum(const Report& report) {
  double sum = 0;
  for (const v1::SourceJoules& part : report.energy()) sum += part.joules();
  if (std::abs(sum - report.joules()) <= 1e-6 * std::max(1.0, sum)) return;
  throw Refusal(RefusalCode::kInvalid,
                fmt::format("{}.joules: expected the sum of its sources, {} J, got {} J",
                            report.GetTypeName(), sum, report.joules()));
}

void require_short(const char* what, const std::string& text) {
  if (text.size() <= kMostTextBytes) return;
  throw Refusal(RefusalCode::kInvalid, fmt::format("{}: expected at most {} bytes, got {}", what,
                                                   kMostTextBytes, text.size()));
}

}  // namespace

void require_sound(const v1::AgentMessage& message) {
  require_numbers(message);
  require_sources(message.measured().energy());
  require_sources(message.run_exited().energy());
  require_sum(message.measured());
  require_sum(message.run_exited());
  require_sources(message.power_sample().energy());
  for (const v1::HeldRun& run : message.registration().runs()) {
    require_sources(run.energy());
    require_sources(run.exited().energy());
    require_sum(run.exited());
    if (!run.energy().empty()) require_sum(run);  // older agents give the sum alone
  }
  require_short("measured.metrics", message.measured().metrics());
  require_short("log_chunk.data", message.log_chunk().data());
}

}  // namespace wattle::scheduler
