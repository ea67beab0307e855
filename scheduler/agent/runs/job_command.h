#pragma once

#include <string>
#include <vector>

#include "scheduler/agent/files/job_files.h"

namespace wattle::agent {

/// Names of what the agent and its helper programs tell each other by the environment.
inline constexpr char kRunVariable[] = "WATTLE_RUN";         ///< the run's folder of the agent
inline constexpr char kFolderVariable[] = "WATTLE_JOB_DIR";  ///< working directory of a rank
inline constexpr char kCpusVariable[] = "WATTLE_RANK_CPUS";  ///< "0,1;2,3": by local rank
inline constexpr char kGpusVariable[] = "WATTLE_RANK_GPUS";  ///< "GPU-6f2a;GPU-71c0"
inline constexpr char kSettingsVariable[] = "WATTLE_RANK_SETTINGS";  ///< "key=value;key=value"
inline constexpr char kDoorVariable[] = "WATTLE_REMOTE_DOOR";  ///< socket, relative to the folder

/// What mpirun calls the nodes of a run: 0, the one it runs on, is "localhost"; the others' names
/// need not be host names, which mpirun wants, and it shall look none up.
std::string alias_of(int host);
/// The number behind an alias of another node; -1 if it is none.
int host_of(const std::string& alias);

/// The socket by which mpirun's helper asks for daemons on other nodes, in the job's folder.
std::string door_name(const v1::Launch& launch);

/// What runs on the run's first node: mpirun with all ranks, over all its hosts.
std::vector<std::string> job_command(const Settings& settings, const v1::Launch& launch,
                                     const JobFiles& files);

/// The environment of everything that belongs to the run on this node. It is built anew: nothing of
/// the agent's own but the search paths and settings of OpenMPI (OMPI_MCA_*) passes into a run.
std::map<std::string, std::string> job_environment(const Settings& settings,
                                                   const v1::Launch& launch, const JobFiles& files,
                                                   const std::string& run_folder,
                                                   const std::vector<NodeDevice>& devices);

/// Where OpenMPI keeps a run's session files, on the node's own disk; removed at its end.
std::string session_folder(const Settings& settings, const v1::Launch& launch);

/// Becomes a rank (`wattle-agent rank PROGRAM ...`): takes its own processors and GPU by its local
/// number, enters the job's folder and runs the program, `--set` to what it has to know of its
/// node. Returns an exit code if it can't.
int become_rank(const std::vector<std::string>& program);

}  // namespace wattle::agent
