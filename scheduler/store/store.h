#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scheduler/store/energy_accounts.h"
#include "scheduler/store/journal.h"

namespace wattle::scheduler {

/// A file by its content, and where it goes in a job's directory.
struct StoredFile {
  std::string path;
  std::string sha256;
  int64_t size_bytes = 0;
};

/// Of several files.
struct FileSum {
  int64_t files = 0, bytes = 0;
};

/// What a user handed in, apart from what the core knows.
struct Submission {
  std::string request;  ///< unique in the cluster: TENANT/ID
  std::string user;
  std::string yaml;
  std::vector<std::string> overrides;
  std::vector<StoredFile> inputs;
  std::string digest{};  ///< of all that was handed in; "" = not known
};

/// Who asked for what, and what became of it.
struct AuditRecord {
  double time_seconds = 0;
  std::string who;
  std::string what;
  std::string outcome;
};

/// Where the newest checkpoint of a job's newest run is kept. A run that was lost may report its
/// own long after its successor has begun: it takes nothing's place that a later run has stored.
struct CheckpointFiles {
  int64_t job = 0;
  int64_t token = 0;  ///< the run's: later runs of a job have greater ones
  std::vector<StoredFile> files;
  double reported_seconds = 0;  ///< by the clock of the files' times
};

/// A content that was part of a checkpoint that is not the newest any more.
struct DroppedFile {
  std::string sha256;
  double reported_seconds = 0;  ///< whoever wanted it afterwards wants it for something else
};

/// Files that a job names, which has been handed in: of the tenant that has sent them.
struct NamedFiles {
  std::string tenant;
  std::vector<StoredFile> files;
};

/// All that becomes durable in one transaction.
struct StoreBatch {
  std::vector<JournalRecord> records;
  std::vector<Submission> submissions;
  std::vector<EnergyTotal> energy;  ///< booked in this order
  std::vector<AuditRecord> audit;
  std::vector<CheckpointFiles> checkpoints;
  std::vector<NodeEnergyTotal> node_energy{};
  std::vector<NamedFiles> named{};
  bool empty() const;
};

/// What the daemon must not forget, in `state_dir`/wattle.db (docs/CLUSTER.md lists the tables).
///
/// One thread at a time. Throws Error(kIo) as Database does; a batch is durable as a whole or not
/// at all.
class Store {
 public:
  /// Makes the database, or brings an older one to this version. Throws Error(kFormat) for one that
  /// a newer version has written.
  explicit Store(const std::string& path);
  /// Opens a database as it is, to look at it. Throws Error(kFormat) if it is of another version,
  /// Error(kConfig) if there is none.
  static std::unique_ptr<Database> open_existing(const std::string& path);

  void commit(const StoreBatch& batch);

  /// Records become durable with their batch.
  Journal& journal() { return journal_; }
  EnergyAccounts& accounts() { return accounts_; }
  std::optional<Submission> submission(const std::string& request);
  /// "" for a request that is not there.
  std::string user_of(const std::string& request);
  std::vector<StoredFile> checkpoint_of(int64_t job);
  /// The jobs that have one.
  std::vector<int64_t> checkpointed_jobs();
  void drop_checkpoint(int64_t job);
  /// The contents of all newest checkpoints.
  std::set<std::string> checkpoint_contents();
  /// What newer checkpoints, or drop_checkpoint(), have made useless.
  std::vector<DroppedFile> dropped_files();
  void forget_dropped(const std::vector<DroppedFile>& files);
  std::vector<std::string> requests();
  void forget_submission(const std::string& request);
  /// A remembered text; "" if there is none.
  std::string setting(const std::string& key);
  void set_setting(const std::string& key, const std::string& value);

  /// A tenant has uploaded this content, and may name it as an input. It waits for a job that does,
  /// and is owned from then on; versions before 10 owned it at once.
  void keep_upload(const std::string& tenant, const StoredFile& file);
  /// Of what waits so, but for one content.
  FileSum waiting(const std::string& tenant, const std::string& but_for);
  bool has_sent(const std::string& tenant, const std::string& sha256);
  /// Whether any tenant owns it.
  bool is_owned(const std::string& sha256);
  bool is_waiting(const std::string& sha256);
  /// What is owned, or waits.
  std::vector<std::string> owned_files();
  /// Nobody owns it, or waits for it, any more.
  void disown_file(const std::string& sha256);

 private:
  void migrate();
  void keep_checkpoint(const CheckpointFiles& checkpoint);
  void own(const NamedFiles& named);
  void note_dropped(const CheckpointFiles& checkpoint);

  Database database_;
  Journal journal_{database_};
  EnergyAccounts accounts_{database_};
};

}  // namespace wattle::scheduler
