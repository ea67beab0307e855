#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace google::protobuf {
class Message;
}

namespace wattle {

/// A message as JSON for `--json`: its field names, all of them but optional ones that are not set;
/// whole numbers as numbers (Protobuf's own mapping makes text of 64 bits), states without their
/// prefix ("RUNNING").
nlohmann::ordered_json json_of(const google::protobuf::Message& message);

}  // namespace wattle
