#include "scheduler/core/plan/device_pool.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace wattle::scheduler {

namespace {

using NodesByFree = std::vector<std::set<NodeId>>;

void move(NodesByFree& nodes, NodeId node, size_t before, size_t after) {
  if (nodes.size() <= std::max(before, after)) nodes.resize(std::max(before, after) + 1);
  if (before > 0) nodes[before].erase(node);
  if (after > 0) nodes[after].insert(node);
}

/// The node with the fewest free devices that has `count` of them; none if no node has.
std::optional<NodeId> tightest(const NodesByFree& nodes, size_t count) {
  for (size_t free = count; free < nodes.size(); ++free) {
    if (!nodes[free].empty()) return *nodes[free].begin();
  }
  return std::nullopt;
}

/// The node with the most free devices; there is one.
NodeId roomiest(const NodesByFree& nodes) {
  size_t free = nodes.size() - 1;
  while (nodes[free].empty()) --free;
  return *nodes[free].begin();
}

}  // namespace

void DevicePool::set_shared(NodeId node, bool is_shared) {
  is_shared ? void(shared_.insert(node)) : void(shared_.erase(node));
}

void DevicePool::set_free(TypePool& pool, NodeId node, size_t before, size_t after) {
  const int change = static_cast<int>(after) - static_cast<int>(before);
  move(pool.nodes_by_free, node, before, after);
  pool.free += change;
  if (!is_shared(node)) return;
  move(pool.shared_by_free, node, before, after);
  pool.shared_free += change;
}

void DevicePool::add(NodeId node, int type, DeviceId device) {
  if (types_.size() <= static_cast<size_t>(type)) types_.resize(type + 1);
  TypePool& pool = types_[type];
  if (pool.devices_of_node.size() <= static_cast<size_t>(node))
    pool.devices_of_node.resize(node + 1);
  auto& devices = pool.devices_of_node[node];
  devices.insert(std::upper_bound(devices.begin(), devices.end(), device, std::greater<>()),
                 device);
  set_free(pool, node, devices.size() - 1, devices.size());
}

bool DevicePool::remove(NodeId node, int type, DeviceId device) {
  if (types_.size() <= static_cast<size_t>(type)) return false;
  TypePool& pool = types_[type];
  if (pool.devices_of_node.size() <= static_cast<size_t>(node)) return false;
  if (std::erase(pool.devices_of_node[node], device) == 0) return false;
  const size_t left = pool.devices_of_node[node].size();
  set_free(pool, node, left + 1, left);
  return true;
}

int DevicePool::free(int type) const {
  return static_cast<size_t>(type) < types_.size() ? types_[type].free : 0;
}

NodeShare DevicePool::take_from(TypePool& pool, NodeId node, size_t count) {
  auto& devices = pool.devices_of_node[node];
  const size_t before = devices.size();
  NodeShare share{node, {}};
  for (size_t i = 0; i < count; ++i) {
    share.devices.push_back(devices.back());
    devices.pop_back();
  }
  set_free(pool, node, before, devices.size());
  return share;
}

bool DevicePool::fits(int type, int count, const std::vector<NodeShare>& freed) const {
  static const TypePool kNone;
  const TypePool& pool = static_cast<size_t>(type) < types_.size() ? types_[type] : kNone;
  int shared = pool.shared_free;
  for (const NodeShare& share : freed) {
    const auto node = static_cast<size_t>(share.node);
    const size_t own = node < pool.devices_of_node.size() ? pool.devices_of_node[node].size() : 0;
    if (static_cast<int>(own + share.devices.size()) >= count) return true;
    if (is_shared(share.node)) shared += static_cast<int>(share.devices.size());
  }
  return shared >= count || tightest(pool.nodes_by_free, static_cast<size_t>(count)).has_value();
}

std::vector<NodeShare> DevicePool::take(int type, int count) {
  if (count <= 0 || !fits(type, count)) return {};
  TypePool& pool = types_[type];
  const auto wanted = static_cast<size_t>(count);
  if (const auto node = tightest(pool.nodes_by_free, wanted)) {
    return {take_from(pool, *node, wanted)};
  }
  std::vector<NodeShare> shares;
  for (size_t left = wanted; left > 0; left -= shares.back().devices.size()) {
    const NodeId node = tightest(pool.shared_by_free, left).value_or(roomiest(pool.shared_by_free));
    const size_t free = pool.devices_of_node[static_cast<size_t>(node)].size();
    shares.push_back(take_from(pool, node, std::min(left, free)));
  }
  return shares;
}

}  // namespace wattle::scheduler
