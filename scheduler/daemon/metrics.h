#pragma once

#include <string>

namespace wattle::scheduler {

class Daemon;

/// The daemon's figures in Prometheus' text format (exposition format 0.0.4), base units in the
/// names.
std::string prometheus_text(Daemon& daemon);

}  // namespace wattle::scheduler
