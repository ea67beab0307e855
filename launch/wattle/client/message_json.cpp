#include "launch/wattle/client/message_json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <cctype>

#include "common/error.h"

namespace wattle {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Json = nlohmann::ordered_json;

/// JobState's JOB_STATE_RUNNING is RUNNING.
std::string word_of(const EnumValueDescriptor& value) {
  std::string prefix;
  for (const char c : value.type()->name()) {
    if (std::isupper(static_cast<unsigned char>(c)) && !prefix.empty()) prefix += '_';
    prefix += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  prefix += '_';
  const std::string& name = value.name();
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

/// The field's element `i`, or the field itself if it is -1.
Json value_of(const Message& m, const FieldDescriptor* f, int i) {
  const auto& r = *m.GetReflection();
  switch (f->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return i < 0 ? r.GetInt32(m, f) : r.GetRepeatedInt32(m, f, i);
    case FieldDescriptor::CPPTYPE_INT64:
      return i < 0 ? r.GetInt64(m, f) : r.GetRepeatedInt64(m, f, i);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return i < 0 ? r.GetDouble(m, f) : r.GetRepeatedDouble(m, f, i);
    case FieldDescriptor::CPPTYPE_BOOL:
      return i < 0 ? r.GetBool(m, f) : r.GetRepeatedBool(m, f, i);
    case FieldDescriptor::CPPTYPE_STRING:
      return i < 0 ? r.GetString(m, f) : r.GetRepeatedString(m, f, i);
    case FieldDescriptor::CPPTYPE_ENUM:
      return word_of(i < 0 ? *r.GetEnum(m, f) : *r.GetRepeatedEnum(m, f, i));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return json_of(i < 0 ? r.GetMessage(m, f) : r.GetRepeatedMessage(m, f, i));
    default:
      throw Error(ErrorCode::kInternal, "no JSON for the type of field " + f->full_name());
  }
}

}  // namespace

nlohmann::ordered_json json_of(const Message& message) {
  Json json = Json::object();
  const auto& reflection = *message.GetReflection();
  for (int n = 0; n < message.GetDescriptor()->field_count(); ++n) {
    const FieldDescriptor* field = message.GetDescriptor()->field(n);
    if (field->is_repeated()) {
      Json& list = json[field->name()] = Json::array();
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        list.push_back(value_of(message, field, i));
      }
    } else if (!field->has_presence() || reflection.HasField(message, field)) {
      json[field->name()] = value_of(message, field, -1);
    }
  }
  return json;
}

}  // namespace wattle
