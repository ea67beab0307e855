#include "formats/safetensors/safetensors.h"

#include <gmock/gmock.h>

#include <cstring>

#include "common/error.h"
#include "tests/support/scratch_folder.h"

namespace wattle {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// A file with this header in front of these data.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + data;
}

std::string error_of(const std::string& file) {
  try {
    parse_safetensors(bytes_of(file), "m.safetensors");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    return error.what();
  }
  return "no error";
}

/// The error of a file with one good tensor of 4 data bytes and this entry.
std::string error_of_entry(const std::string& entry, const std::string& data = "12345678") {
  return error_of(
      file_of(R"({"good":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)" + entry + "}", data));
}

class Safetensors : public testing::Test {
 protected:
  TensorView tensor(const std::string& name, DType dtype, std::vector<int64_t> shape,
                    const std::string& data) {
    kept_.push_back(std::make_unique<std::string>(data));
    return {{name, dtype, std::move(shape)}, bytes_of(*kept_.back())};
  }
  ScratchFolder folder_;

 private:
  std::vector<std::unique_ptr<std::string>> kept_;
};

TEST_F(Safetensors, ReadsWhatItWrote) {
  const std::vector<TensorView> tensors = {
      tensor("bias", DType::kF16, {2}, "abcd"), tensor("weight", DType::kF32, {1, 2}, "ABCDEFGH"),
      tensor("empty", DType::kF32, {0, 5}, ""),
      tensor("scalar \"quoted\" ü", DType::kI64, {}, "01234567")};
  write_safetensors(folder_.path("m.safetensors"), tensors, {{"format", "pt"}});
  const SafetensorsModel model(folder_.path("m.safetensors"));
  EXPECT_THAT(model.metadata(), ElementsAre(Pair("format", "pt")));
  ASSERT_EQ(model.tensors().size(), tensors.size());
  for (const TensorView& written : tensors) {
    const TensorView* read = model.tensors().find(written.name);
    ASSERT_NE(read, nullptr) << written.name;
    EXPECT_EQ(read->dtype, written.dtype);
    EXPECT_EQ(read->shape, written.shape);
    EXPECT_EQ(text_of(read->bytes), text_of(written.bytes));
  }
}

TEST_F(Safetensors, WritesTheBytesOfTheReference) {
  write_safetensors(
      folder_.path("m"),
      std::vector{tensor("b", DType::kU8, {1}, "B"), tensor("a", DType::kU8, {1}, "A"),
                  tensor("z", DType::kF16, {1}, "ZZ")},
      {});
  const std::string file = folder_.content("m");
  EXPECT_EQ(file, file_of(R"({"z":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},)"
                          R"("a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},)"
                          R"("b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}  )",
                          "ZZAB"));
}

TEST_F(Safetensors, LeavesTheOldFileUntilFinished) {
  folder_.put("m", "old");
  {
    SafetensorsWriter writer(folder_.path("m"), {{"a", DType::kU8, {1}}}, {});
    EXPECT_THROW(writer.finish(), Error);
    EXPECT_THROW(writer.append(bytes_of("too long")), Error);
    writer.append(bytes_of("A"));
    EXPECT_THROW(writer.append(bytes_of("A")), Error);
  }
  EXPECT_EQ(folder_.content("m"), "old");
}

TEST_F(Safetensors, RefusesToWriteWhatCannotBeRead) {
  const auto write = [&](std::vector<TensorSpec> specs) {
    SafetensorsWriter(folder_.path("m"), std::move(specs), {});
  };
  EXPECT_THROW(write({{"a", DType::kU8, {1}}, {"a", DType::kU8, {1}}}), Error);
  EXPECT_THROW(write({{"__metadata__", DType::kU8, {1}}}), Error);
  EXPECT_THROW(write({{"a", DType::kQ4_0, {32}}}), Error);
  EXPECT_THROW(write({{"a", DType::kF32, {INT64_MAX, 2}}}), Error);
  EXPECT_THROW(write({{"\xff", DType::kU8, {1}}}), Error);
}

TEST_F(Safetensors, SaysWhereAFileIsTruncated) {
  EXPECT_EQ(
      error_of("1234"),
      "m.safetensors: byte 0: expected the length of the header with 1 x 8 bytes, but 4 bytes "
      "remain of 4");
  EXPECT_THAT(error_of(file_of("{}", "").substr(0, 9)),
              HasSubstr("byte 8: expected the header with 2 x 1 bytes, but 1 bytes remain"));
  EXPECT_THAT(
      error_of_entry(R"("cut":{"dtype":"F16","shape":[8],"data_offsets":[4,20]})"),
      HasSubstr("tensor \"cut\" (F16 [8], data bytes 4 to 20): the file holds 8 data bytes"));
}

TEST_F(Safetensors, RefusesAHeaderThatIsNone) {
  EXPECT_THAT(error_of(file_of("", "")), HasSubstr("begins with {"));
  EXPECT_THAT(error_of(file_of("[]", "")), HasSubstr("begins with {"));
  EXPECT_THAT(error_of(file_of("{\"a\":,}", "")),
              HasSubstr("byte 13: the header is no valid JSON"));
  EXPECT_THAT(error_of(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)),
              HasSubstr("expected a header of at most 100000000 bytes, got 18446744073709551615"));
}

TEST_F(Safetensors, RefusesEntriesOfAnotherShape) {
  EXPECT_THAT(error_of_entry(R"("a":5)"), HasSubstr("\"a\": expected an object, got a number"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[4]})"),
              HasSubstr("\"a\": \"data_offsets\" is missing"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U7","shape":[4],"data_offsets":[4,8]})"),
              HasSubstr("unknown dtype \"U7\""));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[-4],"data_offsets":[4,8]})"),
              HasSubstr("expected a number from 0, got the negative number -4"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[4.0],"data_offsets":[4,8]})"),
              HasSubstr("got the number 4.0"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[[4]],"data_offsets":[4,8]})"),
              HasSubstr("got a list"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[4],"data_offsets":[4,8,9]})"),
              HasSubstr("expected 2 data_offsets, got 3"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","kind":1})"), HasSubstr("not \"kind\""));
  EXPECT_THAT(error_of_entry(R"("__metadata__":{"format":1})"), HasSubstr("expected a text"));
}

TEST_F(Safetensors, RefusesNamesGivenTwice) {
  const std::string same = R"({"dtype":"U8","shape":[4],"data_offsets":[4,8]})";
  EXPECT_THAT(error_of_entry("\"good\":" + same), HasSubstr("\"good\" stands there twice"));
  EXPECT_THAT(error_of_entry(R"("__metadata__":{"a":"1","a":"2"})"), HasSubstr("twice"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","dtype":"U8"})"), HasSubstr("twice"));
}

TEST_F(Safetensors, RefusesGapsOverlapsAndWrongSizes) {
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[3],"data_offsets":[5,8]})"),
              HasSubstr("expected to begin at 4"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[5],"data_offsets":[3,8]})"),
              HasSubstr("expected to begin at 4"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[0],"data_offsets":[4,3]})"),
              HasSubstr("4 to 3"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"F16","shape":[4],"data_offsets":[4,8]})"),
              HasSubstr("type and shape make 8 bytes"));
  EXPECT_THAT(
      error_of_entry(R"("a":{"dtype":"U8","shape":[4294967296,4294967297],"data_offsets":[4,8]})"),
      HasSubstr("the shape overflows"));
  EXPECT_THAT(error_of_entry(R"("a":{"dtype":"U8","shape":[3],"data_offsets":[4,7]})"),
              HasSubstr("expected 7 data bytes, as the tensors have, but the file holds 8"));
}

class SafetensorsShards : public Safetensors {
 protected:
  SafetensorsShards() {
    write_safetensors(folder_.path("one"), std::vector{tensor("a", DType::kU8, {1}, "A")}, {});
    write_safetensors(folder_.path("two"), std::vector{tensor("b", DType::kU8, {2}, "BB")}, {});
  }
  void put_index(const std::string& map) {
    folder_.put("model.safetensors.index.json",
                R"({"metadata":{"total_size":3},"weight_map":)" + map + "}");
  }
  std::string error_of_folder() {
    try {
      SafetensorsModel model(folder_.path());
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }
};

TEST_F(SafetensorsShards, ReadAsOneModel) {
  put_index(R"({"a":"one","b":"two"})");
  const SafetensorsModel model(folder_.path());
  EXPECT_EQ(text_of(model.tensors().find("a")->bytes), "A");
  EXPECT_EQ(text_of(model.tensors().find("b")->bytes), "BB");
}

TEST_F(SafetensorsShards, MustAgreeWithTheirIndex) {
  put_index(R"({"a":"one","b":"one"})");
  EXPECT_THAT(error_of_folder(), HasSubstr("tensor \"b\" is listed in one, but not there"));
  put_index(R"({"a":"one","c":"two"})");
  EXPECT_THAT(error_of_folder(), HasSubstr("tensor \"b\" is in two, but not listed"));
  put_index(R"({"a":"one","b":"three"})");
  EXPECT_THAT(error_of_folder(), HasSubstr("three: can't be opened"));
  put_index(R"({"a":"../one"})");
  EXPECT_THAT(error_of_folder(), HasSubstr("expected plain file names"));
  put_index("[]");
  EXPECT_THAT(error_of_folder(), HasSubstr("expected an object \"weight_map\""));
}

TEST_F(SafetensorsShards, AFolderWithoutAModelSaysWhatIsMissing) {
  EXPECT_THAT(error_of_folder(), HasSubstr("model.safetensors: can't be opened: No such file"));
}

}  // namespace
}  // namespace wattle
