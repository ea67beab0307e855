#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/config/schema.h"

namespace wattle {

/// How a file is read besides its own content.
struct ReadOptions {
  /// `a.b=c` each, applied in order; the value is YAML. A number in the key reaches into a list.
  std::vector<std::string> overrides;
  /// Keys of which a file may give one: an override of one removes the other.
  std::vector<std::pair<std::string, std::string>> alternatives;
  /// Sections ("" is the whole file) in which keys that are unknown here are somebody else's.
  std::vector<std::string> shared_sections = {};
};

/// The type of a key that names a file or a folder which is read:
///   f("path", path, "the file").type = kInputPath;
/// Where a type only ends with it ("bytes or input path"), the key names one if it is there.
inline constexpr std::string_view kInputPath = "input path";

/// A file or a folder that a configuration names and that is read.
struct NamedInput {
  std::string place;  ///< "run.yaml:4:33", or the override
  std::string key;
  std::string path;
};

/// Of the keys that a configuration gives.
struct GivenKeys {
  std::map<std::string, std::string> places;  ///< of each: "run.yaml:4:33", or the override
  std::vector<NamedInput> inputs;             ///< what keys of kInputPath name
};

/// Reads a YAML file into the struct behind `fields`, strictly: unknown and duplicate keys, wrong
/// types, unknown values, broken constraints and failed checks are all collected in `diagnostics`,
/// structural errors first; semantic checks run only on a file that is structurally right.
/// What it returns is empty if there are errors.
/// Throws Error(kConfig) if the file can't be read or is not one YAML document.
GivenKeys read_config(const std::string& path, Fields& fields, const ReadOptions& options,
                      Diagnostics& diagnostics);

/// The same for text that is already here; `name` stands for the file in messages.
GivenKeys read_config_text(const std::string& text, const std::string& name, Fields& fields,
                           const ReadOptions& options, Diagnostics& diagnostics);

/// The section as YAML text, every key with the value it has now, but for keys that a file like
/// this one may not give: what is written can be read again, to the same values.
std::string write_config(const Fields& fields);

/// Markdown rows of a reference page: key, type, default, unit and meaning of every key below
/// `fields`, nested sections with dotted keys.
std::string reference_table(const Fields& fields);

}  // namespace wattle
