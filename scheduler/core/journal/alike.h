#pragma once

#include <string_view>

namespace wattle::scheduler {

/// How far a number may be from another that is the same but for rounding: relative, and absolute
/// where both are below 1. The mathematical library rounds the last digits of pow, exp2 and cbrt
/// as the processor lets it; a thousand operations on them stay far below this.
inline constexpr double kRounding = 1e-9;

/// Whether decisions, as lines of to_line(), are the same but for what rounding does to numbers
/// with a fraction: as many, in the same order, with the same names, counts and texts. A number in
/// a text is text: it has few digits, which rounding of the last ones leaves as they are. False as
/// well where a line is no decision of this version.
bool alike_but_for_rounding(std::string_view a, std::string_view b);

}  // namespace wattle::scheduler
