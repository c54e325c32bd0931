// edge-replay: holds this build's arithmetic against the golden vectors that every runtime replays, on any device.
//
//   edge-replay golden FOLDER        tests/fixtures/golden; a line for each file, and one for each case that is off
//   edge-replay tokenize FILE        texts as JSON strings on stdin, one a line; their ids as JSON lists on stdout
//   edge-replay manifest FILE...     ok, or the one line of error, for each file
//   edge-replay tokenizer FILE...    the same for tokenizers
//
// Exit code 1 when a case is off or a file is refused. It needs no ExecuTorch.
#include <cmath>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "audio.h"
#include "base64.h"
#include "errors.h"
#include "manifest.h"
#include "random.h"
#include "sampler.h"
#include "sha256.h"
#include "strict_json.h"
#include "tokenizer.h"

namespace edge {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxBytes = 64 << 20;

// Cases of one file, and how many of them were off.
class Tally {
 public:
  explicit Tally(std::string name) : name_(std::move(name)) {}
  void hold(bool right, const std::string& what) {
    ++cases_;
    if (right) return;
    ++off_;
    std::cout << name_ << ": " << what << " is off\n";
  }
  bool done() const {
    std::cout << name_ << ": " << cases_ - off_ << " of " << cases_ << '\n';
    return off_ == 0 && cases_ > 0;
  }

 private:
  std::string name_;
  int cases_ = 0, off_ = 0;
};

bool near(const std::vector<float>& made, const std::vector<double>& expected, double tolerance) {
  if (made.size() != expected.size()) return false;
  for (size_t index = 0; index < made.size(); ++index) {
    if (!(std::fabs(made[index] - expected[index]) <= tolerance)) return false;
  }
  return true;
}

std::string_view bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

void replay_tokenizer(const Json& document, const fs::path& folder, Tally& tally) {
  const Tokenizer tokenizer = load_tokenizer(folder / document.at("model").get<std::string>());
  for (const Json& each : document.at("cases")) {
    tally.hold(tokenizer.encode(each.at("text")) == each.at("ids").get<std::vector<int32_t>>(), each.at("text").dump());
  }
  for (const Json& each : document.at("prompts")) {
    const Prompt made = tokenizer.encode_prompt(each.at("text"), document.at("length"));
    const bool ids = made.ids == each.at("ids").get<std::vector<int32_t>>();
    const bool counts = made.tokens == each.at("tokens") && made.dropped == each.at("dropped") && made.unknown == each.at("unknown");
    tally.hold(ids && counts, "prompt " + each.at("text").dump());
  }
}

void replay_noise(const Json& document, const fs::path&, Tally& tally) {
  const double tolerance = document.at("tolerance");
  for (const Json& each : document.at("cases")) {
    TorchRandom source(each.at("seed").get<uint64_t>());
    for (const Json& draw : each.at("draws")) {
      size_t count = 1;
      for (const Json& size : draw.at("shape")) count *= size.get<size_t>();
      const std::vector<float> made = source.randn(count);
      const auto first = draw.at("first").get<std::vector<double>>(), last = draw.at("last").get<std::vector<double>>();
      const bool sized = first.size() <= count && last.size() <= count;
      const bool right = sized && near({made.begin(), made.begin() + static_cast<ptrdiff_t>(first.size())}, first, tolerance) &&
                         near({made.end() - static_cast<ptrdiff_t>(last.size()), made.end()}, last, tolerance) &&
                         sha256(std::string(bytes_of(made))) == draw.at("sha256");
      tally.hold(right, "seed " + each.at("seed").dump() + ", shape " + draw.at("shape").dump());
    }
  }
}

void replay_sigmas(const Json& document, const fs::path&, Tally& tally) {
  const auto range = document.at("logsnr").get<std::vector<double>>();
  for (const Json& each : document.at("cases")) {
    const auto made = sigmas(each.at("steps"), range.at(0), range.at(1));
    tally.hold(near(made, each.at("sigmas"), document.at("tolerance")), each.at("steps").dump() + " steps");
  }
}

void replay_wav(const Json& document, const fs::path&, Tally& tally) {
  int index = 0;
  for (const Json& each : document.at("cases")) {
    const auto audio = each.at("audio").get<std::vector<std::vector<float>>>();
    Tensor tensor{"float32", {static_cast<int64_t>(audio.size()), static_cast<int64_t>(audio.at(0).size())}, {}};
    for (const auto& channel : audio) {
      const auto bytes = bytes_of(channel);
      tensor.bytes.insert(tensor.bytes.end(), bytes.begin(), bytes.end());
    }
    const bool right = wav_bytes(tensor, each.at("sample_rate"), each.at("float32")) == from_base64(each.at("wav").get<std::string>());
    tally.hold(right, "case " + std::to_string(index++));
  }
}

int replay_golden(const fs::path& folder) {
  const std::map<std::string, std::function<void(const Json&, const fs::path&, Tally&)>> files = {
      {"tokenizer", replay_tokenizer}, {"noise", replay_noise}, {"sigmas", replay_sigmas}, {"wav", replay_wav}};
  bool right = true;
  for (const auto& [name, replay] : files) {
    Tally tally(name);
    replay(parse_json(read_file(folder / (name + ".json"), kMaxBytes)), folder, tally);
    right = tally.done() && right;
  }
  return right ? 0 : 1;
}

int tokenize(const fs::path& path) {
  const Tokenizer tokenizer = load_tokenizer(path);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Json(tokenizer.encode(parse_json(line).get<std::string>())).dump() << '\n';
  }
  return 0;
}

int read_all(int count, char** paths, const std::function<void(const std::string&, const std::string&)>& read) {
  int code = 0;
  for (int index = 0; index < count; ++index) {
    try {
      read(read_file(paths[index], kMaxBytes), paths[index]);
      std::cout << "ok\n";
    } catch (const Error& error) {
      std::cout << error.what() << '\n';
      code = 1;
    }
  }
  return code;
}

int run(int count, char** words) {
  const std::string what = count > 2 ? words[1] : "";
  if (what == "golden") return replay_golden(words[2]);
  if (what == "tokenize") return tokenize(words[2]);
  if (what == "manifest") return read_all(count - 2, words + 2, [](const auto& text, const auto&) { parse_manifest(text); });
  if (what == "tokenizer") return read_all(count - 2, words + 2, [](const auto& text, const auto& name) { parse_tokenizer(text, name); });
  throw UsageError("say golden FOLDER, tokenize FILE, manifest FILE... or tokenizer FILE...");
}

}  // namespace
}  // namespace edge

int main(int count, char** words) {
  try {
    return edge::run(count, words);
  } catch (const edge::Error& error) {
    std::cerr << "edge-replay: error: " << error.what() << '\n';
    return error.exit_code;
  } catch (const std::exception& error) {
    std::cerr << "edge-replay: error: " << error.what() << "; these are no golden vectors of this version\n";
    return 1;
  }
}
