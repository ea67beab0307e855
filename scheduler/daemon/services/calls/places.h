#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace wattle::scheduler {

/// So many at the same time for each caller. Members may be called from any thread.
class Places {
 public:
  explicit Places(int most) : most_(most) {}
  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;

  /// Taken as long as it lives; `Places` must outlive it.
  class Place {
   public:
    Place(Place&&) = default;
    ~Place() {
      if (places_) places_->leave(who_);
    }

   private:
    friend Places;
    struct Nothing {
      void operator()(Places*) const {}
    };
    Place(Places& places, std::string who) : places_(&places), who_(std::move(who)) {}
    std::unique_ptr<Places, Nothing> places_;
    std::string who_;
  };

  int most() const { return most_; }
  /// Nothing if all of the caller's are taken.
  std::optional<Place> take(const std::string& who) {
    const std::lock_guard lock(mutex_);
    if (taken_[who] >= most_) return std::nullopt;
    ++taken_[who];
    return Place(*this, who);
  }

 private:
  void leave(const std::string& who) {
    const std::lock_guard lock(mutex_);
    if (--taken_[who] == 0) taken_.erase(who);
  }

  int most_;
  std::mutex mutex_;
  std::map<std::string, int> taken_;
};

}  // namespace wattle::scheduler
