// The command line: parses, calls, prints. The only place that prints, and the only place that exits.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <iostream>

#include "audio.h"
#include "bundle.h"
#include "device.h"
#include "errors.h"
#include "generate.h"
#include "record.h"
#include "safetensors.h"

namespace edge {
namespace {

struct Options {
  std::string bundle, prompt, out, record, dump, label;
  double seconds = 0;
  uint64_t seed = 0;
  int steps = 0, threads = 0;
  bool golden = false, float32 = false;
};

constexpr int kMostThreads = 256;

[[noreturn]] void fail(const std::string& message, int code) {
  std::fprintf(stderr, "edge-run: error: %s\n", one_line(message).c_str());
  std::exit(code);
}

// Whether an option was given; its value alone cannot tell.
bool given(const CLI::App& app, const std::string& name) { return app.get_option(name)->count() > 0; }

void describe(CLI::App& app, Options& options) {
  app.set_version_flag("--version", std::string("edge-run ") + EDGE_VERSION + " (ExecuTorch " EDGE_ENGINE_VERSION ")");
  app.add_option("--bundle", options.bundle, "A folder made by `edge-export build`")->type_name("DIR")->required();
  app.add_option("--prompt", options.prompt, "What to play")->type_name("TEXT");
  app.add_option("--seconds", options.seconds, "Length of the clip; 7, or the model's whole clip if shorter")->type_name("S");
  app.add_option("--seed", options.seed, "The same seed gives the same sound; 0")->type_name("N");
  app.add_option("--steps", options.steps, "Sampling steps; by default the bundle's")->type_name("N");
  app.add_option("--threads", options.threads, "CPU threads; by default as many as help")->type_name("N");
  app.add_option("--out", options.out, "The WAV to write; an existing one is replaced")->type_name("FILE");
  app.add_flag("--float", options.float32, "Write 32-bit float samples instead of 16-bit");
  app.add_option("--record", options.record, "Also write what `edge-export compare` reads")->type_name("FILE");
  app.add_option("--dump", options.dump, "Also write every tensor as .npy")->type_name("DIR");
  app.add_flag("--golden", options.golden, "Replay the bundle's golden vectors: every stage gets the reference's inputs");
  app.add_option("--label", options.label, "What to call this device in the record")->type_name("TEXT");
  app.footer("Example: edge-run --bundle bundle --prompt \"warm arpeggios on house beats\" --seconds 7 --out x.wav");
}

void check(const CLI::App& app, const Options& options) {
  if (options.golden) {
    for (const char* name : {"--prompt", "--seconds", "--seed", "--steps"}) {
      if (given(app, name)) throw UsageError(std::string(name) + " and --golden exclude each other: the golden request is the bundle's");
    }
  } else if (!given(app, "--prompt")) {
    throw UsageError("--prompt is missing; say what to play, such as --prompt \"warm arpeggios on house beats\"");
  }
  if (options.out.empty() && options.record.empty() && options.dump.empty()) {
    throw UsageError("nothing to write: give --out x.wav, --record run.json or --dump DIR");
  }
  if (!options.out.empty() && options.out == options.record) throw UsageError("--out and --record are one file; name two");
  if (given(app, "--steps") && options.steps < 1) {
    throw UsageError("steps is " + std::to_string(options.steps) + ", expected 1 to 1000; the model is made for 8");
  }
  if (given(app, "--threads") && (options.threads < 1 || options.threads > kMostThreads)) {
    throw UsageError("threads is " + std::to_string(options.threads) + ", expected 1 to " + std::to_string(kMostThreads));
  }
}

Request request_of(const CLI::App& app, const Options& options, const Manifest& manifest) {
  if (options.golden) return golden_request(manifest);
  const double seconds = given(app, "--seconds") ? options.seconds : default_seconds(manifest);
  return Request{options.prompt, seconds, options.seed, options.steps};
}

Heard progress(const Manifest& manifest, const Request& request, bool golden) {
  const double whole = static_cast<double>(manifest.latent.samples()) / static_cast<double>(manifest.audio.sample_rate);
  return [done = 0, total = pieces(manifest, request, golden ? whole : request.seconds)](const Event& event) mutable {
    std::fprintf(stderr, "[%d/%d] %s %d of %d: %.2f s\n", ++done, total, event.stage.c_str(), event.index, event.count,
                 event.load + event.run);
  };
}

Generation made_of(const Bundle& bundle, const Request& request, bool golden) {
  const Heard heard = progress(bundle.manifest, request, golden);
  if (golden) return replay(bundle, read_golden(bundle), heard);
  const Tokenizer tokenizer = load_tokenizer(bundle.path(bundle.manifest.tokenizer));
  const Prompt prompt = encode_prompt(tokenizer, request, bundle.manifest);
  return generate(bundle, request, prompt, heard);
}

void check_outputs(const Options& options) {
  for (const std::string& file : {options.out, options.record}) {
    if (file.empty()) continue;
    const auto folder = std::filesystem::absolute(file).parent_path();
    if (!std::filesystem::is_directory(folder)) {
      throw OutputError("cannot write " + file + ": there is no folder " + folder.string() + "; make it, or write elsewhere");
    }
  }
}

void play(const CLI::App& app, const Options& options) {
  check(app, options);
  check_outputs(options);
  const Bundle bundle = open_bundle(options.bundle);
  if (bundle.manifest.backend != "executorch") {
    throw BundleError(options.bundle + " is a " + bundle.manifest.backend + " bundle, this runner plays executorch ones; build it with --backend executorch");
  }
  Run run;
  run.request = request_of(app, options, bundle.manifest);
  check_request(run.request, bundle.manifest);
  run.golden = options.golden;
  run.label = options.label;
  run.float32 = options.float32;
  run.device = this_device();
  if (run.device.is_arm()) require_cpu(bundle.manifest.target, run.device.cpu_features);
  set_threads(options.threads);
  run.threads = thread_count();
  run.made = made_of(bundle, run.request, options.golden);
  if (!options.out.empty()) {
    run.wav = write_wav(options.out, run.made.audio(), bundle.manifest.audio.sample_rate, options.float32);
  }
  if (!options.dump.empty()) dump_tensors(options.dump, run.made.tensors);
  if (!options.record.empty()) replace_file(options.record, dump_record(bundle, run));
  if (run.wav && run.wav->clipped > 0) {
    std::fprintf(stderr, "edge-run: note: %lld samples beyond full scale were clipped (peak %.2f); --float keeps them\n",
                 static_cast<long long>(run.wav->clipped), run.wav->peak);
  }
  const double length = static_cast<double>(run.made.audio().shape[1]) / static_cast<double>(bundle.manifest.audio.sample_rate);
  std::printf("Played %.3f s, first audio after %.2f s%s%s\n", length, run.made.first_audio(),
              options.out.empty() ? "" : "; wrote ", options.out.c_str());
}

}  // namespace
}  // namespace edge

int main(int count, char** arguments) {
  edge::Options options;
  CLI::App app{"Plays a bundle: a prompt in, a WAV out, everything on this device.", "edge-run"};
  edge::describe(app, options);
  try {
    app.parse(count, arguments);
    edge::play(app, options);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    edge::fail(std::string(error.what()) + "; see edge-run --help", edge::UsageError::kExitCode);
  } catch (const edge::Error& error) {
    edge::fail(error.what(), error.exit_code);
  } catch (const std::bad_alloc&) {
    edge::fail("not enough memory for this; close other programs or take a smaller model", 1);
  } catch (const std::exception& error) {
    edge::fail(error.what(), 1);
  }
  return 0;
}
