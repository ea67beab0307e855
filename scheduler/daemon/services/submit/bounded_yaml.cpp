#include "scheduler/daemon/services/submit/bounded_yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <vector>

#include "scheduler/daemon/services/calls/caller.h"

namespace wattle::scheduler {
namespace {

constexpr int kMostDepth = 32;
constexpr int64_t kMostNodes = 100'000;
constexpr int64_t kMostBytes = 4 << 20;

[[noreturn]] void refuse_depth(const std::string& what) {
  throw Refusal(RefusalCode::kInvalid,
                fmt::format("{} is nested deeper than {}", what, kMostDepth));
}

[[noreturn]] void refuse_size(const std::string& what, const char* unit, int64_t most) {
  throw Refusal(RefusalCode::kInvalid,
                fmt::format("{} has too many {}: {} are taken with each request, aliases "
                            "counted each time",
                            what, unit, most));
}

/// Counts what a text would become, as it is parsed; nothing is built.
class Measure : public YAML::EventHandler {
 public:
  /// Takes from what is left what it finds.
  Measure(const std::string& what, int64_t& left_nodes, int64_t& left_bytes)
      : what_(what), left_nodes_(left_nodes), left_bytes_(left_bytes) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t anchor) override { end(anchor, begin()); }
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t anchor,
                const std::string& value) override {
    end(anchor, begin(static_cast<int64_t>(value.size())));
  }
  void OnAlias(const YAML::Mark&, YAML::anchor_t anchor) override {
    const auto found = sizes_.find(anchor);
    if (found == sizes_.end()) refuse_depth(what_);  // it stands for what it is in
    require_room(found->second);
    end(YAML::NullAnchor, found->second);
  }
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open_.emplace_back(anchor, begin());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open_.emplace_back(anchor, begin());
  }
  void OnMapEnd() override { close(); }

 private:
  struct Size {
    int64_t nodes = 1;
    int64_t bytes = 0;  // of its scalars
    int levels = 0;     // below it
  };

  void require_room(const Size& size) {
    if (static_cast<int>(open_.size()) + size.levels > kMostDepth) refuse_depth(what_);
    left_nodes_ -= size.nodes;
    if (left_nodes_ < 0) refuse_size(what_, "nodes", kMostNodes);
    left_bytes_ -= size.bytes;
    if (left_bytes_ < 0) refuse_size(what_, "bytes", kMostBytes);
  }
  Size begin(int64_t bytes = 0) {
    const Size size{1, bytes};
    require_room(size);
    return size;
  }
  void end(YAML::anchor_t anchor, const Size& size) {
    if (anchor != YAML::NullAnchor) sizes_[anchor] = size;
    if (open_.empty()) return;
    Size& parent = open_.back().second;
    parent.nodes += size.nodes;
    parent.bytes += size.bytes;
    parent.levels = std::max(parent.levels, size.levels + 1);
  }
  void close() {
    const auto [anchor, size] = open_.back();
    open_.pop_back();
    end(anchor, size);
  }

  const std::string& what_;
  int64_t& left_nodes_;
  int64_t& left_bytes_;
  std::vector<std::pair<YAML::anchor_t, Size>> open_;
  std::map<YAML::anchor_t, Size> sizes_;
};

/// The parser keeps brackets that are not closed before it says anything of them.
void require_few_brackets(const std::string& text, const std::string& what) {
  const auto is_bracket = [](char c) { return c == '[' || c == '{'; };
  if (std::count_if(text.begin(), text.end(), is_bracket) > kMostNodes) {
    refuse_size(what, "nodes", kMostNodes);
  }
}

}  // namespace

BoundedYaml::BoundedYaml() : left_nodes_(kMostNodes), left_bytes_(kMostBytes) {}

YAML::Node BoundedYaml::parse(const std::string& text, const std::string& what) {
  require_few_brackets(text, what);
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  Measure measure(what, left_nodes_, left_bytes_);
  while (parser.HandleNextDocument(measure)) {  // it ends at 500 levels by itself
  }
  return YAML::Load(text);
}

}  // namespace wattle::scheduler
