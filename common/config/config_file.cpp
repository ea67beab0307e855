#include "common/config/config_file.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "common/error.h"

namespace wattle {
namespace {

constexpr size_t kMostBytes = 1 << 20;
constexpr int kDeepest = 32;

std::string join_key(const std::string& section, const std::string& key) {
  return section.empty() ? key : section + "." + key;
}

std::vector<std::string> split_key(const std::string& key) {
  std::vector<std::string> parts;
  std::stringstream stream(key);
  for (std::string part; std::getline(stream, part, '.');) parts.push_back(part);
  return parts;
}

bool is_index(const std::string& part) {
  return !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
}

/// Reads one document: keeps where each key came from, so that checks can point at it.
class Reader {
 public:
  Reader(std::string file, const ReadOptions& options, Diagnostics& diagnostics)
      : file_(std::move(file)), options_(options), diagnostics_(diagnostics) {}

  void apply_overrides(YAML::Node& root);
  void read(const YAML::Node& node, Fields& fields, const std::string& path, int depth);
  void run_checks(const Fields& fields) const;
  GivenKeys given_keys(const Fields& fields) const;

 private:
  friend class SectionChecker;

  Location location_of(const YAML::Node& node, const std::string& path) const;
  Location location_of_key(const std::string& path) const;
  Field* find_field(Fields& fields, const std::string& key, const std::string& path,
                    const Location& at);
  void read_field(const YAML::Node& node, Field& field, const std::string& path, int depth);
  void read_elements(const YAML::Node& node, Field& field, const std::string& path, int depth);

  /// Whether a key that is unknown here is somebody else's.
  bool is_others(const Fields& fields, const std::string& key, const std::string& section) const;

  std::string file_;
  const ReadOptions& options_;
  Diagnostics& diagnostics_;
  std::map<std::string, std::string> overridden_;  // path → the text after --set
  std::map<std::string, Location> given_;          // path → where it is given
};

class SectionChecker : public Checker {
 public:
  SectionChecker(const Reader& reader, std::string path)
      : reader_(reader), path_(std::move(path)) {}
  void require(bool holds, const std::string& key, const std::string& message) override {
    if (holds) return;
    const std::string path = join_key(path_, key);
    reader_.diagnostics_.error(reader_.location_of_key(path), path, message);
  }
  void warn(const std::string& key, const std::string& message) override {
    const std::string path = join_key(path_, key);
    reader_.diagnostics_.warning(reader_.location_of_key(path), path, message);
  }
  bool given(const std::string& key) const override {
    return reader_.given_.contains(join_key(path_, key));
  }

 private:
  const Reader& reader_;
  std::string path_;
};

Location Reader::location_of(const YAML::Node& node, const std::string& path) const {
  for (std::string prefix = path;; prefix = prefix.substr(0, prefix.rfind('.'))) {
    if (auto it = overridden_.find(prefix); it != overridden_.end()) {
      return {"--set " + it->second, 0, 0};
    }
    if (prefix.find('.') == std::string::npos) break;
  }
  const YAML::Mark mark = node.Mark();
  if (mark.is_null()) {  // an override of something below has made it
    const auto below = overridden_.lower_bound(path + ".");
    if (below != overridden_.end() && below->first.starts_with(path + ".")) {
      return {"--set " + below->second, 0, 0};
    }
  }
  return {file_, std::max(0, mark.line) + 1, std::max(0, mark.column) + 1};
}

/// The place of a key, or of the innermost section above it that the file gives.
Location Reader::location_of_key(const std::string& path) const {
  std::string prefix = path;
  while (true) {
    if (auto it = given_.find(prefix); it != given_.end()) return it->second;
    const size_t dot = prefix.rfind('.');
    if (dot == std::string::npos) return {file_, 1, 1};
    prefix.resize(dot);
  }
}

/// By value: a node is a handle, and only the non-const [] makes a key that is not there yet.
YAML::Node child_at(YAML::Node node, const std::string& part) {
  if (is_index(part) && node.IsSequence()) return node[std::stoul(part)];
  return node[part];
}

/// Whether `part` can be followed or set below `node`; "" or why not.
std::string unreachable(const YAML::Node& node, const std::string& part) {
  if (node.IsScalar()) return fmt::format("'{}' has no keys below it", node.Scalar());
  if (!node.IsSequence()) return "";
  if (is_index(part) && part.size() < 9 && std::stoul(part) < node.size()) return "";
  return fmt::format("the list has {} elements and no '{}'", node.size(), part);
}

void Reader::apply_overrides(YAML::Node& root) {
  for (const std::string& text : options_.overrides) {
    const Location at{"--set " + text, 0, 0};
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      diagnostics_.error(at, "", "expected key=value, as in train.steps=100");
      continue;
    }
    const std::string key = text.substr(0, equals);
    YAML::Node value;
    try {
      value = YAML::Load(text.substr(equals + 1));
    } catch (const YAML::Exception& e) {
      diagnostics_.error(at, key, fmt::format("the value is no YAML: {}", e.msg));
      continue;
    }
    const std::vector<std::string> parts = split_key(key);
    YAML::Node node = root;
    std::string why;
    for (size_t i = 0; i + 1 < parts.size() && why.empty(); ++i) {
      why = unreachable(node, parts[i]);
      if (why.empty()) node.reset(child_at(node, parts[i]));
    }
    if (why.empty()) why = unreachable(node, parts.back());
    if (!why.empty()) {
      diagnostics_.error(at, key, why);
      continue;
    }
    child_at(node, parts.back()) = value;
    overridden_[key] = text;
    for (const auto& [one, other] : options_.alternatives) {
      const std::string& replaced = key == one ? other : key == other ? one : "";
      if (replaced.empty()) continue;
      const std::vector<std::string> names = split_key(replaced);
      YAML::Node section = root;
      for (size_t i = 0; i + 1 < names.size(); ++i) section.reset(child_at(section, names[i]));
      section.remove(names.back());
    }
  }
}

void Reader::read_elements(const YAML::Node& node, Field& field, const std::string& path,
                           int depth) {
  if (!node.IsSequence()) {
    diagnostics_.error(location_of(node, path), path, "expected a list of sections (- key: value)");
    return;
  }
  if (node.size() > kMostElements) {
    diagnostics_.error(
        location_of(node, path), path,
        fmt::format("has {} elements, at most {} are allowed", node.size(), kMostElements));
    return;
  }
  for (size_t i = 0; i < node.size(); ++i) {
    Fields element = field.append();
    const std::string element_path = fmt::format("{}.{}", path, i);
    given_[element_path] = location_of(node[i], element_path);
    read(node[i], element, element_path, depth + 1);
  }
}

void Reader::read_field(const YAML::Node& node, Field& field, const std::string& path, int depth) {
  if (field.append) return read_elements(node, field, path, depth);
  if (field.section) {
    if (field.engage) field.engage();
    return read(node, *field.section, path, depth + 1);
  }
  if (std::string wrong = field.read(node); !wrong.empty()) {
    diagnostics_.error(location_of(node, path), path, wrong);
    return;
  }
  for (const auto& constraint : field.constraints) {
    if (std::string wrong = constraint(); !wrong.empty()) {
      diagnostics_.error(location_of(node, path), path, wrong);
    }
  }
}

/// Null, and an error, where the section has no such key.
Field* Reader::find_field(Fields& fields, const std::string& key, const std::string& path,
                          const Location& at) {
  std::vector<std::string> keys;
  for (const auto& field : fields.all()) {
    if (field->key == key) return field.get();
    keys.push_back(field->key);
  }
  const std::string near = nearest(key, keys);
  diagnostics_.error(
      at, path,
      near.empty() ? "unknown key" : fmt::format("unknown key (did you mean '{}'?)", near));
  return nullptr;
}

bool Reader::is_others(const Fields& fields, const std::string& key,
                       const std::string& section) const {
  const auto& shared = options_.shared_sections;
  return std::ranges::find(shared, section) != shared.end() &&
         std::ranges::none_of(fields.all(), [&](const auto& field) { return field->key == key; });
}

void Reader::read(const YAML::Node& node, Fields& fields, const std::string& path, int depth) {
  if (depth > kDeepest) {
    diagnostics_.error(location_of(node, path), path, "sections are nested too deeply");
    return;
  }
  if (!node.IsMap() && !node.IsNull()) {
    diagnostics_.error(location_of(node, path), path, "expected a section (key: value)");
    return;
  }
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "?";
    const std::string key_path = join_key(path, key);
    const Location at = location_of(entry.first, key_path);
    if (!seen.insert(key).second) {
      diagnostics_.error(at, key_path, "is given twice");
      continue;
    }
    if (is_others(fields, key, path)) continue;
    Field* field = find_field(fields, key, key_path, at);
    if (!field) continue;
    given_[key_path] = location_of(entry.second, key_path);
    read_field(entry.second, *field, key_path, depth);
  }
  for (const auto& field : fields.all()) {
    if (field->is_required && !seen.contains(field->key)) {
      diagnostics_.error(path.empty() ? Location{file_, 1, 1} : location_of(node, path),
                         join_key(path, field->key), "is required");
    }
  }
}

/// Calls `visit(section, path)` for a section and all those below it that are there.
template <class Visit>
void visit_sections(const Fields& fields, const std::string& path, const Visit& visit) {
  visit(fields, path);
  for (const auto& field : fields.all()) {
    if (!field->section || (field->present && !field->present())) continue;
    const std::string field_path = join_key(path, field->key);
    if (field->elements) {
      const std::vector<Fields> elements = field->elements();
      for (size_t i = 0; i < elements.size(); ++i) {
        visit_sections(elements[i], fmt::format("{}.{}", field_path, i), visit);
      }
    } else {
      visit_sections(*field->section, field_path, visit);
    }
  }
}

void Reader::run_checks(const Fields& fields) const {
  visit_sections(fields, "", [this](const Fields& section, const std::string& path) {
    SectionChecker checker(*this, path);
    for (const auto& check : section.checks()) check(checker);
  });
}

/// "" where the key names none.
std::string input_of(const Field& field) {
  if (!field.type.ends_with(kInputPath)) return "";
  YAML::Node value;
  field.write(value);
  std::error_code unknown;
  const bool is_one = field.type == kInputPath || std::filesystem::exists(value.Scalar(), unknown);
  return is_one ? value.Scalar() : "";
}

std::string place_of(const Location& at) {
  return at.line > 0 ? fmt::format("{}:{}:{}", at.file, at.line, at.column) : at.file;
}

GivenKeys Reader::given_keys(const Fields& fields) const {
  GivenKeys keys;
  for (const auto& [key, at] : given_) keys.places[key] = place_of(at);
  visit_sections(fields, "", [&](const Fields& section, const std::string& path) {
    for (const auto& field : section.all()) {
      const auto place = keys.places.find(join_key(path, field->key));
      if (place == keys.places.end()) continue;
      const std::string input = input_of(*field);
      if (!input.empty()) keys.inputs.push_back({place->second, place->first, input});
    }
  });
  return keys;
}

/// Null for a text without any. What follows a second "---" would be dropped silently.
YAML::Node load_document(const std::string& text, const std::string& name) {
  const auto refuse = [&name](const YAML::Mark& at, const std::string& what) {
    throw Error(ErrorCode::kConfig,
                fmt::format("{}:{}:{}: {}", name, at.line + 1, at.column + 1, what));
  };
  std::vector<YAML::Node> documents;
  try {
    documents = YAML::LoadAll(text);
  } catch (const YAML::Exception& e) {
    refuse(e.mark, e.msg);
  }
  for (size_t i = 1; i < documents.size(); ++i) {
    if (!documents[i].IsNull()) {
      refuse(documents[i].Mark(), "a second document begins; expected one");
    }
  }
  return documents.empty() ? YAML::Node(YAML::NodeType::Null) : documents.front();
}

}  // namespace

GivenKeys read_config_text(const std::string& text, const std::string& name, Fields& fields,
                           const ReadOptions& options, Diagnostics& diagnostics) {
  if (text.size() > kMostBytes) {
    throw Error(ErrorCode::kConfig, fmt::format("{}: has {} bytes; a configuration has at most {}",
                                                name, text.size(), kMostBytes));
  }
  YAML::Node root = load_document(text, name);
  const auto required = std::ranges::find_if(
      fields.all(), &Field::is_required, [](const auto& field) -> auto& { return *field; });
  if (root.IsNull() && options.overrides.empty() && required != fields.all().end()) {
    throw Error(
        ErrorCode::kConfig,
        fmt::format("{}:1:1: expected sections ('{}: ...'), got nothing", name, (*required)->key));
  }
  Reader reader(name, options, diagnostics);
  reader.apply_overrides(root);
  reader.read(root, fields, "", 0);
  if (diagnostics.ok()) reader.run_checks(fields);
  return diagnostics.ok() ? reader.given_keys(fields) : GivenKeys{};
}

GivenKeys read_config(const std::string& path, Fields& fields, const ReadOptions& options,
                      Diagnostics& diagnostics) {
  const auto refuse = [&path](const std::string& what) {
    throw Error(ErrorCode::kConfig, fmt::format("{}: {}", path, what));
  };
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) {
    refuse("expected a YAML file, got a folder");
  }
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file) refuse("can't be read: is there such a file?");
  return read_config_text(text, path, fields, options, diagnostics);
}

}  // namespace wattle
