#include "common/config/schema.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <cmath>

#include "common/error.h"

namespace wattle {
namespace {

std::string shown(const YAML::Node& node) {
  if (node.IsMap()) return "a section";
  if (node.IsSequence()) return "a list";
  if (node.IsNull()) return "nothing";
  return fmt::format("'{}'", node.Scalar());
}

template <class T>
std::string name_of_type() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_same_v<T, uint64_t>) return "non-negative integer";
  if constexpr (std::is_integral_v<T>) return "integer";
  if constexpr (std::is_floating_point_v<T>) return "number";
  return "text";
}

/// yaml-cpp reads "-1" as an unsigned number and "1e3" not as an integer: both are settled here.
template <class T>
std::string read_scalar(const YAML::Node& node, T& value) {
  const std::string expected = fmt::format("expected {}, got {}", name_of_type<T>(), shown(node));
  if (!node.IsScalar()) return expected;
  if constexpr (std::is_same_v<T, uint64_t>) {
    if (node.Scalar().starts_with('-')) return expected;
  }
  if (!YAML::convert<T>::decode(node, value)) return expected;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return expected + " (it must be finite)";
  }
  return "";
}

template <class T>
std::string read_list(const YAML::Node& node, std::vector<T>& value) {
  if (!node.IsSequence()) {
    return fmt::format("expected a list ([a, b, ...]) of {}, got {}", name_of_type<T>(),
                       shown(node));
  }
  std::vector<T> read;
  for (size_t i = 0; i < node.size(); ++i) {
    T element{};
    if (std::string wrong = read_scalar(node[i], element); !wrong.empty()) {
      return fmt::format("element {}: {}", i, wrong);
    }
    read.push_back(element);
  }
  value = std::move(read);
  return "";
}

template <class T>
std::string text_of(const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    return value;
  } else {
    return fmt::format("{}", value);
  }
}

template <class T>
void bind(Field& field, T& value) {
  field.default_text = text_of(value);
  field.read = [&value](const YAML::Node& node) { return read_scalar(node, value); };
  field.write = [&value](YAML::Node& node) { node = value; };
  if constexpr (std::is_arithmetic_v<T>) {
    field.number = [&value] { return static_cast<double>(value); };
  }
}

template <class T>
void bind(Field& field, std::vector<T>& value) {
  std::vector<std::string> texts;
  for (const T& element : value) texts.push_back(text_of(element));
  field.default_text = fmt::format("[{}]", fmt::join(texts, ", "));
  field.read = [&value](const YAML::Node& node) { return read_list(node, value); };
  field.write = [&value](YAML::Node& node) {
    node = value;
    node.SetStyle(YAML::EmitterStyle::Flow);
  };
  field.present = [&value] { return !value.empty(); };
}

template <class T>
void bind(Field& field, std::optional<T>& value) {
  field.default_text = value ? text_of(*value) : "";
  field.read = [&value](const YAML::Node& node) {
    T read{};
    std::string wrong = read_scalar(node, read);
    if (wrong.empty()) value = read;
    return wrong;
  };
  field.write = [&value](YAML::Node& node) { node = *value; };
  field.present = [&value] { return value.has_value(); };
  if constexpr (std::is_arithmetic_v<T>) {
    field.number = [&value] { return static_cast<double>(*value); };
  }
}

void bound(Field& field, const char* relation, double limit, std::function<bool(double)> holds) {
  field.constraints.push_back([&field, relation, limit, holds]() -> std::string {
    if (field.present && !field.present()) return "";
    const double value = field.number();
    if (holds(value)) return "";
    return fmt::format("expected {} {}, got {}", relation, limit, value);
  });
}

}  // namespace

Field& Field::required() {
  is_required = true;
  default_text.clear();
  return *this;
}

Field& Field::unit(std::string text) {
  unit_text = std::move(text);
  return *this;
}

Field& Field::default_is(std::string text) {
  default_text = std::move(text);
  return *this;
}

Field& Field::greater_than(double limit) {
  bound(*this, "more than", limit, [limit](double v) { return v > limit; });
  return *this;
}

Field& Field::at_least(double limit) {
  bound(*this, "at least", limit, [limit](double v) { return v >= limit; });
  return *this;
}

Field& Field::at_most(double limit) {
  bound(*this, "at most", limit, [limit](double v) { return v <= limit; });
  return *this;
}

Field& Field::less_than(double limit) {
  bound(*this, "less than", limit, [limit](double v) { return v < limit; });
  return *this;
}

Field& Fields::add(std::string key, std::string type, std::string meaning) {
  for (const auto& field : fields_) {
    if (field->key == key) {
      throw Error(ErrorCode::kInternal, fmt::format("configuration key '{}' described twice", key));
    }
  }
  fields_.push_back(std::make_unique<Field>());
  Field& field = *fields_.back();
  field.key = std::move(key);
  field.type = std::move(type);
  field.meaning = std::move(meaning);
  return field;
}

Field& Fields::add_choice(std::string key, std::vector<std::string> names,
                          std::function<size_t()> get, std::function<void(size_t)> set,
                          std::string meaning) {
  Field& field =
      add(std::move(key), fmt::format("{}", fmt::join(names, " \\| ")), std::move(meaning));
  field.default_text = names[get()];
  field.choices = names;
  field.read = [names, set](const YAML::Node& node) -> std::string {
    if (node.IsScalar()) {
      for (size_t i = 0; i < names.size(); ++i) {
        if (names[i] == node.Scalar()) {
          set(i);
          return "";
        }
      }
    }
    const std::string near = node.IsScalar() ? nearest(node.Scalar(), names) : "";
    return fmt::format("expected one of {}, got {}{}", fmt::join(names, ", "), shown(node),
                       near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
  };
  field.write = [names, get](YAML::Node& node) { node = names[get()]; };
  return field;
}

#define WATTLE_BIND(Type, text)                                                  \
  Field& Fields::operator()(std::string key, Type& value, std::string meaning) { \
    Field& field = add(std::move(key), text, std::move(meaning));                \
    bind(field, value);                                                          \
    return field;                                                                \
  }
WATTLE_BIND(bool, "true or false")
WATTLE_BIND(int64_t, "integer")
WATTLE_BIND(uint64_t, "non-negative integer")
WATTLE_BIND(double, "number")
WATTLE_BIND(std::string, "text")
WATTLE_BIND(std::vector<int64_t>, "list of integers")
WATTLE_BIND(std::vector<double>, "list of numbers")
WATTLE_BIND(std::vector<std::string>, "list of text")
WATTLE_BIND(std::optional<bool>, "true or false")
WATTLE_BIND(std::optional<int64_t>, "integer")
WATTLE_BIND(std::optional<double>, "number")
WATTLE_BIND(std::optional<std::string>, "text")
#undef WATTLE_BIND

}  // namespace wattle
