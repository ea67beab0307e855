#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "scheduler/core/engine/state.h"

namespace wattle::scheduler {

/// The core's whole state as text: a line with the format's number, then one for each field of
/// State, its name and its value as JSON. Equal states give equal bytes, and a state that was read
/// back decides from there on as the one that was written: to the last byte.
std::string to_text(const State& state);

/// The same, given out in pieces of so many bytes (the last may be shorter) as it is written: no
/// more of it is held than a piece and an element of a list.
void write_pieces(const State& state, size_t piece_bytes,
                  const std::function<void(std::string_view)>& take);

/// Reads what to_text() wrote, in this version of the program or an older one: fields that did not
/// exist then have their defaults. Throws Error(kFormat) naming the field, or the number of a
/// format that this program does not read.
std::unique_ptr<State> state_from_text(std::string_view text);

/// A hash over the sources that decide. Where it is the same, the same events give the same
/// decisions.
std::string core_fingerprint();

}  // namespace wattle::scheduler
