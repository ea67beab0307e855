#include "formats/gguf/gguf.h"

#include <gmock/gmock.h>

#include <cstring>

#include "common/error.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// Writes a GGUF file field by field, right or wrong.
class RawGguf {
 public:
  RawGguf(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    text_ = "GGUF";
    put(version).put(tensors).put(keys);
  }
  template <typename T>
  RawGguf& put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  RawGguf& string(const std::string& text) {
    put<uint64_t>(text.size());
    text_ += text;
    return *this;
  }
  RawGguf& tensor(const std::string& name, std::vector<uint64_t> dims, uint32_t type,
                  uint64_t offset) {
    string(name).put<uint32_t>(dims.size());
    for (const uint64_t dim : dims) put(dim);
    return put(type).put(offset);
  }
  RawGguf& data(size_t bytes) {
    text_.resize((text_.size() + 31) / 32 * 32 + bytes, 'x');
    return *this;
  }
  size_t size() const { return text_.size(); }
  GgufContent parse() const { return parse_gguf(bytes_of(text_), "m.gguf"); }
  std::string error() const {
    try {
      parse();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFormat);
      return error.what();
    }
    return "no error";
  }

 private:
  std::string text_;
};

GgufArray nested(int depth) {
  if (depth == 1) return {std::vector<uint8_t>{1, 2}};
  return {std::vector<GgufArray>{nested(depth - 1), nested(depth - 1)}};
}

/// A key of every type.
GgufMetadata every_type() {
  GgufMetadata keys;
  keys.add("u8", uint8_t{255});
  keys.add("i8", int8_t{-128});
  keys.add("u16", uint16_t{65535});
  keys.add("i16", int16_t{-32768});
  keys.add("u32", uint32_t{4294967295u});
  keys.add("i32", int32_t{INT32_MIN});
  keys.add("f32", 1.5f);
  keys.add("bool", true);
  keys.add("text", std::string("größer\0als", 12));
  keys.add("u64", uint64_t{UINT64_MAX});
  keys.add("i64", int64_t{INT64_MIN});
  keys.add("f64", -2.25);
  keys.add("bools", GgufArray{std::vector<bool>{true, false, true}});
  keys.add("texts", GgufArray{std::vector<std::string>{"", "a", "bc"}});
  keys.add("floats", GgufArray{std::vector<float>{1, 2}});
  keys.add("none", GgufArray{std::vector<int64_t>{}});
  keys.add("nested", nested(kGgufLargestDepth));
  return keys;
}

class Gguf : public testing::Test {
 protected:
  void write(const GgufMetadata& keys, const std::vector<TensorSpec>& specs,
             const std::vector<std::string>& data) {
    GgufWriter writer(path(), keys, specs);
    for (const std::string& bytes : data) writer.append(bytes_of(bytes));
    writer.finish();
  }
  std::string path() const { return folder_.path("m.gguf"); }
  ScratchFolder folder_;
};

TEST_F(Gguf, ReadsWhatItWrote) {
  write(every_type(),
        {{"blk.0.attn_q.weight", DType::kQ4_0, {2, 32}},
         {"norm", DType::kF32, {3}},
         {"s", DType::kF16, {}}},
        {std::string(36, 'q'), std::string(12, 'n'), "ss"});
  const GgufFile file(path());
  EXPECT_THAT(file.metadata().all(), testing::ElementsAreArray(every_type().all()));
  ASSERT_EQ(file.tensors().size(), 3u);
  const TensorView* weight = file.tensors().find("blk.0.attn_q.weight");
  EXPECT_THAT(weight->shape, ElementsAre(2, 32));
  EXPECT_EQ(weight->dtype, DType::kQ4_0);
  EXPECT_EQ(text_of(weight->bytes), std::string(36, 'q'));
  EXPECT_EQ(text_of(file.tensors().find("norm")->bytes), std::string(12, 'n'));
  EXPECT_EQ(text_of(file.tensors().find("s")->bytes), "ss");
}

TEST_F(Gguf, HonoursAnotherAlignment) {
  GgufMetadata keys;
  keys.add("general.alignment", uint32_t{256});
  write(keys, {{"a", DType::kI8, {3}}, {"b", DType::kI8, {2}}}, {"aaa", "bb"});
  const GgufFile file(path());
  EXPECT_EQ(text_of(file.tensors().find("b")->bytes), "bb");
  EXPECT_EQ(folder_.content("m.gguf").size() % 256, 0u);
  EXPECT_EQ(file.tensors().find("b")->bytes.data() - file.tensors().find("a")->bytes.data(), 256);
}

TEST_F(Gguf, ReadsVersion2) {
  EXPECT_EQ(RawGguf(0, 1, 2).string("k").put<uint32_t>(7).put<uint8_t>(1).parse().version, 2u);
}

TEST_F(Gguf, GivesKeysByTheTypeThatALoaderNeeds) {
  const GgufMetadata keys = every_type();
  EXPECT_EQ(keys.unsigned_integer("u8"), 255u);
  EXPECT_EQ(keys.number("i8"), -128.0);
  EXPECT_EQ(keys.number("f64"), -2.25);
  EXPECT_THAT(keys.texts("texts"), ElementsAre("", "a", "bc"));
  const auto error_of = [](auto action) {
    try {
      action();
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(error_of([&] { keys.unsigned_integer("i8"); }),
            "key i8: expected an integer from 0, got int8");
  EXPECT_EQ(error_of([&] { keys.unsigned_integer("bool"); }),
            "key bool: expected an integer from 0, got bool");
  EXPECT_EQ(error_of([&] { keys.text("f32"); }), "key f32: expected a string, got float32");
  EXPECT_EQ(error_of([&] { keys.texts("floats"); }),
            "key floats: expected an array of strings, got array");
  EXPECT_EQ(error_of([&] { keys.text("absent"); }), "key absent: expected a string, it is missing");
}

TEST_F(Gguf, SaysWhatIsWrongAtTheStart) {
  EXPECT_THAT(RawGguf(0, 0, 1).error(), HasSubstr("byte 4: expected version 2 or 3, got 1"));
  EXPECT_THAT(RawGguf(0, 0, 0x03000000).error(), HasSubstr("got that of a big-endian file"));
  EXPECT_THROW(parse_gguf(bytes_of("GGML"), "m"), Error);
  EXPECT_THROW(parse_gguf({}, "m"), Error);
}

TEST_F(Gguf, RefusesCountsThatTheFileCannotHold) {
  EXPECT_THAT(RawGguf(0, UINT64_MAX).error(), HasSubstr("expected as many keys as announced"));
  EXPECT_THAT(RawGguf(UINT64_MAX / 2, 0).error(),
              HasSubstr("expected as many tensors as announced"));
  EXPECT_THAT(
      RawGguf(0, 1).string("k").put<uint32_t>(9).put<uint32_t>(4).put(UINT64_MAX).error(),
      HasSubstr("byte 49: expected an array's elements with 18446744073709551615 x 4 bytes, but "
                "0 bytes remain of 49"));
  EXPECT_THAT(RawGguf(0, 1).string("k").put<uint32_t>(8).put(UINT64_MAX).error(),
              HasSubstr("expected a string with 18446744073709551615 x 1 bytes"));
}

TEST_F(Gguf, RefusesBrokenKeys) {
  EXPECT_THAT(RawGguf(0, 1).string("key").put<uint32_t>(13).put<uint64_t>(0).error(),
              HasSubstr("byte 35: expected a value type from 0 to 12, got 13"));
  EXPECT_THAT(RawGguf(0, 1).string("key").put<uint32_t>(7).put<uint8_t>(2).error(),
              HasSubstr("expected a bool, 0 or 1, got 2"));
  EXPECT_THAT(RawGguf(0, 2)
                  .string("k")
                  .put<uint32_t>(7)
                  .put<uint8_t>(1)
                  .string("k")
                  .put<uint32_t>(7)
                  .put<uint8_t>(1)
                  .error(),
              HasSubstr("byte 38: key k stands there twice"));
  RawGguf deep(0, 1);
  deep.string("k").put<uint32_t>(9);
  for (int i = 0; i < 100; ++i) deep.put<uint32_t>(9).put<uint64_t>(1);
  EXPECT_THAT(deep.error(), HasSubstr("expected arrays at most 4 deep"));
  EXPECT_THAT(RawGguf(0, 1).string("general.alignment").put<uint32_t>(4).put<uint32_t>(24).error(),
              HasSubstr("m.gguf: key general.alignment: expected a power of two, got 24"));
}

TEST_F(Gguf, RefusesBrokenTensors) {
  const auto error = [](std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    return RawGguf(1, 0).tensor("t", std::move(dims), type, offset).data(64).error();
  };
  EXPECT_EQ(error({16}, 0, 0), "no error");
  EXPECT_THAT(error({17}, 0, 0),
              HasSubstr("byte 24: tensor t: expected 68 bytes from 0 of the data "
                        "section, which has 64 bytes"));
  EXPECT_THAT(error({1}, 0, 96), HasSubstr("expected 4 bytes from 96"));
  EXPECT_THAT(error({1}, 0, 4), HasSubstr("a multiple of 32, got 4"));
  EXPECT_THAT(error({16}, 2, 0),
              HasSubstr("[16] of type Q4_0: expected rows of whole blocks of 32"));
  EXPECT_THAT(error({32}, 12, 0),
              HasSubstr("[32] of type Q4_K: expected rows of whole blocks of 256"));
  EXPECT_THAT(error({16}, 4, 0), HasSubstr("unknown ggml type 4"));
  EXPECT_THAT(error({1, 1, 1, 1, 1}, 0, 0), HasSubstr("at most 4 dimensions, got 5"));
  EXPECT_THAT(error({1ull << 40, 1ull << 40}, 0, 0), HasSubstr("below 2^63"));
  EXPECT_THAT(error({UINT64_MAX}, 0, 0), HasSubstr("is too large"));
  EXPECT_THAT(RawGguf(1, 0).tensor(std::string(65, 'n'), {1}, 0, 0).data(64).error(),
              HasSubstr("a tensor's name of at most 64 bytes, got 65"));
}

TEST_F(Gguf, RefusesTensorsThatMeet) {
  const auto two = [](const std::string& second, uint64_t offset) {
    return RawGguf(2, 0).tensor("a", {9}, 0, 0).tensor(second, {8}, 0, offset).data(128).error();
  };
  EXPECT_EQ(two("b", 64), "no error");
  EXPECT_THAT(two("b", 32), HasSubstr("tensor b: its bytes overlap those of a"));
  EXPECT_THAT(two("a", 64), HasSubstr("tensor a stands there twice"));
}

TEST_F(Gguf, RefusesToWriteWhatGgmlCannotLoad) {
  const auto write_one = [&](TensorSpec spec) { GgufWriter(path(), {}, {std::move(spec)}); };
  EXPECT_THROW(write_one({std::string(64, 'n'), DType::kF32, {1}}), Error);
  EXPECT_THROW(write_one({"", DType::kF32, {1}}), Error);
  EXPECT_THROW(write_one({"a", DType::kU32, {1}}), Error);
  EXPECT_THROW(write_one({"a", DType::kQ8_0, {33}}), Error);
  EXPECT_THROW(write_one({"a", DType::kF32, {1, 1, 1, 1, 1}}), Error);
  GgufMetadata keys;
  keys.add("deep", nested(kGgufLargestDepth + 1));
  EXPECT_THROW(GgufWriter(path(), keys, {}), Error);
  EXPECT_FALSE(std::filesystem::exists(path()));
}

}  // namespace
}  // namespace wattle
