#include "launch/train/commands/sample_text.h"

#include "trainer/models/generate.h"

namespace wattle {

std::string sample_text(Model& model, const TextSampleOptions& sample, uint64_t seed,
                        int64_t positions) {
  std::vector<int64_t> prompt;  // bytes are the tokens
  for (const unsigned char byte : sample.prompt) prompt.push_back(byte);
  std::string text;
  for (int64_t token : generate(model, prompt,
                                {.count = sample.tokens,
                                .temperature = sample.temperature,
                                .seed = seed,
                                .positions = positions})) {
    text += static_cast<char>(token);
  }
  return text;
}

}  // namespace wattle
