#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace wattle::scheduler {

class Database;

/// One prepared statement. Parameters are numbered from 1, columns from 0. Every member throws as
/// Database does.
class Statement {
 public:
  Statement(Database& database, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int parameter, int64_t value);
  Statement& bind(int parameter, double value);
  Statement& bind(int parameter, std::string_view value);
  /// Bytes that stay where they are until the statement has run.
  Statement& bind_bytes(int parameter, std::string_view bytes);
  /// The next row; false when there is none, and the statement is then ready to be bound again.
  bool step();
  /// For statements without rows.
  void run();

  int64_t integer(int column) const;
  double number(int column) const;
  std::string text(int column) const;

 private:
  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
};

/// An SQLite database in WAL mode with full synchronisation: a transaction that has returned is on
/// the disk, whatever dies then. One thread at a time. Readers and one writer, each with a Database
/// of its own, do not wait for one another; kRead is for a file that is open to be written.
///
/// Throws Error(kIo), naming the file and SQLite's reason; a full disk (SQLITE_FULL) and an I/O
/// error leave what was committed as it was.
class Database {
 public:
  enum class Access { kRead, kWrite };
  explicit Database(std::string path, Access access = Access::kWrite);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// One or more statements without parameters or rows.
  void execute(const std::string& sql);
  [[noreturn]] void fail(const std::string& doing) const;

  sqlite3* handle() { return handle_; }

 private:
  std::string path_;
  sqlite3* handle_ = nullptr;
};

/// Rolls back unless it was committed. Statements in one for reading see the same state.
class Transaction {
 public:
  enum class For { kReading, kWriting };
  explicit Transaction(Database& database, For what = For::kWriting);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace wattle::scheduler
