#include "scheduler/store/database.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "common/error.h"

namespace wattle::scheduler {

Statement::Statement(Database& database, std::string_view sql) : database_(database) {
  if (sqlite3_prepare_v2(database.handle(), sql.data(), static_cast<int>(sql.size()), &statement_,
                         nullptr) != SQLITE_OK) {
    database_.fail(fmt::format("preparing {}", sql));
  }
}

Statement::~Statement() { sqlite3_finalize(statement_); }

Statement& Statement::bind(int parameter, int64_t value) {
  if (sqlite3_bind_int64(statement_, parameter, value) != SQLITE_OK) database_.fail("binding");
  return *this;
}

Statement& Statement::bind(int parameter, double value) {
  if (sqlite3_bind_double(statement_, parameter, value) != SQLITE_OK) database_.fail("binding");
  return *this;
}

Statement& Statement::bind(int parameter, std::string_view value) {
  const char* data = value.data() ? value.data() : "";
  if (sqlite3_bind_text64(statement_, parameter, data, value.size(), SQLITE_TRANSIENT,
                          SQLITE_UTF8) != SQLITE_OK) {
    database_.fail("binding");
  }
  return *this;
}

Statement& Statement::bind_bytes(int parameter, std::string_view bytes) {
  const char* data = bytes.data() ? bytes.data() : "";
  if (sqlite3_bind_blob64(statement_, parameter, data, bytes.size(), SQLITE_STATIC) != SQLITE_OK) {
    database_.fail("binding");
  }
  return *this;
}

bool Statement::step() {
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  // A failed statement is reset as well: its error stays the database's last one.
  sqlite3_reset(statement_);
  if (result != SQLITE_DONE) database_.fail("running a statement");
  return false;
}

void Statement::run() {
  while (step()) {
  }
}

int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }
double Statement::number(int column) const { return sqlite3_column_double(statement_, column); }

std::string Statement::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (!data) return "";
  return {data, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

Database::Database(std::string path, Access access) : path_(std::move(path)) {
  const int flags =
      access == Access::kRead ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  if (sqlite3_open_v2(path_.c_str(), &handle_, flags | SQLITE_OPEN_FULLMUTEX, nullptr) !=
      SQLITE_OK) {
    const std::string reason = handle_ ? sqlite3_errmsg(handle_) : "out of memory";
    sqlite3_close(handle_);
    throw Error(ErrorCode::kIo, fmt::format("{}: can't be opened: {}", path_, reason));
  }
  if (access == Access::kRead) return;
  try {
    execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
  } catch (...) {
    sqlite3_close(handle_);
    throw;
  }
}

Database::~Database() { sqlite3_close(handle_); }

void Database::execute(const std::string& sql) {
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
    fail(fmt::format("running \"{}\"", sql.substr(0, 60)));
  }
}

void Database::fail(const std::string& doing) const {
  throw Error(ErrorCode::kIo, fmt::format("{}: {}: {} (SQLite error {})", path_, doing,
                                          sqlite3_errmsg(handle_), sqlite3_errcode(handle_)));
}

Transaction::Transaction(Database& database, For what) : database_(database) {
  database_.execute(what == For::kWriting ? "BEGIN IMMEDIATE" : "BEGIN");
}

Transaction::~Transaction() {
  // After some errors SQLite has rolled back by itself; then this one fails and changes nothing.
  if (open_) sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() {
  database_.execute("COMMIT");
  open_ = false;
}

}  // namespace wattle::scheduler
