// edge-replay: holds the parts of edge-run that need no ExecuTorch against what other programs know to be right.
// It knows the files of tests/fixtures/golden, and not how they were made.
//
//   edge-replay golden FOLDER            replay every golden vector; a line for each case that fails, a count per file
//   edge-replay tokenize TOKENIZER_FILE  a JSON string per line of standard input -> a JSON list of ids per line
//   edge-replay manifest FILE...         `ok`, or the error, a line for each file
//   edge-replay open FOLDER [check]      opens a bundle; how many bytes of its files were hashed
//   edge-replay estimate FILE SECONDS each|once|mapped    bytes that a generation under this manifest will map, and take for itself
//   edge-replay sha256 FILE...           a line for each file and way to hash: the way, the hash, megabytes in a second
//   edge-replay features FILE            what all cores have by a text like /proc/cpuinfo, a line
//   edge-replay cores FOLDER CORE...     how many of these cores are fast by a tree like /sys
//   edge-replay memory FOLDER            the bytes available by a tree like /proc and /sys, or `unsaid`
//
// Exit code 0: all is well; 1: something is not; 2: called in another way.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "audio.h"
#include "base64.h"
#include "bundle.h"
#include "errors.h"
#include "estimate.h"
#include "files.h"
#include "machine.h"
#include "manifest.h"
#include "random.h"
#include "sampler.h"
#include "sha256.h"
#include "strict_json.h"
#include "tokenizer.h"

namespace edge {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMostBytes = 64 << 20;
constexpr uintmax_t kMostHashed = uintmax_t{4} << 30;
constexpr char kUsage[] =
    "usage: edge-replay golden FOLDER | tokenize TOKENIZER_FILE | manifest FILE... | open FOLDER [check] | "
    "estimate FILE SECONDS each|once|mapped | sha256 FILE... | features FILE | cores FOLDER CORE... | memory FOLDER";

// The cases of one file: how many there are, and a line for each that fails.
class Cases {
 public:
  explicit Cases(std::string file) : file_(std::move(file)) {}

  // An empty problem is none.
  void add(const std::string& name, const std::string& problem) {
    ++count_;
    if (problem.empty()) return;
    ++failed_;
    std::cout << file_ << ": " << name << ": " << problem << "\n";
  }

  // A file without a case shows nothing, and fails too.
  bool sum_up() {
    if (count_ == 0) add("cases", "there are none");
    std::cout << file_ << ": " << count_ << " cases, " << failed_ << " failed\n";
    return failed_ == 0;
  }

 private:
  std::string file_;
  int64_t count_ = 0, failed_ = 0;
};

Json document_at(const fs::path& path) { return parse_json(read_file(path, kMostBytes)); }

template <typename Value>
std::string difference(const char* what, const Value& made, const Value& wanted) {
  return made == wanted ? "" : std::string(what) + " is " + Json(made).dump() + ", expected " + Json(wanted).dump();
}

// Where `made` leaves `wanted` by more than `tolerance`; NaN does.
std::string distance(const std::vector<float>& made, const std::vector<double>& wanted, double tolerance) {
  if (made.size() != wanted.size()) {
    return std::to_string(made.size()) + " values, expected " + std::to_string(wanted.size());
  }
  for (size_t index = 0; index < made.size(); ++index) {
    const double apart = std::fabs(static_cast<double>(made[index]) - wanted[index]);
    if (!(apart <= tolerance)) {
      return "value " + std::to_string(index) + " is " + Json(made[index]).dump() + ", expected " + Json(wanted[index]).dump();
    }
  }
  return "";
}

std::string prompt_problem(const Prompt& made, const Json& wanted) {
  const auto tokens = wanted.at("tokens").get<int64_t>();
  std::vector<float> mask(made.ids.size(), 0.0f);
  std::fill_n(mask.begin(), std::min<size_t>(static_cast<size_t>(tokens), mask.size()), 1.0f);
  std::string problem = difference("ids", made.ids, wanted.at("ids").get<std::vector<int32_t>>());
  if (problem.empty()) problem = difference("mask", made.mask, mask);
  if (problem.empty()) problem = difference("tokens", made.tokens, tokens);
  if (problem.empty()) problem = difference("dropped", made.dropped, wanted.at("dropped").get<int64_t>());
  if (problem.empty()) problem = difference("unknown", made.unknown, wanted.at("unknown").get<int64_t>());
  return problem;
}

void replay_tokenizer(const fs::path& folder, const Json& document, Cases& cases) {
  const Tokenizer tokenizer = load_tokenizer(folder / document.at("model").get<std::string>());
  for (const Json& item : document.at("cases")) {
    const std::vector<int32_t> made = tokenizer.encode(item.at("text").get<std::string>());
    cases.add(item.at("text").dump(-1, ' ', true), difference("ids", made, item.at("ids").get<std::vector<int32_t>>()));
  }
  const auto length = document.at("length").get<int64_t>();
  for (const Json& item : document.at("prompts")) {
    const Prompt made = tokenizer.encode_prompt(item.at("text").get<std::string>(), length);
    cases.add("prompt " + item.at("text").dump(-1, ' ', true), prompt_problem(made, item));
  }
}

// A draw is recorded by its first and its last values, as PyTorch gives them, and by the hash of what all of them are here.
std::string draw_problem(const std::vector<float>& made, const Json& draw, double tolerance) {
  const auto first = draw.at("first").get<std::vector<double>>(), last = draw.at("last").get<std::vector<double>>();
  if (first.empty() || first.size() > made.size() || last.size() != first.size()) return "its values do not fit its shape";
  const auto kept = static_cast<int64_t>(first.size());
  const std::string problem = distance({made.begin(), made.begin() + kept}, first, tolerance);
  if (!problem.empty()) return problem;
  const std::string at_end = distance({made.end() - kept, made.end()}, last, tolerance);
  if (!at_end.empty()) return at_end;
  const std::string bits(reinterpret_cast<const char*>(made.data()), made.size() * sizeof(float));
  return difference("sha256", sha256(bits), draw.at("sha256").get<std::string>());
}

void replay_noise(const fs::path&, const Json& document, Cases& cases) {
  for (const Json& item : document.at("cases")) {
    const auto seed = item.at("seed").get<int64_t>();
    TorchRandom source(seed);
    int index = 0;
    for (const Json& draw : item.at("draws")) {
      size_t count = 1;
      for (const Json& size : draw.at("shape")) count *= size.get<size_t>();
      const std::string name = "seed " + std::to_string(seed) + ", draw " + std::to_string(++index);
      cases.add(name, draw_problem(source.randn(count), draw, document.at("tolerance").get<double>()));
    }
  }
}

void replay_sigmas(const fs::path&, const Json& document, Cases& cases) {
  const auto logsnr = document.at("logsnr").get<std::vector<double>>();
  const Sampler& pingpong = *find_sampler("pingpong");
  for (const Json& item : document.at("cases")) {
    const auto steps = item.at("steps").get<int64_t>();
    const std::vector<float> made = pingpong.sigmas(steps, 1, {{"logsnr_low", logsnr.at(0)}, {"logsnr_high", logsnr.at(1)}});
    const auto wanted = item.at("sigmas").get<std::vector<double>>();
    cases.add(std::to_string(steps) + " steps", distance(made, wanted, document.at("tolerance").get<double>()));
  }
}

// [channels][samples] as a tensor.
Tensor tensor_of(const Json& rows) {
  Tensor tensor{"float32", {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows.at(0).size())}, {}};
  for (const Json& row : rows) {
    if (row.size() != rows.at(0).size()) throw std::invalid_argument("the channels differ in length");
    for (const Json& value : row) {
      uint8_t bytes[sizeof(float)];
      const auto sample = static_cast<float>(value.get<double>());
      std::memcpy(bytes, &sample, sizeof sample);
      tensor.bytes.insert(tensor.bytes.end(), bytes, bytes + sizeof bytes);
    }
  }
  return tensor;
}

void replay_wav(const fs::path&, const Json& document, Cases& cases) {
  for (const Json& item : document.at("cases")) {
    const bool float32 = item.at("float32").get<bool>();
    const Tensor audio = tensor_of(item.at("audio"));
    const std::string made = to_base64(wav_bytes(audio, item.at("sample_rate").get<int64_t>(), float32));
    const std::string name = Json(audio.shape).dump() + (float32 ? " of 32-bit floats" : " of 16 bits");
    cases.add(name, difference("the file", made, item.at("wav").get<std::string>()));
  }
}

using Replay = void (*)(const fs::path& folder, const Json& document, Cases& cases);

// Every file of the folder is replayed, or is what another refers to: none is passed over in silence.
bool replay_golden(const fs::path& folder) {
  static const std::map<std::string, Replay> kReplays = {
      {"noise.json", replay_noise}, {"sigmas.json", replay_sigmas}, {"t5.json", nullptr},
      {"tokenizer.json", replay_tokenizer}, {"wav.json", replay_wav}};
  bool well = true;
  for (const auto& [file, replay] : kReplays) {
    if (replay == nullptr) continue;
    Cases cases(file);
    try {
      replay(folder, document_at(folder / file), cases);
    } catch (const std::exception& error) {
      cases.add("cannot be replayed", error.what());
    }
    well = cases.sum_up() && well;
  }
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".json" || kReplays.count(name) != 0) continue;
    std::cout << name << ": edge-replay does not know this file\n";
    well = false;
  }
  return well;
}

using Words = std::vector<std::string>;

bool tokenize(const fs::path& file) {
  const Tokenizer tokenizer = load_tokenizer(file);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Json(tokenizer.encode(parse_json(line).get<std::string>())).dump() << "\n";
  }
  return true;
}

bool check_manifest(const fs::path& file) {
  try {
    parse_manifest(read_file(file, kMostBytes));
    std::cout << "ok\n";
    return true;
  } catch (const Error& error) {  // a reader throws nothing else
    std::cout << error.what() << "\n";
    return false;
  }
}

bool open(const fs::path& folder, bool check) {
  std::cout << open_bundle(folder, check).hashed_bytes << "\n";
  return true;
}

bool estimate(const fs::path& file, const std::string& seconds, const std::string& packed) {
  static const std::map<std::string, Packed> kPacked = {
      {"each", Packed::kForEach}, {"once", Packed::kOnce}, {"mapped", Packed::kMapped}};
  const Manifest manifest = parse_manifest(read_file(file, kMostBytes));
  Request request = manifest.golden.request;
  request.seconds = std::stod(seconds);
  const Estimate made = estimate_request(manifest, request, [&](auto&) { return kPacked.at(packed); });
  std::cout << made.mapped_bytes << " " << made.private_bytes << "\n";
  return true;
}

bool hash(const fs::path& file) {
  using Clock = std::chrono::steady_clock;
  const std::string bytes = read_file(file, kMostHashed);
  for (const Sha256Way& way : sha256_ways()) {
    const auto begun = Clock::now();
    const std::string made = sha256(bytes, way);
    const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    std::cout << way.name << " " << made << " " << static_cast<double>(bytes.size()) / 1e6 / seconds << "\n";
  }
  if (sha256_of(file) != sha256(bytes)) throw std::runtime_error(file.string() + " hashes to another value piece by piece");
  return true;
}

bool features(const fs::path& file) {
  for (const std::string& name : features_of_all(read_file(file, kMostBytes))) std::cout << name << "\n";
  return true;
}

bool cores(const fs::path& root, const Words& numbers) {
  std::vector<int> allowed;
  for (const std::string& number : numbers) allowed.push_back(std::stoi(number));
  std::cout << fast_cores(root, allowed) << "\n";
  return true;
}

bool memory(const fs::path& root) {
  const auto available = memory_available(root);
  std::cout << (available ? std::to_string(*available) : "unsaid") << "\n";
  return true;
}

// Of each file in turn, the others too where one is bad.
bool each(const Words& files, bool (*use)(const fs::path&)) {
  return std::count_if(files.begin(), files.end(), [&](auto& file) { return !use(file); }) == 0;
}

int run(const Words& words) {
  const std::string verb = words.empty() ? "" : words[0];
  const Words rest(words.begin() + !words.empty(), words.end());
  static const std::map<std::string, bool (*)(const fs::path&)> kOfOne = {
      {"golden", replay_golden}, {"tokenize", tokenize}, {"features", features}, {"memory", memory}};
  static const std::map<std::string, bool (*)(const fs::path&)> kOfMany = {{"manifest", check_manifest}, {"sha256", hash}};
  if (const auto found = kOfOne.find(verb); found != kOfOne.end() && rest.size() == 1) return found->second(rest[0]) ? 0 : 1;
  if (const auto found = kOfMany.find(verb); found != kOfMany.end() && !rest.empty()) return each(rest, found->second) ? 0 : 1;
  if (verb == "open" && (rest.size() == 1 || (rest.size() == 2 && rest[1] == "check"))) {
    return open(rest[0], rest.size() == 2) ? 0 : 1;
  }
  if (verb == "estimate" && rest.size() == 3) return estimate(rest[0], rest[1], rest[2]) ? 0 : 1;
  if (verb == "cores" && rest.size() >= 2) return cores(rest[0], {rest.begin() + 1, rest.end()}) ? 0 : 1;
  std::cerr << kUsage << "\n";
  return 2;
}

}  // namespace
}  // namespace edge

int main(int count, char** words) {
  try {
    return edge::run({words + 1, words + count});
  } catch (const std::exception& error) {
    std::cerr << "edge-replay: error: " << error.what() << "\n";
    return 1;
  }
}
