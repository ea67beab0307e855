#include "scheduler/core/journal/journal.h"

#include "scheduler/core/journal/codec.h"

namespace wattle::scheduler {
namespace {

using codec::json;
using codec::Reader;

constexpr bool kIsLenient = false;

template <class Alternative>
void write_named(std::string& out, const char* tag, const Alternative& value) {
  out += fmt::format("{{\"{}\":\"{}\"", tag, Alternative::kName);
  codec::write_fields(out, value, ",");
}

template <size_t I = 0, class... Alternatives>
void read_named(const json& from, const char* tag, size_t other_keys,
                std::variant<Alternatives...>& body) {
  if constexpr (I == sizeof...(Alternatives)) {
    Reader::refuse(tag, from.contains(tag) ? "unknown value " + from[tag].dump() : "is missing");
  } else {
    using Alternative = std::variant_alternative_t<I, std::variant<Alternatives...>>;
    if (from.contains(tag) && from[tag] == Alternative::kName) {
      Reader(kIsLenient)
          .read_object(from, body.template emplace<I>(), Alternative::kName, other_keys);
    } else {
      read_named<I + 1>(from, tag, other_keys, body);
    }
  }
}

json parse(const std::string& line) {
  json object = json::parse(line, nullptr, false);
  if (!object.is_object()) Reader::refuse("line", "is no JSON object");
  return object;
}

}  // namespace

std::string to_line(const Event& event) {
  std::string out = "{\"time_seconds\":";
  codec::write(out, event.time_seconds);
  std::string body;
  std::visit([&](const auto& value) { write_named(body, "event", value); }, event.body);
  body.front() = ',';
  return out + body;
}

std::string to_line(const Decision& decision) {
  std::string out;
  std::visit([&](const auto& value) { write_named(out, "decision", value); }, decision);
  return out;
}

Event event_from_line(const std::string& line) {
  const json object = parse(line);
  Event event;
  if (!object.contains("time_seconds")) Reader::refuse("time_seconds", "is missing");
  Reader(kIsLenient).read(object["time_seconds"], event.time_seconds, "time_seconds");
  read_named(object, "event", 2, event.body);
  return event;
}

Decision decision_from_line(const std::string& line) {
  Decision decision;
  read_named(parse(line), "decision", 1, decision);
  return decision;
}

}  // namespace wattle::scheduler
