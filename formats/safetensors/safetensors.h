#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/atomic_file.h"
#include "common/mapped_file.h"
#include "formats/tensor_info.h"

namespace wattle {

/// safetensors (https://github.com/huggingface/safetensors, "Format"): u64 length of the header,
/// the header as JSON, the tensors. Little-endian.

/// What stands in one file's header; the views point into the file's bytes.
struct SafetensorsContent {
  TensorTable tensors;                          ///< in the order of their bytes
  std::map<std::string, std::string> metadata;  ///< "__metadata__"
};

/// Reads a header and checks it strictly: the tensors lie behind it without a gap or an overlap up
/// to the last byte, each as long as its type and shape say, no name twice. Takes memory in
/// proportion to the header, which is at most 100 MB. `source` stands in messages.
/// Throws Error(kFormat).
SafetensorsContent parse_safetensors(std::span<const std::byte> bytes, std::string_view source);

/// A model in safetensors: one file, or the shards of a folder. Views point into the mapped files
/// and live as long as this object.
class SafetensorsModel {
 public:
  /// `path`: a .safetensors file, or a folder with model.safetensors or, failing that, with
  /// model.safetensors.index.json and the shards that it names. Throws Error(kIo) if a file is
  /// missing, Error(kFormat) if one is broken or the index and the shards disagree.
  explicit SafetensorsModel(const std::string& path);

  const TensorTable& tensors() const { return tensors_; }
  /// Of a single file; empty for shards.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  void open_shards(const std::string& folder, const std::string& index_path);

  std::vector<MappedFile> files_;
  TensorTable tensors_;
  std::map<std::string, std::string> metadata_;
};

/// Writes a file tensor by tensor, so that a model is never in memory twice. Equal content gives
/// equal bytes: the widest types first and then by name, as the reference writes them, with the
/// header padded by spaces so that the data begin at a multiple of 8.
///
/// The file appears, whole and durable, with finish(); without it nothing changes at `path`.
/// Throws Error(kIo) if it can't be written; Error(kInternal) for a type that safetensors doesn't
/// have, a name given twice, or data that don't fit.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, std::vector<TensorSpec> tensors,
                    const std::map<std::string, std::string>& metadata);

  /// The order in which append() takes the tensors.
  std::span<const TensorSpec> order() const { return tensors_; }
  /// All bytes of the next tensor.
  void append(std::span<const std::byte> bytes);
  void finish();

 private:
  std::vector<TensorSpec> tensors_;
  size_t next_ = 0;
  AtomicFile file_;
};

/// The same for tensors that are all in memory.
void write_safetensors(const std::string& path, std::span<const TensorView> tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace wattle
