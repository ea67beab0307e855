#pragma once

#include <set>
#include <vector>

#include "scheduler/core/domain/node.h"

namespace wattle::scheduler {

/// The free devices that may be given out, by type. Placement packs: a gang goes onto the node with
/// the fewest free devices that holds all of it; one that no node holds goes onto as few as
/// possible of the nodes that share a folder of jobs, and onto no others. Equal nodes are taken in
/// order of their number, so that placement is deterministic.
class DevicePool {
 public:
  void add(NodeId node, int type, DeviceId device);
  /// Takes a free device out (a drained or lost node). False if it was not free.
  bool remove(NodeId node, int type, DeviceId device);

  /// Whether a node shares the folder of jobs with others; false unless said. Before its devices
  /// are added.
  void set_shared(NodeId node, bool is_shared);

  int free(int type) const;

  /// Whether a gang of `count` devices finds its place, were these free as well.
  bool fits(int type, int count, const std::vector<NodeShare>& freed = {}) const;

  /// Takes `count` devices of a type, grouped by node; empty if they don't fit.
  std::vector<NodeShare> take(int type, int count);

 private:
  struct TypePool {
    std::vector<std::set<NodeId>> nodes_by_free;         ///< [n] = nodes with n free devices
    std::vector<std::set<NodeId>> shared_by_free;        ///< those of them that share a folder
    std::vector<std::vector<DeviceId>> devices_of_node;  ///< free ones, highest number first
    int free = 0, shared_free = 0;
  };

  bool is_shared(NodeId node) const { return shared_.contains(node); }
  void set_free(TypePool& pool, NodeId node, size_t before, size_t after);
  NodeShare take_from(TypePool& pool, NodeId node, size_t count);

  std::vector<TypePool> types_;
  std::set<NodeId> shared_;
};

}  // namespace wattle::scheduler
