// Stands for NVIDIA's management library. What it answers stands in the file that the environment
// variable WATTLE_FAKE_NVML names, read by nvmlInit_v2:
//
//   init 0                     code of nvmlInit_v2
//   gpu GPU-aaaa H100          a device; the lines below belong to it
//   energy 1000 1100 !15 1200  successive answers in mJ, the last one repeats; !N is an error code
//   power 250000               the instant power field in mW
//   usage 240000               nvmlDeviceGetPowerUsage in mW
//   limit 400000               the power limit in mW that the device starts with
//   range 100000 400000        least and most power limit in mW
//   set 0                      code of nvmlDeviceSetPowerManagementLimit
//
// What a device has no line for, it does not support. A limit that was set is kept in the file
// SCRIPT.UUID.limit, so that it outlives the process as in a real GPU.

#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Device {
  std::string uuid, name;
  std::map<std::string, std::deque<std::string>> answers;
};

std::mutex mutex;
std::string script_path;
std::deque<Device> devices;
int init_code = 0;

/// The next answer of a line; the code that goes with it.
int next(Device& device, const std::string& line, long long& value) {
  const std::lock_guard lock(mutex);
  std::deque<std::string>& answers = device.answers[line];
  if (answers.empty()) return 3;
  const std::string answer = answers.front();
  if (answers.size() > 1) answers.pop_front();
  if (answer.front() == '!') return std::stoi(answer.substr(1));
  value = std::stoll(answer);
  return 0;
}

std::string limit_path(const Device& device) { return script_path + "." + device.uuid + ".limit"; }

}  // namespace

extern "C" {

int nvmlInit_v2() {
  const char* path = std::getenv("WATTLE_FAKE_NVML");
  if (!path) return 9;  // driver not loaded
  script_path = path;
  devices.clear();
  init_code = 0;
  std::ifstream script(path);
  for (std::string line; std::getline(script, line);) {
    std::istringstream words(line);
    std::string key, word;
    words >> key;
    if (key == "init") {
      words >> init_code;
    } else if (key == "gpu") {
      devices.emplace_back();
      words >> devices.back().uuid >> devices.back().name;
    } else if (!key.empty()) {
      while (words >> word) devices.back().answers[key].push_back(word);
    }
  }
  return init_code;
}

int nvmlShutdown() { return 0; }

const char* nvmlErrorString(int code) {
  switch (code) {
    case 0:
      return "Success";
    case 3:
      return "Not Supported";
    case 4:
      return "Insufficient Permissions";
    case 9:
      return "Driver Not Loaded";
    case 15:
      return "GPU is lost";
    default:
      return "Unknown Error";
  }
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(devices.size());
  return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {
  if (index >= devices.size()) return 2;
  *handle = &devices[index];
  return 0;
}

int nvmlDeviceGetUUID(void* handle, char* text, unsigned length) {
  std::strncpy(text, static_cast<Device*>(handle)->uuid.c_str(), length);
  return 0;
}

int nvmlDeviceGetName(void* handle, char* text, unsigned length) {
  std::strncpy(text, static_cast<Device*>(handle)->name.c_str(), length);
  return 0;
}

int nvmlDeviceGetTotalEnergyConsumption(void* handle, unsigned long long* millijoules) {
  long long value = 0;
  const int code = next(*static_cast<Device*>(handle), "energy", value);
  *millijoules = static_cast<unsigned long long>(value);
  return code;
}

struct FieldValue {
  unsigned field, scope;
  long long timestamp, latency;
  int type, code;
  union {
    unsigned ui;
    unsigned long long ull;
    double d;
  } value;
};

int nvmlDeviceGetFieldValues(void* handle, int count, FieldValue* fields) {
  for (int i = 0; i < count; ++i) {
    long long value = 0;
    fields[i].code = fields[i].field == 186 && fields[i].scope == 0
                         ? next(*static_cast<Device*>(handle), "power", value)
                         : 3;
    fields[i].type = 1;
    fields[i].value.ui = static_cast<unsigned>(value);
  }
  return 0;
}

int nvmlDeviceGetPowerUsage(void* handle, unsigned* milliwatts) {
  long long value = 0;
  const int code = next(*static_cast<Device*>(handle), "usage", value);
  *milliwatts = static_cast<unsigned>(value);
  return code;
}

int nvmlDeviceGetPowerManagementLimit(void* handle, unsigned* milliwatts) {
  Device& device = *static_cast<Device*>(handle);
  if (std::ifstream set(limit_path(device)); set >> *milliwatts) return 0;
  long long value = 0;
  const int code = next(device, "limit", value);
  *milliwatts = static_cast<unsigned>(value);
  return code;
}

int nvmlDeviceGetPowerManagementLimitConstraints(void* handle, unsigned* least, unsigned* most) {
  const auto& range = static_cast<Device*>(handle)->answers["range"];
  if (range.size() != 2) return 3;
  *least = static_cast<unsigned>(std::stoul(range[0]));
  *most = static_cast<unsigned>(std::stoul(range[1]));
  return 0;
}

int nvmlDeviceSetPowerManagementLimit(void* handle, unsigned milliwatts) {
  Device& device = *static_cast<Device*>(handle);
  long long code = 0;
  if (const int unsupported = next(device, "set", code); unsupported != 0) return unsupported;
  if (code == 0) std::ofstream(limit_path(device)) << milliwatts;
  return static_cast<int>(code);
}

}  // extern "C"
