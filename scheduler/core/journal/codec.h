#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "common/error.h"
#include "scheduler/core/journal/fields.h"

// Values as JSON and back. Objects have their fields in the order of fields.h, maps are lists of
// pairs, numbers have the shortest form that reads back the same: equal values give equal bytes.

namespace wattle::scheduler::codec {

using nlohmann::json;

inline const char* to_string(CapTier tier) { return tier == CapTier::kHard ? "hard" : "soft"; }
inline const char* to_string(NodeState state) {
  return state == NodeState::kUp ? "up" : state == NodeState::kLost ? "lost" : "down";
}
inline const char* to_string(Run::Phase phase) {
  return phase == Run::Phase::kStarting  ? "starting"
         : phase == Run::Phase::kRunning ? "running"
                                         : "stopping";
}
using scheduler::to_string;

template <class T>
concept Optional = std::is_same_v<T, std::optional<typename T::value_type>>;
template <class T>
concept Map = requires {
  typename T::mapped_type;
};
template <class T>
concept UnorderedMap = Map<T> && requires {
  typename T::hasher;
};
template <class T>
concept Set = !Map<T> && requires {
  typename T::key_compare;
};
template <class T>
concept List = std::is_same_v<T, std::vector<typename T::value_type>>;
/// Has fields that older journals don't have: they keep their defaults where they are missing.
template <class T>
concept Extended = requires {
  T::kAdded;
};
template <class T>
concept Pair = requires {
  typename T::first_type;
};

inline void write(std::string& out, const std::string& text) {
  const bool is_plain = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
  });
  if (is_plain) {
    out.append(1, '"').append(text).append(1, '"');
  } else {
    // Names come from users: bytes that are no UTF-8 are replaced, not thrown over.
    out += json(text).dump(-1, ' ', false, json::error_handler_t::replace);
  }
}

inline void write(std::string& out, bool value) { out += value ? "true" : "false"; }

template <class T>
void write(std::string& out, const T& value);

/// `after_each` may take away what `out` holds.
template <class Elements, class AfterEach>
void write_list(std::string& out, const Elements& elements, AfterEach&& after_each) {
  const char* separator = "[";
  for (const auto& element : elements) {
    out += std::exchange(separator, ",");
    write(out, element);
    after_each();
  }
  out += *separator == '[' ? "[]" : "]";
}

/// The fields of an object, after what is written already: `separator` is "{" or ",".
template <class T>
void write_fields(std::string& out, const T& value, const char* separator = "{") {
  fields::visit(value, [&](const char* key, const auto& field) {
    out += std::exchange(separator, ",");
    out.append(1, '"').append(key).append("\":");
    write(out, field);
  });
  out += *separator == '{' ? "{}" : "}";
}

template <class T>
void write(std::string& out, const T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    // What JSON knows no number for is a text.
    const char* quote = std::isfinite(value) ? "" : "\"";
    fmt::format_to(std::back_inserter(out), "{}{}{}", quote, value, quote);
  } else if constexpr (std::is_integral_v<T>) {
    fmt::format_to(std::back_inserter(out), "{}", value);
  } else if constexpr (std::is_enum_v<T>) {
    write(out, std::string(to_string(value)));
  } else if constexpr (Optional<T>) {
    value ? write(out, *value) : void(out += "null");
  } else if constexpr (UnorderedMap<T>) {
    std::map<typename T::key_type, const typename T::mapped_type*> sorted;
    for (const auto& [key, mapped] : value) sorted[key] = &mapped;
    write_list(out, sorted, [] {});
  } else if constexpr (std::is_pointer_v<T>) {
    write(out, *value);
  } else if constexpr (Pair<T>) {
    out += '[';
    write(out, value.first);
    out += ',';
    write(out, value.second);
    out += ']';
  } else if constexpr (Map<T> || Set<T> || List<T>) {
    write_list(out, value, [] {});
  } else {
    write_fields(out, value);
  }
}

/// Reads what write() wrote. Throws Error(kFormat) that names the field.
class Reader {
 public:
  /// A lenient reader leaves fields that are missing as they are: whoever wrote it did not know
  /// them yet.
  explicit Reader(bool is_lenient) : is_lenient_(is_lenient) {}

  [[noreturn]] static void refuse(const std::string& path, const std::string& message) {
    throw Error(ErrorCode::kFormat, fmt::format("journal: {}: {}", path, message));
  }

  template <class T>
  void read(const json& from, T& value, const std::string& path) const {
    if constexpr (std::is_floating_point_v<T>) {
      read_number(from, value, path);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      read_plain(from, value, path);
    } else if constexpr (std::is_enum_v<T>) {
      read_enum(from, value, path);
    } else if constexpr (Optional<T>) {
      value.reset();
      if (!from.is_null()) read(from, value.emplace(), path);
    } else if constexpr (Pair<T>) {
      if (!from.is_array() || from.size() != 2) refuse(path, "expected a list of two");
      read(from[0], value.first, path + "[0]");
      read(from[1], value.second, path + "[1]");
    } else if constexpr (Map<T> || Set<T> || List<T>) {
      read_list(from, value, path);
    } else {
      read_object(from, value, path, 0);
    }
  }

  /// Adds an element to a list, set or map.
  template <class T>
  void read_element(const json& from, T& value, const std::string& path) const {
    if constexpr (Map<T>) {
      std::pair<typename T::key_type, typename T::mapped_type> pair;
      read(from, pair, path + "[]");
      value.insert(std::move(pair));
    } else if constexpr (Set<T>) {
      typename T::value_type key;
      read(from, key, path + "[]");
      value.insert(std::move(key));
    } else {
      read(from, value.emplace_back(), path + "[]");
    }
  }

  /// `other_keys` of the object belong to no field.
  template <class T>
  void read_object(const json& from, T& value, const std::string& path, size_t other_keys) const {
    if (!from.is_object()) refuse(path, "expected an object");
    size_t known = other_keys;
    fields::visit(value, [&](const char* key, auto& field) {
      auto found = from.find(key);
      if (found == from.end()) {
        if (is_lenient_ || is_added<T>(key)) return;
        refuse(path + "." + key, "is missing");
      }
      read(*found, field, path + "." + key);
      ++known;
    });
    if (from.size() != known) refuse(path, "has unknown keys");
  }

 private:
  template <class T>
  static bool is_added([[maybe_unused]] std::string_view key) {
    if constexpr (Extended<T>) {
      return std::find(std::begin(T::kAdded), std::end(T::kAdded), key) != std::end(T::kAdded);
    }
    return false;
  }

  template <class T>
  static void read_plain(const json& from, T& value, const std::string& path) {
    const bool fits = std::is_same_v<T, std::string> ? from.is_string()
                      : std::is_same_v<T, bool>      ? from.is_boolean()
                                                     : from.is_number();
    if (!fits) refuse(path, "has the wrong type: " + from.dump());
    value = from.get<T>();
  }

  static void read_number(const json& from, double& value, const std::string& path) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    value = from == "inf"    ? kInfinity
            : from == "-inf" ? -kInfinity
                             : std::numeric_limits<double>::quiet_NaN();
    if (std::isinf(value) || from == "nan" || from == "-nan") return;
    read_plain(from, value, path);
  }

  template <class T>
  static void read_enum(const json& from, T& value, const std::string& path) {
    constexpr int kMostNames = 32;
    for (int i = 0; i < kMostNames && from.is_string(); ++i) {
      value = static_cast<T>(i);
      if (from == to_string(value) && from != "?") return;
    }
    refuse(path, "unknown value " + from.dump());
  }

  template <class T>
  void read_list(const json& from, T& value, const std::string& path) const {
    if (!from.is_array()) refuse(path, "expected a list");
    value.clear();
    for (const json& element : from) read_element(element, value, path);
  }

  bool is_lenient_;
};

}  // namespace wattle::scheduler::codec
