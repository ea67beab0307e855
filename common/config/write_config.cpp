#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <set>

#include "common/config/config_file.h"

namespace wattle {
namespace {

/// Asks the checks of a written section which of its keys a file could not give: those that belong
/// to another choice (the momentum of an optimizer that has none).
class WrittenChecker : public Checker {
 public:
  explicit WrittenChecker(const YAML::Node& section) : section_(section) {}
  void require(bool holds, const std::string& key, const std::string&) override {
    if (!holds) refused_.insert(key);
  }
  void warn(const std::string&, const std::string&) override {}
  bool given(const std::string& key) const override { return section_[key].IsDefined(); }
  const std::set<std::string>& refused() const { return refused_; }

 private:
  const YAML::Node section_;  // const, so that a look-up makes no key
  std::set<std::string> refused_;
};

YAML::Node node_of(const Fields& fields) {
  YAML::Node node(YAML::NodeType::Map);
  for (const auto& field : fields.all()) {
    if (field->present && !field->present()) continue;
    YAML::Node value;
    if (field->elements) {
      for (const Fields& element : field->elements()) value.push_back(node_of(element));
    } else if (field->section) {
      value = node_of(*field->section);
      if (value.size() == 0) continue;
    } else {
      field->write(value);
    }
    node[field->key] = value;
  }
  WrittenChecker checker(node);
  for (const auto& check : fields.checks()) check(checker);
  for (const std::string& key : checker.refused()) node.remove(key);
  return node;
}

void add_rows(const Fields& fields, const std::string& path, std::string& rows) {
  for (const auto& field : fields.all()) {
    const std::string key = path.empty() ? field->key : path + "." + field->key;
    if (field->section) {
      rows += fmt::format("| `{}` | {} | | | {} |\n", key, field->type, field->meaning);
      add_rows(*field->section, field->append ? key + "[]" : key, rows);
      continue;
    }
    const std::string shown = field->is_required            ? "required"
                              : field->default_text.empty() ? ""
                                                            : "`" + field->default_text + "`";
    rows += fmt::format("| `{}` | {} | {} | {} | {} |\n", key, field->type, shown, field->unit_text,
                        field->meaning);
  }
}

}  // namespace

std::string write_config(const Fields& fields) {
  YAML::Emitter emitter;
  emitter << node_of(fields);
  return std::string(emitter.c_str()) + "\n";
}

std::string reference_table(const Fields& fields) {
  std::string rows = "| key | type | default | unit | meaning |\n|---|---|---|---|---|\n";
  add_rows(fields, "", rows);
  return rows;
}

}  // namespace wattle
