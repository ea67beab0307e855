#pragma once

#include <string>

#include "scheduler/core/journal/decision.h"
#include "scheduler/core/journal/event.h"

namespace wattle::scheduler {

/// Events and decisions as JSON, one object a line without the line's end, keys in a fixed order,
/// numbers in the shortest form that reads back the same: equal values give equal bytes.
///   {"time_seconds":1764000000.25,"event":"cancel","job":7}
///   {"decision":"stop","job":7,"nodes":["a"],"reason":"Cancelled","token":12,"why":"…"}
std::string to_line(const Event& event);
std::string to_line(const Decision& decision);

/// Throws Error(kFormat) that names the field that is missing, unknown or of the wrong type.
Event event_from_line(const std::string& line);
Decision decision_from_line(const std::string& line);

}  // namespace wattle::scheduler
