#include "scheduler/core/plan/device_pool.h"

#include <algorithm>
#include <functional>

namespace wattle::scheduler {

void DevicePool::set_free(TypePool& pool, NodeId node, size_t before, size_t after) {
  if (pool.nodes_by_free.size() <= std::max(before, after)) {
    pool.nodes_by_free.resize(std::max(before, after) + 1);
  }
  if (before > 0) pool.nodes_by_free[before].erase(node);
  if (after > 0) pool.nodes_by_free[after].insert(node);
  pool.free += static_cast<int>(after) - static_cast<int>(before);
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

std::vector<NodeShare> DevicePool::take(int type, int count) {
  std::vector<NodeShare> shares;
  if (count <= 0 || free(type) < count) return shares;
  TypePool& pool = types_[type];
  size_t left = static_cast<size_t>(count);
  while (left > 0) {
    size_t free = left;
    while (free < pool.nodes_by_free.size() && pool.nodes_by_free[free].empty()) ++free;
    if (free >= pool.nodes_by_free.size()) {
      free = pool.nodes_by_free.size() - 1;
      while (pool.nodes_by_free[free].empty()) --free;
    }
    shares.push_back(take_from(pool, *pool.nodes_by_free[free].begin(), std::min(left, free)));
    left -= shares.back().devices.size();
  }
  return shares;
}

}  // namespace wattle::scheduler
