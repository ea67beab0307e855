#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wattle {

/// How a text becomes tokens.
struct TextTokenizer {
  std::string tokenizer;             ///< "bytes", or the path of a GGUF file or a tokenizer.json
  std::vector<std::string> command;  ///< runs it, where it is not "bytes"
  std::string cache_dir;             ///< "" is the folder .tokens beside the text
};

/// Where the tokens of a text are kept: a name made of hashes of the text and of the tokenizer, so
/// that a change of either makes another shard. Throws Error(kIo) if one of the two can't be read.
std::string tokens_path(const std::string& text_path, const TextTokenizer& tokenizer);

/// Tokenises a text unless that was done before. The shard appears whole or not at all; processes
/// that do this at the same time write the same. Throws Error(kIo), Error(kFormat), or
/// Error(kUnsupported) with the output of a tokenizer that failed.
void prepare_tokens(const std::string& text_path, const TextTokenizer& tokenizer);

}  // namespace wattle
