// Every damaged file either parses, with all tensors inside it, or gives an Error(kFormat): under
// the address sanitizer (preset asan) that also means no byte read outside and no allocation above
// 64 MB, as a file of a few hundred bytes never justifies one.
#include <gmock/gmock.h>

#include "common/error.h"
#include "formats/gguf/gguf.h"
#include "formats/safetensors/safetensors.h"
#include "tests/support/mutations.h"
#include "tests/support/scratch_folder.h"

extern "C" const char* __asan_default_options() { return "max_allocation_size_mb=64"; }

namespace wattle {
namespace {

/// Parses; counts what parsed and what was refused.
class Survivors {
 public:
  template <typename Parse>
  void count(Parse parse, std::span<const std::byte> bytes) {
    try {
      const auto content = parse(bytes, "damaged");
      for (const TensorView& tensor : content.tensors.all()) {
        for (const std::byte byte : tensor.bytes) touched_ ^= byte;
      }
      ++parsed_;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kFormat) << error.what();
      ++refused_;
    }
  }
  int parsed() const { return parsed_; }
  int refused() const { return refused_; }
  std::byte touched() const { return touched_; }

 private:
  std::byte touched_{};
  int parsed_ = 0;
  int refused_ = 0;
};

Bytes read(const ScratchFolder& folder, const std::string& name) {
  const std::string text = folder.content(name);
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

TEST(Mutation, GgufParsesOrIsRefused) {
  const ScratchFolder folder;
  GgufMetadata keys;
  keys.add("general.architecture", std::string("llama"));
  keys.add("general.alignment", uint32_t{32});
  keys.add("b", true);
  keys.add("t", GgufArray{std::vector<std::string>{"one", "two"}});
  keys.add("n", GgufArray{std::vector<GgufArray>{{std::vector<float>{1, 2}}}});
  const std::vector<TensorSpec> specs = {{"a", DType::kQ8_0, {2, 32}}, {"b", DType::kF32, {3}}};
  GgufWriter writer(folder.path("m"), keys, specs);
  writer.append(Bytes(68));
  writer.append(Bytes(12));
  writer.finish();

  Survivors survivors;
  Mutations(read(folder, "m"), [&](auto bytes) {
    survivors.count(parse_gguf, bytes);
  }).all(1, 20000);
  EXPECT_GT(survivors.parsed(), 100);
  EXPECT_GT(survivors.refused(), 10000);
}

TEST(Mutation, SafetensorsParsesOrIsRefused) {
  const ScratchFolder folder;
  const Bytes data(24);
  const std::vector<TensorView> tensors = {{{"a", DType::kF32, {2, 3}}, data},
                                           {{"b", DType::kU8, {1}}, std::span(data).first(1)}};
  write_safetensors(folder.path("m"), tensors, {{"format", "pt"}});

  Survivors survivors;
  Mutations(read(folder, "m"), [&](auto bytes) {
    survivors.count(parse_safetensors, bytes);
  }).all(2, 20000);
  EXPECT_GT(survivors.parsed(), 100);
  EXPECT_GT(survivors.refused(), 10000);
}

TEST(Mutation, AShardIndexLoadsOrIsRefused) {
  const ScratchFolder folder;
  const Bytes data(1);
  write_safetensors(folder.path("s"), std::vector<TensorView>{{{"a", DType::kU8, {1}}, data}}, {});
  folder.put("i", R"({"metadata":{},"weight_map":{"a":"s"}})");
  int loaded = 0;
  Mutations(read(folder, "i"), [&](auto bytes) {
    folder.put("model.safetensors.index.json",
               std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    try {
      SafetensorsModel model(folder.path());
      ++loaded;
    } catch (const Error& error) {
      ASSERT_THAT(error.code(), testing::AnyOf(ErrorCode::kFormat, ErrorCode::kIo)) << error.what();
    }
  }).all(3, 500);
  EXPECT_GT(loaded, 10);
}

}  // namespace
}  // namespace wattle
