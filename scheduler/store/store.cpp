#include "scheduler/store/store.h"

#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/error.h"

namespace wattle::scheduler {
namespace {

/// Each brings a database of the version before to its own, counted from 1.
constexpr std::array kMigrations = {
    R"sql(
      CREATE TABLE journal(number INTEGER PRIMARY KEY, event TEXT NOT NULL, decisions TEXT NOT NULL);
      CREATE TABLE submission(request TEXT PRIMARY KEY, user TEXT NOT NULL, yaml TEXT NOT NULL,
        overrides TEXT NOT NULL, inputs TEXT NOT NULL);
      CREATE TABLE run_energy(token INTEGER, node TEXT, source TEXT, joules REAL NOT NULL,
        tokens REAL NOT NULL, PRIMARY KEY(token, node, source));
      CREATE TABLE energy(day TEXT, job INTEGER, source TEXT, tenant TEXT NOT NULL,
        joules REAL NOT NULL, tokens REAL NOT NULL, PRIMARY KEY(day, job, source));
      CREATE INDEX energy_by_job ON energy(job);
      CREATE TABLE checkpoint(job INTEGER PRIMARY KEY, files TEXT NOT NULL);
      CREATE TABLE file_owner(tenant TEXT, sha256 TEXT, PRIMARY KEY(tenant, sha256));
      CREATE TABLE setting(key TEXT PRIMARY KEY, value TEXT NOT NULL);
      CREATE TABLE audit(number INTEGER PRIMARY KEY, time_seconds REAL NOT NULL, who TEXT NOT NULL,
        what TEXT NOT NULL, outcome TEXT NOT NULL);
    )sql",
    R"sql(
      CREATE TABLE snapshot(id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL,
        time_seconds REAL NOT NULL, program TEXT NOT NULL, reason TEXT NOT NULL,
        sha256 TEXT NOT NULL, state TEXT NOT NULL);
    )sql",
    R"sql(
      ALTER TABLE checkpoint ADD COLUMN reported_seconds REAL NOT NULL DEFAULT 0;
      CREATE TABLE dropped_file(sha256 TEXT, reported_seconds REAL,
        PRIMARY KEY(sha256, reported_seconds));
      CREATE INDEX file_owner_by_content ON file_owner(sha256);
      CREATE TABLE energy_total(tenant TEXT, source TEXT, joules REAL NOT NULL,
        PRIMARY KEY(tenant, source));
      INSERT INTO energy_total SELECT tenant, source, SUM(joules) FROM energy GROUP BY 1, 2;
    )sql",
    R"sql(
      ALTER TABLE submission ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    )sql",
    R"sql(
      CREATE TABLE node_energy(node TEXT, source TEXT, joules REAL NOT NULL,
        agent_began REAL NOT NULL, agent_joules REAL NOT NULL, PRIMARY KEY(node, source));
    )sql",
    R"sql(
      ALTER TABLE checkpoint ADD COLUMN token INTEGER NOT NULL DEFAULT 0;
    )sql",
    // In the order in which reports are read: a tenant's rows lie together.
    R"sql(
      CREATE TABLE energy_by_tenant(tenant TEXT, day TEXT, job INTEGER, source TEXT,
        joules REAL NOT NULL, tokens REAL NOT NULL, PRIMARY KEY(tenant, day, job, source))
        WITHOUT ROWID;
      INSERT INTO energy_by_tenant SELECT tenant, day, job, source, joules, tokens FROM energy;
      DROP TABLE energy;
      ALTER TABLE energy_by_tenant RENAME TO energy;
      CREATE INDEX energy_by_job ON energy(job);
    )sql",
    R"sql(
      CREATE TABLE estimate(token INTEGER, node TEXT, job INTEGER NOT NULL, tenant TEXT NOT NULL,
        day TEXT NOT NULL, joules REAL NOT NULL, PRIMARY KEY(token, node)) WITHOUT ROWID;
      CREATE INDEX estimate_by_job ON estimate(job);
    )sql",
    // SQLite takes no row of more than 1,000,000,000 bytes. Older snapshots have their `state`.
    R"sql(
      ALTER TABLE snapshot ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
      CREATE TABLE snapshot_piece(snapshot INTEGER REFERENCES snapshot(id) ON DELETE CASCADE,
        piece INTEGER, text BLOB NOT NULL, PRIMARY KEY(snapshot, piece));
    )sql",
    R"sql(
      CREATE TABLE upload(tenant TEXT, sha256 TEXT, bytes INTEGER NOT NULL,
        PRIMARY KEY(tenant, sha256)) WITHOUT ROWID;
      CREATE INDEX upload_by_content ON upload(sha256);
    )sql",
};

constexpr auto kNewest = static_cast<int64_t>(kMigrations.size());

int64_t version_of(Database& database) {
  Statement read(database, "PRAGMA user_version");
  const int64_t version = read.step() ? read.integer(0) : 0;
  while (read.step()) {
  }
  return version;
}

std::string files_to_text(const std::vector<StoredFile>& files) {
  nlohmann::json list = nlohmann::json::array();
  for (const StoredFile& file : files) {
    list.push_back({{"path", file.path}, {"sha256", file.sha256}, {"size", file.size_bytes}});
  }
  return list.dump();
}

std::vector<StoredFile> files_from_text(const std::string& text) {
  std::vector<StoredFile> files;
  for (const auto& file : nlohmann::json::parse(text)) {
    files.push_back({file.at("path"), file.at("sha256"), file.at("size")});
  }
  return files;
}

/// A request whose jobs are forgotten may come again before its row is removed.
void insert_submissions(Database& database, const std::vector<Submission>& submissions) {
  Statement insert(database, "INSERT OR REPLACE INTO submission VALUES(?, ?, ?, ?, ?, ?)");
  for (const Submission& s : submissions) {
    insert.bind(1, s.request).bind(2, s.user).bind(3, s.yaml);
    insert.bind(4, nlohmann::json(s.overrides).dump()).bind(5, files_to_text(s.inputs));
    insert.bind(6, s.digest).run();
  }
}

void insert_audit(Database& database, const std::vector<AuditRecord>& audit) {
  Statement insert(database,
                   "INSERT INTO audit(time_seconds, who, what, outcome) VALUES(?, ?, ?, ?)");
  for (const AuditRecord& record : audit) {
    insert.bind(1, record.time_seconds).bind(2, record.who).bind(3, record.what);
    insert.bind(4, record.outcome).run();
  }
}

}  // namespace

bool StoreBatch::empty() const {
  return records.empty() && submissions.empty() && energy.empty() && audit.empty() &&
         checkpoints.empty() && node_energy.empty() && named.empty();
}

Store::Store(const std::string& path) : database_(path) { migrate(); }

std::unique_ptr<Database> Store::open_existing(const std::string& path) {
  if (!std::filesystem::exists(path)) {
    throw Error(ErrorCode::kConfig, fmt::format("{}: there is no such database", path));
  }
  auto database = std::make_unique<Database>(path);
  const int64_t version = version_of(*database);
  if (version != kNewest) {
    throw Error(ErrorCode::kFormat,
                fmt::format("{}: the database has version {}, this program looks at {}: use the "
                            "wattled that writes it",
                            path, version, kNewest));
  }
  return database;
}

void Store::migrate() {
  int64_t version = version_of(database_);
  if (version > kNewest) {
    throw Error(ErrorCode::kFormat,
                fmt::format("the daemon's database has version {}, this program knows {}: "
                            "start the newer wattled",
                            version, kNewest));
  }
  for (; version < kNewest; ++version) {
    Transaction transaction(database_);
    database_.execute(kMigrations[static_cast<size_t>(version)]);
    database_.execute(fmt::format("PRAGMA user_version = {}", version + 1));
    transaction.commit();
  }
}

void Store::commit(const StoreBatch& batch) {
  Transaction transaction(database_);
  journal_.append(batch.records);
  insert_submissions(database_, batch.submissions);
  for (const EnergyTotal& total : batch.energy) accounts_.add(total);
  for (const NodeEnergyTotal& total : batch.node_energy) accounts_.add(total);
  insert_audit(database_, batch.audit);
  for (const CheckpointFiles& checkpoint : batch.checkpoints) keep_checkpoint(checkpoint);
  for (const NamedFiles& named : batch.named) own(named);
  transaction.commit();
}

std::optional<Submission> Store::submission(const std::string& request) {
  Statement read(database_,
                 "SELECT user, yaml, overrides, inputs, digest FROM submission WHERE request = ?");
  read.bind(1, request);
  if (!read.step()) return std::nullopt;
  Submission found{request,     read.text(0), read.text(1), {}, files_from_text(read.text(3)),
                   read.text(4)};
  nlohmann::json::parse(read.text(2)).get_to(found.overrides);
  return found;
}

std::string Store::user_of(const std::string& request) {
  Statement read(database_, "SELECT user FROM submission WHERE request = ?");
  return read.bind(1, request).step() ? read.text(0) : "";
}

std::vector<StoredFile> Store::checkpoint_of(int64_t job) {
  Statement read(database_, "SELECT files FROM checkpoint WHERE job = ?");
  read.bind(1, job);
  return read.step() ? files_from_text(read.text(0)) : std::vector<StoredFile>{};
}

void Store::keep_checkpoint(const CheckpointFiles& checkpoint) {
  {
    Statement later(database_, "SELECT 1 FROM checkpoint WHERE job = ? AND token > ?");
    if (later.bind(1, checkpoint.job).bind(2, checkpoint.token).step()) {
      return note_dropped(checkpoint);
    }
  }
  drop_checkpoint(checkpoint.job);
  Statement keep(database_,
                 "INSERT INTO checkpoint(job, files, reported_seconds, token) VALUES(?, ?, ?, ?)");
  keep.bind(1, checkpoint.job).bind(2, files_to_text(checkpoint.files));
  keep.bind(3, checkpoint.reported_seconds).bind(4, checkpoint.token).run();
}

void Store::note_dropped(const CheckpointFiles& checkpoint) {
  Statement drop(database_, "INSERT OR IGNORE INTO dropped_file VALUES(?, ?)");
  for (const StoredFile& file : checkpoint.files) {
    drop.bind(1, file.sha256).bind(2, checkpoint.reported_seconds).run();
  }
}

void Store::drop_checkpoint(int64_t job) {
  Statement drop(database_,
                 "INSERT OR IGNORE INTO dropped_file SELECT value ->> 'sha256', "
                 "reported_seconds FROM checkpoint, json_each(files) WHERE job = ?");
  drop.bind(1, job).run();
  Statement(database_, "DELETE FROM checkpoint WHERE job = ?").bind(1, job).run();
}

std::vector<int64_t> Store::checkpointed_jobs() {
  Statement read(database_, "SELECT job FROM checkpoint");
  std::vector<int64_t> jobs;
  while (read.step()) jobs.push_back(read.integer(0));
  return jobs;
}

std::set<std::string> Store::checkpoint_contents() {
  Statement read(database_, "SELECT value ->> 'sha256' FROM checkpoint, json_each(files)");
  std::set<std::string> contents;
  while (read.step()) contents.insert(read.text(0));
  return contents;
}

std::vector<DroppedFile> Store::dropped_files() {
  Statement read(database_, "SELECT sha256, reported_seconds FROM dropped_file");
  std::vector<DroppedFile> files;
  while (read.step()) files.push_back({read.text(0), read.number(1)});
  return files;
}

void Store::forget_dropped(const std::vector<DroppedFile>& files) {
  Transaction transaction(database_);
  Statement forget(database_, "DELETE FROM dropped_file WHERE sha256 = ? AND reported_seconds = ?");
  for (const DroppedFile& file : files) {
    forget.bind(1, file.sha256).bind(2, file.reported_seconds).run();
  }
  transaction.commit();
}

std::vector<std::string> Store::requests() {
  Statement read(database_, "SELECT request FROM submission");
  std::vector<std::string> requests;
  while (read.step()) requests.push_back(read.text(0));
  return requests;
}

void Store::forget_submission(const std::string& request) {
  Statement(database_, "DELETE FROM submission WHERE request = ?").bind(1, request).run();
}

std::string Store::setting(const std::string& key) {
  Statement read(database_, "SELECT value FROM setting WHERE key = ?");
  return read.bind(1, key).step() ? read.text(0) : "";
}

void Store::set_setting(const std::string& key, const std::string& value) {
  Statement(database_, "INSERT OR REPLACE INTO setting VALUES(?, ?)")
      .bind(1, key)
      .bind(2, value)
      .run();
}

void Store::keep_upload(const std::string& tenant, const StoredFile& file) {
  Statement keep(database_,
                 "INSERT OR IGNORE INTO upload SELECT ?1, ?2, ?3 WHERE NOT EXISTS(SELECT 1 FROM "
                 "file_owner WHERE tenant = ?1 AND sha256 = ?2)");
  keep.bind(1, tenant).bind(2, file.sha256).bind(3, file.size_bytes).run();
}

FileSum Store::waiting(const std::string& tenant, const std::string& but_for) {
  Statement read(database_,
                 "SELECT count(*), sum(bytes) FROM upload WHERE tenant = ? AND sha256 <> ?");
  read.bind(1, tenant).bind(2, but_for).step();
  return {read.integer(0), read.integer(1)};
}

void Store::own(const NamedFiles& named) {
  Statement own(database_, "INSERT OR IGNORE INTO file_owner VALUES(?, ?)");
  Statement waits_no_more(database_, "DELETE FROM upload WHERE tenant = ? AND sha256 = ?");
  for (const StoredFile& file : named.files) {
    own.bind(1, named.tenant).bind(2, file.sha256).run();
    waits_no_more.bind(1, named.tenant).bind(2, file.sha256).run();
  }
}

bool Store::has_sent(const std::string& tenant, const std::string& sha256) {
  Statement read(database_,
                 "SELECT 1 FROM file_owner WHERE tenant = ?1 AND sha256 = ?2 UNION ALL SELECT 1 "
                 "FROM upload WHERE tenant = ?1 AND sha256 = ?2");
  return read.bind(1, tenant).bind(2, sha256).step();
}

bool Store::is_owned(const std::string& sha256) {
  Statement read(database_, "SELECT 1 FROM file_owner WHERE sha256 = ?");
  return read.bind(1, sha256).step();
}

bool Store::is_waiting(const std::string& sha256) {
  Statement read(database_, "SELECT 1 FROM upload WHERE sha256 = ?");
  return read.bind(1, sha256).step();
}

std::vector<std::string> Store::owned_files() {
  Statement read(database_, "SELECT sha256 FROM file_owner UNION SELECT sha256 FROM upload");
  std::vector<std::string> files;
  while (read.step()) files.push_back(read.text(0));
  return files;
}

void Store::disown_file(const std::string& sha256) {
  for (const char* sql :
       {"DELETE FROM file_owner WHERE sha256 = ?", "DELETE FROM upload WHERE sha256 = ?"}) {
    Statement(database_, sql).bind(1, sha256).run();
  }
}

}  // namespace wattle::scheduler
