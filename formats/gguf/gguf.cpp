#include "formats/gguf/gguf.h"

#include <fmt/format.h>

#include <bit>
#include <iterator>
#include <type_traits>

#include "common/error.h"

namespace wattle {
namespace {

constexpr const char* kTypeNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                      "int32",  "float32", "bool",   "string", "array",
                                      "uint64", "int64",   "float64"};
static_assert(std::size(kTypeNames) == std::variant_size_v<GgufValue>);

[[noreturn]] void fail_type(std::string_view key, const char* expected, const GgufValue& value) {
  throw Error(ErrorCode::kFormat,
              fmt::format("key {}: expected {}, got {}", key, expected, kTypeNames[value.index()]));
}

}  // namespace

bool GgufMetadata::add(std::string key, GgufValue value) {
  if (!by_key_.emplace(key, entries_.size()).second) return false;
  entries_.emplace_back(std::move(key), std::move(value));
  return true;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : &entries_[found->second].second;
}

const GgufValue& GgufMetadata::required(std::string_view key, const char* expected) const {
  if (const GgufValue* value = find(key)) return *value;
  throw Error(ErrorCode::kFormat, fmt::format("key {}: expected {}, it is missing", key, expected));
}

uint64_t GgufMetadata::unsigned_integer(std::string_view key) const {
  const char* expected = "an integer from 0";
  const GgufValue& value = required(key, expected);
  return std::visit(
      [&](const auto& number) -> uint64_t {
        using T = std::decay_t<decltype(number)>;
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          if (number >= 0) return static_cast<uint64_t>(number);
        }
        fail_type(key, expected, value);
      },
      value);
}

double GgufMetadata::number(std::string_view key) const {
  const GgufValue& value = required(key, "a number");
  return std::visit(
      [&](const auto& number) -> double {
        using T = std::decay_t<decltype(number)>;
        if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
          return static_cast<double>(number);
        } else {
          fail_type(key, "a number", value);
        }
      },
      value);
}

const std::string& GgufMetadata::text(std::string_view key) const {
  const GgufValue& value = required(key, "a string");
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  fail_type(key, "a string", value);
}

const std::vector<std::string>& GgufMetadata::texts(std::string_view key) const {
  const GgufValue& value = required(key, "an array of strings");
  if (const auto* array = std::get_if<GgufArray>(&value)) {
    if (const auto* texts = std::get_if<std::vector<std::string>>(&array->elements)) return *texts;
  }
  fail_type(key, "an array of strings", value);
}

uint32_t GgufMetadata::alignment() const {
  if (find("general.alignment") == nullptr) return kGgufAlignment;
  const uint64_t alignment = unsigned_integer("general.alignment");
  if (alignment <= UINT32_MAX && std::has_single_bit(alignment)) {
    return static_cast<uint32_t>(alignment);
  }
  throw Error(ErrorCode::kFormat,
              fmt::format("key general.alignment: expected a power of two, got {}", alignment));
}

}  // namespace wattle
