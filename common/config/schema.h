#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/config/diagnostics.h"

namespace YAML {
class Node;
}

namespace wattle {

class Fields;

/// A section of a configuration is a struct with `void describe(Fields&)`. That one description
/// reads the section strictly, writes it back resolved, and makes its rows of docs/CONFIG.md:
///
///   struct OptimizerOptions {
///     double lr = 3e-4;
///     std::optional<double> grad_clip;
///     void describe(Fields& f) {
///       f("lr", lr, "learning rate after warm-up").greater_than(0);
///       f("grad_clip", grad_clip, "largest global gradient norm").greater_than(0);
///       f.check([&](Checker& c) { c.require(lr < 10, "lr", "is no learning rate"); });
///     }
///   };
template <class T>
concept Section = requires(T& section, Fields& fields) {
  section.describe(fields);
};

/// Handed to a section's semantic checks; `key` may be a path below the section ("schedule.kind").
class Checker {
 public:
  virtual ~Checker() = default;
  virtual void require(bool holds, const std::string& key, const std::string& message) = 0;
  virtual void warn(const std::string& key, const std::string& message) = 0;
  /// Whether the file (or a `--set`) gives this key of the section.
  virtual bool given(const std::string& key) const = 0;
};

/// Reads a value from its node; returns "" or what was expected and what came.
using ReadValue = std::function<std::string(const YAML::Node&)>;
using WriteValue = std::function<void(YAML::Node&)>;

/// A list of sections holds at most this many.
inline constexpr size_t kMostElements = 64;

/// One key of a section: what it is bound to and what is known about it.
struct Field {
  std::string key;
  std::string meaning;
  std::string type;          ///< for people: "integer", "number", "list of text", ...
  std::string default_text;  ///< for people; "" if there is none
  std::string unit_text;
  bool is_required = false;
  std::vector<std::string> choices;
  ReadValue read;  ///< empty for nested sections
  WriteValue write;
  std::vector<std::function<std::string()>> constraints;  ///< each: "" or what is wrong
  std::function<double()> number;                         ///< the bound value, if it has one

  std::unique_ptr<Fields> section;                ///< a nested section, or a list's element
  std::function<void()> engage;                   ///< makes an optional section exist
  std::function<Fields()> append;                 ///< a list of sections: one more element
  std::function<std::vector<Fields>()> elements;  ///< a list of sections: those there are
  std::function<bool()> present;                  ///< whether to write it and run its checks

  Field& required();
  Field& unit(std::string text);
  /// The default as people should read it, where it is derived from other keys.
  Field& default_is(std::string text);
  Field& greater_than(double bound);
  Field& at_least(double bound);
  Field& at_most(double bound);
  Field& less_than(double bound);
};

/// What a section says of itself: its keys in order and its checks. The bound struct must outlive
/// it.
class Fields {
 public:
  /// Numbers are finite: .inf and .nan are errors.
  Field& operator()(std::string key, bool& value, std::string meaning);
  Field& operator()(std::string key, int64_t& value, std::string meaning);
  Field& operator()(std::string key, uint64_t& value, std::string meaning);
  Field& operator()(std::string key, double& value, std::string meaning);
  Field& operator()(std::string key, std::string& value, std::string meaning);
  Field& operator()(std::string key, std::vector<int64_t>& value, std::string meaning);
  Field& operator()(std::string key, std::vector<double>& value, std::string meaning);
  Field& operator()(std::string key, std::vector<std::string>& value, std::string meaning);
  Field& operator()(std::string key, std::optional<bool>& value, std::string meaning);
  Field& operator()(std::string key, std::optional<int64_t>& value, std::string meaning);
  Field& operator()(std::string key, std::optional<double>& value, std::string meaning);
  Field& operator()(std::string key, std::optional<std::string>& value, std::string meaning);

  /// A key with a closed set of values, each a name and what it stands for.
  template <class E>
  requires std::is_enum_v<E> Field& choice(std::string key, E& value,
                                           std::vector<std::pair<std::string, E>> names,
                                           std::string meaning);

  /// A nested section, one that may be absent, and a list of sections.
  template <Section T>
  Field& operator()(std::string key, T& value, std::string meaning);
  template <Section T>
  Field& operator()(std::string key, std::optional<T>& value, std::string meaning);
  template <Section T>
  Field& operator()(std::string key, std::vector<T>& value, std::string meaning);

  /// A semantic check; runs after the whole file was read without structural errors.
  void check(std::function<void(Checker&)> check) { checks_.push_back(std::move(check)); }

  const std::vector<std::unique_ptr<Field>>& all() const { return fields_; }
  const std::vector<std::function<void(Checker&)>>& checks() const { return checks_; }

 private:
  Field& add(std::string key, std::string type, std::string meaning);
  Field& add_choice(std::string key, std::vector<std::string> names, std::function<size_t()> get,
                    std::function<void(size_t)> set, std::string meaning);

  std::vector<std::unique_ptr<Field>> fields_;
  std::vector<std::function<void(Checker&)>> checks_;
};

template <Section T>
Fields fields_of(T& section) {
  Fields fields;
  section.describe(fields);
  return fields;
}

template <class E>
requires std::is_enum_v<E> Field& Fields::choice(std::string key, E& value,
                                                 std::vector<std::pair<std::string, E>> names,
                                                 std::string meaning) {
  std::vector<std::string> texts;
  std::vector<E> values;
  for (auto& [text, meant] : names) {
    texts.push_back(text);
    values.push_back(meant);
  }
  return add_choice(
      std::move(key), std::move(texts),
      [&value, values] {
        for (size_t i = 0; i < values.size(); ++i) {
          if (values[i] == value) return i;
        }
        return size_t{0};
      },
      [&value, values](size_t i) { value = values[i]; }, std::move(meaning));
}

template <Section T>
Field& Fields::operator()(std::string key, T& value, std::string meaning) {
  Field& field = add(std::move(key), "section", std::move(meaning));
  field.section = std::make_unique<Fields>(fields_of(value));
  return field;
}

template <Section T>
Field& Fields::operator()(std::string key, std::optional<T>& value, std::string meaning) {
  Field& field = add(std::move(key), "section", std::move(meaning));
  const bool absent = !value.has_value();
  if (absent) value.emplace();  // the storage of an optional stays where it is
  field.section = std::make_unique<Fields>(fields_of(*value));
  if (absent) value.reset();
  field.engage = [&value] {
    if (!value) value.emplace();
  };
  field.present = [&value] { return value.has_value(); };
  return field;
}

template <Section T>
Field& Fields::operator()(std::string key, std::vector<T>& value, std::string meaning) {
  Field& field = add(std::move(key), "list of sections", std::move(meaning));
  auto shape = std::make_shared<T>();  // describes an element to the reference page
  field.section = std::make_unique<Fields>(fields_of(*shape));
  value.reserve(kMostElements);  // bindings point into it
  field.append = [&value, shape] {
    value.emplace_back();
    return fields_of(value.back());
  };
  field.elements = [&value] {
    std::vector<Fields> fields;
    for (T& element : value) fields.push_back(fields_of(element));
    return fields;
  };
  field.present = [&value] { return !value.empty(); };
  return field;
}

}  // namespace wattle
