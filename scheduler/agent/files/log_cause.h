#pragma once

#include <string>

namespace wattle::agent {

/// What a run has printed last about why it ended, in one line without control characters; "" if
/// that is nothing. `text` is the end of its log. Of a command that could not begin (exit code 2:
/// its configuration is wrong; 126, 127: it can't be run) it is the last line; of another the last
/// one that Wattle has marked as its own, else what mpirun tells of it in its banners: that a rank
/// was ended by a signal, say. What users may print between is no cause.
std::string cause_in_log(const std::string& text, int exit_code);

/// The same, of the log in this file, as far as its end matters.
std::string cause_in_log_file(const std::string& path, int exit_code);

}  // namespace wattle::agent
