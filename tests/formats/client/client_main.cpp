// What client_test.py needs of this folder, as a program:
//   traits                                      one line a GGUF type: number name elements bytes
//   encode|decode TYPE INPUT OUTPUT             float32 to blocks, and back
//   copy-gguf|copy-safetensors INPUT OUTPUT     reads everything and writes it again
#include <cstdio>
#include <string>
#include <vector>

#include "common/atomic_file.h"
#include "common/error.h"
#include "common/mapped_file.h"
#include "formats/gguf/ggml_blocks.h"
#include "formats/gguf/gguf.h"
#include "formats/safetensors/safetensors.h"

namespace wattle {
namespace {

void print_traits() {
  for (uint32_t number = 0; number < 64; ++number) {
    const std::optional<DType> dtype = dtype_of_ggml(number);
    if (!dtype) continue;
    const DTypeTraits& traits = traits_of(*dtype);
    std::printf("%u %s %u %u\n", number, traits.name, traits.block_elements, traits.block_bytes);
  }
}

DType type_named(const std::string& name) {
  for (uint32_t number = 0; number < 64; ++number) {
    const std::optional<DType> dtype = dtype_of_ggml(number);
    if (dtype && name_of(*dtype) == name) return *dtype;
  }
  throw Error(ErrorCode::kConfig, "unknown type " + name);
}

void write(const std::string& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void recode(const std::string& verb, DType dtype, const std::string& from, const std::string& to) {
  const MappedFile input(from);
  const DTypeTraits& traits = traits_of(dtype);
  if (verb == "encode") {
    const std::span values(reinterpret_cast<const float*>(input.bytes().data()),
                           input.bytes().size() / sizeof(float));
    std::vector<std::byte> blocks(values.size() / traits.block_elements * traits.block_bytes);
    encode(dtype, values, blocks);
    return write(to, blocks);
  }
  std::vector<float> values(input.bytes().size() / traits.block_bytes * traits.block_elements);
  decode(dtype, input.bytes(), values);
  write(to, std::as_bytes(std::span(values)));
}

void copy_gguf(const std::string& from, const std::string& to) {
  const GgufFile file(from);
  const auto tensors = file.tensors().all();
  GgufWriter writer(to, file.metadata(), {tensors.begin(), tensors.end()});
  for (const TensorView& tensor : tensors) writer.append(tensor.bytes);
  writer.finish();
}

void copy_safetensors(const std::string& from, const std::string& to) {
  const SafetensorsModel model(from);
  write_safetensors(to, model.tensors().all(), model.metadata());
}

int run(const std::vector<std::string>& words) {
  if (words == std::vector<std::string>{"traits"}) {
    print_traits();
  } else if (words.size() == 3 && words[0] == "copy-gguf") {
    copy_gguf(words[1], words[2]);
  } else if (words.size() == 3 && words[0] == "copy-safetensors") {
    copy_safetensors(words[1], words[2]);
  } else if (words.size() == 4 && (words[0] == "encode" || words[0] == "decode")) {
    recode(words[0], type_named(words[1]), words[2], words[3]);
  } else {
    throw Error(ErrorCode::kConfig, "the first lines of client_main.cpp show the usage");
  }
  return kExitDone;
}

}  // namespace
}  // namespace wattle

int main(int argc, char** argv) {
  try {
    return wattle::run({argv + 1, argv + argc});
  } catch (const wattle::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return wattle::exit_code(error.code());
  }
}
