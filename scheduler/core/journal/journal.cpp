#include "scheduler/core/journal/journal.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <type_traits>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

using nlohmann::json;

// The fields of the types that know nothing of JSON.
template <class Self, class V>
void visit_fields(Self& s, V&& v) requires std::is_same_v<std::remove_const_t<Self>, DeviceType> {
  v("name", s.name), v("idle_watts", s.idle_watts), v("min_limit_watts", s.min_limit_watts);
  v("max_limit_watts", s.max_limit_watts);
}
template <class Self, class V>
void visit_fields(Self& s, V&& v) requires std::is_same_v<std::remove_const_t<Self>, DeviceGroup> {
  v("type", s.type), v("count", s.count), v("safe_watts", s.safe_watts);
}
template <class Self, class V>
void visit_fields(Self& s,
                  V&& v) requires std::is_same_v<std::remove_const_t<Self>, OperatingPoint> {
  v("type", s.type), v("ranks", s.ranks), v("limit_watts", s.limit_watts);
}
template <class Self, class V>
void visit_fields(Self& s, V&& v) requires std::is_same_v<std::remove_const_t<Self>, WorkEstimate> {
  v("units", s.units), v("kind", s.kind), v("rank_counts", s.rank_counts);
  v("units_per_second", s.units_per_second);
}
template <class Self, class V>
void visit_fields(Self& s, V&& v) requires std::is_same_v<std::remove_const_t<Self>, RankRange> {
  v("min", s.min), v("max", s.max);
}
template <class Self, class V>
void visit_fields(Self& s, V&& v) requires std::is_same_v<std::remove_const_t<Self>, SweepAxis> {
  v("key", s.key), v("values", s.values);
}
template <class Self, class V>
void visit_fields(Self& s, V&& v) requires std::is_same_v<std::remove_const_t<Self>, Sweep> {
  v("grid", s.grid), v("list", s.list);
}
template <class Self, class V>
void visit_fields(Self& s, V&& v) requires std::is_same_v<std::remove_const_t<Self>, JobSpec> {
  v("tenant", s.tenant), v("priority", s.priority), v("ranks", s.ranks), v("deadline", s.deadline);
  v("energy_budget_joules", s.energy_budget_joules), v("sweep", s.sweep), v("after", s.after);
}
template <class Self, class V>
void visit_fields(Self& s, V&& v) requires requires {
  std::remove_const_t<Self>::visit(s, v);
}
{ std::remove_const_t<Self>::visit(s, v); }

const char* to_string(CapTier tier) { return tier == CapTier::kHard ? "hard" : "soft"; }

template <class T>
constexpr bool kIsOptional = false;
template <class T>
constexpr bool kIsOptional<std::optional<T>> = true;
template <class T>
constexpr bool kIsVector = false;
template <class T>
constexpr bool kIsVector<std::vector<T>> = true;

using Pair = std::pair<std::string, std::string>;

template <class T>
json encode(const T& value) {
  if constexpr (kIsOptional<T>) {
    return value ? encode(*value) : json(nullptr);
  } else if constexpr (kIsVector<T>) {
    json list = json::array();
    for (const auto& element : value) list.push_back(encode(element));
    return list;
  } else if constexpr (std::is_enum_v<T>) {
    return to_string(value);
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string> ||
                       std::is_same_v<T, Pair>) {
    return value;
  } else {
    json object = json::object();
    visit_fields(value, [&](const char* key, const auto& field) { object[key] = encode(field); });
    return object;
  }
}

[[noreturn]] void refuse(const std::string& path, const std::string& message) {
  throw Error(ErrorCode::kFormat, fmt::format("journal: {}: {}", path, message));
}

template <class T>
void decode_enum(const json& from, T& value, const std::string& path) {
  constexpr int kMostNames = 32;
  for (int i = 0; i < kMostNames && from.is_string(); ++i) {
    value = static_cast<T>(i);
    if (from == to_string(value) && from != "?") return;
  }
  refuse(path, "unknown value " + from.dump());
}

template <class T>
void decode(const json& from, T& value, const std::string& path);

template <class T>
void decode_object(const json& from, T& value, const std::string& path, size_t other_keys) {
  if (!from.is_object()) refuse(path, "expected an object");
  size_t known = other_keys;
  visit_fields(value, [&](const char* key, auto& field) {
    auto found = from.find(key);
    if (found == from.end()) refuse(path + "." + key, "is missing");
    decode(*found, field, path + "." + key);
    ++known;
  });
  if (from.size() != known) refuse(path, "has unknown keys");
}

template <class T>
void decode(const json& from, T& value, const std::string& path) {
  if constexpr (kIsOptional<T>) {
    value.reset();
    if (!from.is_null()) decode(from, value.emplace(), path);
  } else if constexpr (kIsVector<T>) {
    if (!from.is_array()) refuse(path, "expected a list");
    value.clear();
    for (const json& element : from) decode(element, value.emplace_back(), path + "[]");
  } else if constexpr (std::is_enum_v<T>) {
    decode_enum(from, value, path);
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string> ||
                       std::is_same_v<T, Pair>) {
    try {
      value = from.get<T>();
    } catch (const json::exception&) {
      refuse(path, "has the wrong type: " + from.dump());
    }
  } else {
    decode_object(from, value, path, 0);
  }
}

template <class Body>
json encode_named(const Body& body, const char* tag) {
  return std::visit(
      [&](const auto& alternative) {
        json object = encode(alternative);
        object[tag] = std::remove_cvref_t<decltype(alternative)>::kName;
        return object;
      },
      body);
}

template <size_t I = 0, class... Alternatives>
void decode_named(const json& from, const char* tag, size_t other_keys,
                  std::variant<Alternatives...>& body) {
  if constexpr (I == sizeof...(Alternatives)) {
    refuse(tag, from.contains(tag) ? "unknown value " + from[tag].dump() : "is missing");
  } else {
    using Alternative = std::variant_alternative_t<I, std::variant<Alternatives...>>;
    if (from.contains(tag) && from[tag] == Alternative::kName) {
      decode_object(from, body.template emplace<I>(), Alternative::kName, other_keys);
    } else {
      decode_named<I + 1>(from, tag, other_keys, body);
    }
  }
}

json parse(const std::string& line) {
  json object = json::parse(line, nullptr, false);
  if (!object.is_object()) refuse("line", "is no JSON object");
  return object;
}

/// Names come from users: bytes that are no UTF-8 are replaced, not thrown over.
std::string dump(const json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string to_line(const Event& event) {
  json object = encode_named(event.body, "event");
  object["time_seconds"] = event.time_seconds;
  return dump(object);
}

std::string to_line(const Decision& decision) { return dump(encode_named(decision, "decision")); }

Event event_from_line(const std::string& line) {
  const json object = parse(line);
  Event event;
  if (!object.contains("time_seconds")) refuse("time_seconds", "is missing");
  decode(object["time_seconds"], event.time_seconds, "time_seconds");
  decode_named(object, "event", 2, event.body);
  return event;
}

Decision decision_from_line(const std::string& line) {
  Decision decision;
  decode_named(parse(line), "decision", 1, decision);
  return decision;
}

}  // namespace wattle::scheduler
