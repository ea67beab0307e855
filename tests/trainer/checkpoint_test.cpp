#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <fstream>
#include <random>

#include "common/error.h"
#include "tests/trainer/checkpoint_support.h"
#include "trainer/checkpoint/checkpoint_reader.h"

namespace wattle {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Checkpoints : public CheckpointFixture {};

TEST_F(Checkpoints, ComeBackBitForBit) {
  const Numbers saved = numbers(1);
  write(10, saved);
  EXPECT_TRUE(saved.equals(read(newest())));
  const CheckpointReader reader(newest());
  EXPECT_EQ(reader.meta().step, 10);
  EXPECT_EQ(reader.meta().samples, 320);
  EXPECT_EQ(reader.meta().stream_hash, "abc");
  EXPECT_EQ(reader.meta().seed, 0xFFFF'FFFF'FFFF'FFFFu);
  EXPECT_EQ(reader.meta().sections.at("energy"), R"({"joules":1.5})");
}

TEST_F(Checkpoints, ResumeOnAnyNumberOfRanks) {
  const Numbers saved = numbers(2);
  for (int writers : {1, 2, 3, 5}) {
    write(writers, saved, writers);
    for (int readers : {1, 2, 3, 7}) {
      EXPECT_TRUE(saved.equals(read(newest(), readers))) << writers << " to " << readers;
    }
  }
}

TEST_F(Checkpoints, EachByteIsWrittenOnce) {
  write(1, numbers(1), 3);
  int64_t elements = 0;
  for (int rank = 0; rank < 3; ++rank) {
    const MappedFile file((newest() / shard_name(rank, 3)).string());
    for (const ShardPiece& piece : read_pieces(file)) elements += piece.region.numel();
  }
  EXPECT_EQ(elements, numbers(1).numel());
}

TEST_F(Checkpoints, TheOldOnesGoWhenTheNewOneIsWhole) {
  options_.keep = 2;
  for (int step : {1, 2, 3}) write(step, numbers(step));
  EXPECT_THAT(folder().steps(), ElementsAre(2, 3));
}

TEST_F(Checkpoints, SnapshotsDoNotSeeLaterChanges) {
  Numbers state = numbers(1);
  const Numbers saved = state.copy();
  Checkpointer checkpointer(output_dir_, options_, 0, 1);
  checkpointer.begin(meta(4), state.slices(0, 1));
  state.clear();
  settle(checkpointer);
  EXPECT_TRUE(saved.equals(read(newest())));
}

TEST_F(Checkpoints, NothingIsCommittedUntilAllRanksAreDone) {
  Checkpointer first(output_dir_, options_, 0, 2), second(output_dir_, options_, 1, 2);
  EXPECT_EQ(first.state(), WriteState::kIdle);
  const Numbers state = numbers(1);
  first.begin(meta(4), state.slices(0, 2));
  first.finish();
  EXPECT_EQ(first.state(), WriteState::kDurable);
  first.settle(WriteState::kWriting);
  EXPECT_THAT(folder().steps(), IsEmpty());
  second.begin(meta(4), state.slices(1, 2));
  second.finish();
  second.settle(WriteState::kDurable);
  first.settle(WriteState::kDurable);
  first.finish();
  EXPECT_THAT(folder().steps(), ElementsAre(4));
  EXPECT_EQ(first.state(), WriteState::kIdle);
}

TEST_F(Checkpoints, OneOfTheSameStepTakesItsPlace) {
  write(5, numbers(1));
  write(5, numbers(2));
  EXPECT_TRUE(numbers(2).equals(read(newest())));
  const fs::directory_iterator all(newest().parent_path());
  EXPECT_EQ(std::distance(begin(all), end(all)), 1) << "the older one is gone";
}

TEST_F(Checkpoints, StaleFoldersOfKilledRunsGo) {
  write(5, numbers(1));
  fs::create_directories(folder().temporary_path(6, 1));
  std::ofstream(folder().temporary_path(6, 1) / "shard") << "half";
  folder().remove_stale();
  EXPECT_FALSE(fs::exists(folder().temporary_path(6, 1)));
  EXPECT_THAT(folder().steps(), ElementsAre(5));
}

TEST_F(Checkpoints, OtherNamesAreNoCheckpoints) {
  options_.keep = 1;
  write(1, numbers(1));
  for (const char* name : {"step-0012", "step--5", "step-+3", "step-7x", "step-"}) {
    fs::create_directories(output_dir_ / "checkpoints" / name);
  }
  EXPECT_THAT(folder().steps(), ElementsAre(1));
  write(20, numbers(2));
  EXPECT_THAT(folder().steps(), ElementsAre(20));
  EXPECT_TRUE(fs::exists(output_dir_ / "checkpoints" / "step-0012"));
}

TEST_F(Checkpoints, AFlippedBitInAnyFileIsFoundAndTheOneBeforeTaken) {
  write(1, numbers(1), 2);
  write(2, numbers(2), 2);
  const fs::path broken = newest();
  for (const fs::path& file : files_of(broken)) {
    for (double where : {0.0, 0.1, 0.5, 0.999}) {
      const auto offset = static_cast<int64_t>(where * fs::file_size(file));
      flip(file, offset);
      const FoundCheckpoint found = folder().find_newest_whole();
      ASSERT_EQ(found.newest, folder().final_path(1)) << file << " byte " << offset;
      ASSERT_EQ(found.warnings.size(), 1u);
      EXPECT_THAT(found.warnings[0], AllOf(HasSubstr("step-2"), HasSubstr("expected")));
      flip(file, offset);
    }
  }
  EXPECT_EQ(newest(), broken) << "whole again, and nothing was removed";
}

TEST_F(Checkpoints, AFlippedBitInATensorIsNamedWithItsPlace) {
  write(2, numbers(2), 2);
  const fs::path shard = newest() / shard_name(1, 2);
  const ShardPiece piece = read_pieces(MappedFile(shard.string())).at(1);
  flip(shard, static_cast<int64_t>(piece.offset) + 3);
  EXPECT_THAT(folder().find_newest_whole().warnings,
              ElementsAre(AllOf(HasSubstr(shard.string()), HasSubstr(piece.name),
                                HasSubstr("bytes " + std::to_string(piece.offset) + " to "),
                                HasSubstr("expected checksum " + piece.hash + ", got "))));
}

TEST_F(Checkpoints, ACutOrMissingFileIsFound) {
  for (const std::string name :
       {"meta.json", "checksums.xxh3", "shard-00000-of-00001.safetensors"}) {
    fs::remove_all(output_dir_);
    write(1, numbers(1));
    write(2, numbers(2));
    fs::resize_file(newest() / name, fs::file_size(newest() / name) / 2);
    EXPECT_EQ(newest(), folder().final_path(1)) << name << " is cut";
    fs::remove(folder().final_path(2) / name);
    EXPECT_EQ(newest(), folder().final_path(1)) << name << " is missing";
  }
}

TEST_F(Checkpoints, BrokenOnesCanBeSetAsideAndStay) {
  write(1, numbers(1));
  folder().set_aside(newest(), "broken");
  EXPECT_THAT(folder().steps(), IsEmpty());
  EXPECT_TRUE(numbers(1).equals(read(folder().final_path(1).string() + ".broken-1")));
}

TEST_F(Checkpoints, HeadersOfAnyBytesAreRefusedNotTrusted) {
  write(1, numbers(1), 2);
  const fs::path shard = newest() / shard_name(0, 2);
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    const int64_t offset = static_cast<int64_t>(random() % 1000);
    const auto mask = static_cast<char>(1 + random() % 255);
    flip(shard, offset, mask);
    try {
      CheckpointReader(folder().final_path(1)).read_whole("matrix");
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(output_dir_.string()));
      ++refused;
    }
    flip(shard, offset, mask);
  }
  EXPECT_GT(refused, 200);
}

TEST_F(Checkpoints, WhatIsNotThereIsNamed) {
  write(1, numbers(1));
  const CheckpointReader reader(newest());
  at::Tensor target = at::zeros({3, 3});
  const auto message = [&](const std::string& name) -> std::string {
    try {
      reader.read({TensorSlice::whole(name, target)});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message("nothing"), HasSubstr("holds no tensor nothing"));
  EXPECT_THAT(message("matrix"), HasSubstr("matrix: expected Float [3, 3], got Float [37, 23]"));
}

TEST_F(Checkpoints, AMissingPieceIsNamed) {
  Numbers state = numbers(1);
  std::vector<TensorSlice> slices = state.slices(0, 2);
  Checkpointer checkpointer(output_dir_, options_, 0, 1);
  checkpointer.begin(meta(1), slices);
  settle(checkpointer);
  EXPECT_THROW(read(newest()), Error);
}

TEST_F(Checkpoints, AreFoundFromAnyFolderAbove) {
  write(7, numbers(1));
  EXPECT_EQ(resolve_checkpoint(output_dir_), newest());
  EXPECT_EQ(resolve_checkpoint(output_dir_ / "checkpoints"), newest());
  EXPECT_EQ(resolve_checkpoint(newest()), newest());
  EXPECT_THROW(resolve_checkpoint(output_dir_ / "elsewhere"), Error);
  flip(newest() / "meta.json", 5);
  EXPECT_THROW(resolve_checkpoint(folder().final_path(7)), Error);
}

}  // namespace
}  // namespace wattle
