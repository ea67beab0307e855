#pragma once

#include <string>
#include <vector>

#include "scheduler/digest/sha256.h"
#include "scheduler/store/journal.h"

namespace wattle::scheduler {

/// Keeps a state whose text is these pieces. Gives its id.
inline int64_t keep_state(Journal& journal, const SnapshotHead& head,
                          const std::vector<std::string>& pieces) {
  const int64_t id = journal.begin(head);
  std::string text;
  int64_t number = 0;
  for (const std::string& piece : pieces) {
    journal.add(id, ++number, piece);
    text += piece;
  }
  journal.finish(id, static_cast<int64_t>(text.size()), sha256_of(text));
  return id;
}

}  // namespace wattle::scheduler
