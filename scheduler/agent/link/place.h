#pragma once

#include <string>

namespace wattle::agent {

/// Tells a work_dir from every other one, as long as the machine runs: a random id that is kept in
/// it, and where that file lies on the disk, so that a copy of the folder is another one. Made if
/// it is not there. Throws Error(kIo).
std::string work_dir_id(const std::string& work_dir);

}  // namespace wattle::agent
