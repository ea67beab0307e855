#pragma once

namespace CLI {
class App;
}

namespace wattle {

/// Adds `wattle certs init | issue daemon | issue node NAME | issue user NAME | show`: a site's own
/// certificate authority, and what it issues. Every file is readable by its owner alone; none is
/// overwritten. Parsing throws what certs/authority.h throws.
void add_certs_command(CLI::App& wattle);

}  // namespace wattle
