// The command line: parses, calls, prints. The only place that prints, and the only place that exits.
#include <CLI/CLI.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <optional>
#include <random>

#include "audio.h"
#include "caches.h"
#include "engine.h"
#include "errors.h"
#include "files.h"
#include "generator.h"
#include "golden.h"
#include "machine.h"
#include "packed_weights.h"
#include "record.h"
#include "replay.h"
#include "tags.h"

namespace edge {
namespace {

struct Options {
  std::string bundle, prompt, out, record, dump, label, cache;
  double seconds = 0;
  int64_t seed = 0, steps = 0;
  int threads = 0;
  bool golden = false, float32 = false, check = false, force = false;
  bool normalize = false, no_fade = false, no_tags = false, drawn = false, no_cache = false;
};

[[noreturn]] void fail(const std::string& message, int code) {
  if (code != ReaderGone::kExitCode) std::fprintf(stderr, "edge-run: error: %s\n", one_line(message).c_str());
  std::exit(code);
}

// A closed descriptor is taken before anything else: the next file to be opened would get it, and whatever is printed
// into it. A closed standard output becomes one that cannot be written. A pipe's reader that leaves is an error of
// the write, and of a note none at all.
void open_streams() {
  for (const int descriptor : {0, 1, 2}) {
    if (fcntl(descriptor, F_GETFD) >= 0) continue;
    if (open("/dev/null", descriptor == 2 ? O_WRONLY : O_RDONLY) < 0) std::exit(OutputError::kExitCode);
  }
  std::signal(SIGPIPE, SIG_IGN);
}

// The help or the version: it is the result, and an error where it cannot be written.
int show(const CLI::App& app, const CLI::Success& success) {
  const int code = app.exit(success);
  std::cout.flush();
  if (std::cout) return code;
  if (errno == EPIPE) return ReaderGone::kExitCode;
  fail(std::string("cannot write to standard output: ") + std::strerror(errno) + "; send it elsewhere", OutputError::kExitCode);
}

// Whether an option was given; its value alone cannot tell.
bool given(const CLI::App& app, const std::string& name) { return app.get_option(name)->count() > 0; }

// `word`, or a number in place of "random".
std::string drawn_seed(const std::string& word, Options& options) {
  if (word != "random") return word;
  options.drawn = true;
  return std::to_string(std::random_device{}() & 0xFFFFFFFF);
}

void describe(CLI::App& app, Options& options) {
  app.set_version_flag("--version", std::string("edge-run ") + EDGE_VERSION + " (ExecuTorch " EDGE_ENGINE_VERSION ")");
  app.add_option("--bundle", options.bundle, "A folder made by `edge-export build`")->type_name("DIR")->required();
  app.add_option("--prompt", options.prompt, "What to play")->type_name("TEXT");
  app.add_option("--seconds", options.seconds, "Length of the clip; 7, or the model's whole clip if shorter")->type_name("S");
  app.add_option("--seed", options.seed, "The same seed gives the same sound; 0. random: draw one")->type_name("N|random");
  app.get_option("--seed")->transform([&options](const std::string& word) { return drawn_seed(word, options); }, "", "");
  app.add_option("--steps", options.steps, "Sampling steps; by default the bundle's")->type_name("N");
  app.add_option("--threads", options.threads, "CPU threads; by default one for each fast core")->type_name("N");
  app.add_option("--out", options.out, "The WAV to write, over an old one; - for stdout")->type_name("FILE");
  app.add_flag("--float", options.float32, "Write 32-bit float samples instead of 16-bit");
  app.add_flag("--normalize", options.normalize, "Bring the peak to -1 dBFS");
  app.add_flag("--no-fade", options.no_fade, "Do not let the last 5 ms of a cut clip fall to silence");
  app.add_flag("--no-tags", options.no_tags, "Write the sound alone, without its prompt and how to make it again");
  app.add_option("--record", options.record, "Also write what `edge-export compare` reads")->type_name("FILE");
  app.add_option("--dump", options.dump, "Also write every tensor as .npy")->type_name("DIR");
  app.add_flag("--golden", options.golden, "Replay the bundle's golden vectors: every stage gets the reference's inputs");
  app.add_flag("--check", options.check, "Hash every file of the bundle again, whatever is known of it");
  app.add_flag("--force", options.force, "Begin even where the system says that there is too little memory");
  app.add_option("--cache", options.cache, "Where packed weights are kept for the next start; by default the user's cache")
      ->type_name("DIR");
  app.add_flag("--no-cache", options.no_cache, "Pack weights anew, and keep nothing");
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
  if (options.no_cache && given(app, "--cache")) throw UsageError("--cache and --no-cache exclude each other");
  if (given(app, "--cache") && options.cache.empty()) throw UsageError("--cache names no folder; leave it out, or give --no-cache");
  if (given(app, "--threads") && (options.threads < 1 || options.threads > kMostThreads)) {
    throw UsageError("threads is " + std::to_string(options.threads) + ", expected 1 to " + std::to_string(kMostThreads));
  }
}

Request request_of(const CLI::App& app, const Options& options, const GenerationSpec& spec) {
  Request request{options.prompt, default_seconds(spec), options.seed, std::nullopt};
  if (given(app, "--seconds")) request.seconds = options.seconds;
  if (given(app, "--steps")) request.steps = options.steps;
  return request;
}

bool ends_in_wav(const std::filesystem::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char letter) { return std::tolower(letter); });
  return ending == ".wav";
}

// Only WAVs are written: by the name, or by that of what a link leads to; into a pipe or a device whatever its name.
void check_format(const std::string& out) {
  std::error_code failed;
  std::filesystem::path led = out;
  for (int links = 0; links < 40 && std::filesystem::is_symlink(led, failed); ++links) {
    led = led.parent_path() / std::filesystem::read_symlink(led, failed);
  }
  if (ends_in_wav(out) || ends_in_wav(led) || is_stream(out)) return;
  throw UsageError(out + " names no kind of sound file: end it in .wav");
}

// An Arm CPU that lacks what the target needs is refused; one of another kind is not held to Arm's names.
void require_cpu(const TargetSpec& target, const Machine& machine) {
  std::string missing;
  for (const std::string& feature : target.cpu_features) {
    const auto& found = machine.cpu_features;
    if (std::find(found.begin(), found.end(), feature) == found.end()) missing += (missing.empty() ? "" : ", ") + feature;
  }
  if (machine.is_arm() && !missing.empty()) {
    throw DeviceError("this CPU lacks what target " + target.name + " needs: " + missing + "; build for another target");
  }
}

// Keeps every event, and says that it is done.
OnEvent reporting(Recorder& recorder, int64_t total) {
  return [&recorder, total, done = int64_t{0}](Event event) mutable {
    std::fprintf(stderr, "[%lld/%lld] %s %lld of %lld: %.2f s\n", static_cast<long long>(++done),
                 static_cast<long long>(total), event.stage.c_str(), static_cast<long long>(event.index),
                 static_cast<long long>(event.count), event.load + event.run);
    recorder.add(std::move(event));
  };
}

// Play, and return the tensors of the run by the names of the golden vectors.
Tensors played(const Generator& generator, const OpenProgram& open_program, const RunInfo& run, Recorder& recorder) {
  const GenerationSpec& spec = generator.spec();
  const Request& request = run.request;
  const OpenProgram programs = Recorder::watched(open_program);
  const int64_t steps = *request.resolved(spec).steps;
  if (run.golden) {
    Tensors tensors = read_golden(generator.bundle());
    generator.prove(programs, tensors, reporting(recorder, event_count(spec, steps, spec.latent.samples())));
    return replayed(std::move(tensors), recorder.events());
  }
  const int64_t samples = samples_in(request.seconds, spec.audio.sample_rate);
  generator.generate(programs, request, reporting(recorder, event_count(spec, steps, samples)));
  return tensors_of(spec, request, generator.encode(request), recorder.events());
}

WavReport write_sound(const Options& options, const Bundle& bundle, const RunInfo& run, const Tensor& audio) {
  const GenerationSpec& spec = bundle.manifest.generation;
  const int64_t sample_rate = spec.audio.sample_rate;
  const Finishing finishing{options.normalize, !options.no_fade};
  const bool cut = audio.shape[1] < spec.latent.samples();
  const Tags tags{bundle.manifest_sha256, run.request.resolved(spec), finishing};
  WavReport report = write_wav(options.out, finished(audio, sample_rate, finishing, cut), sample_rate, options.float32,
                               options.no_tags ? "" : info_chunk(tags));
  report.finishing = finishing;
  return report;
}

std::optional<WavReport> write_outputs(const Options& options, const Bundle& bundle, const RunInfo& run,
                                       const Recorder& recorder, const Tensors& tensors) {
  std::optional<WavReport> wav;
  if (!options.out.empty()) wav = write_sound(options, bundle, run, tensors.at("audio"));
  if (!options.dump.empty()) dump_tensors(options.dump, tensors);
  if (!options.record.empty()) replace_file(options.record, dump_record(bundle, run, recorder, tensors, wav));
  return wav;
}

void play(const CLI::App& app, const Options& options) {
  check(app, options);
  check_outputs({options.out, options.record}, options.bundle);
  if (!options.out.empty()) check_format(options.out);
  if (!options.dump.empty()) refuse_inside(options.dump, options.bundle);
  if (!options.cache.empty()) refuse_inside(options.cache, options.bundle);
  const Generator generator(options.bundle, options.check);
  const Manifest& manifest = generator.bundle().manifest;
  PackedWeights kept(options.cache.empty() ? cache_folder("weights") : std::filesystem::path(options.cache));
  PackedWeights* const cache = options.no_cache ? nullptr : &kept;
  const OpenProgram programs = bundle_programs(generator.bundle(), cache);
  RunInfo run;
  run.request = options.golden ? manifest.golden.request : request_of(app, options, manifest.generation);
  check_request(run.request, manifest.generation);
  run.golden = options.golden;
  run.label = options.label;
  run.open_seconds = generator.open_seconds();
  run.machine = this_machine();
  require_cpu(manifest.target, run.machine);
  Request whole = run.request;  // of which golden vectors always are
  if (options.golden) whole.seconds = manifest.generation.seconds_of(manifest.generation.latent.samples());
  if (!options.force) refuse_little_memory(generator.estimate(whole, packed_places(generator.bundle(), cache)), memory_available());
  set_threads(options.threads);
  run.threads = thread_count();
  if (options.drawn) {
    const auto seed = static_cast<long long>(options.seed);
    std::fprintf(stderr, "edge-run: note: seed %lld was drawn: --seed %lld gives this sound again\n", seed, seed);
  }
  Recorder recorder;
  const Tensors tensors = played(generator, programs, run, recorder);
  if (!options.cache.empty() && !kept.trouble().empty()) {
    std::fprintf(stderr, "edge-run: note: %s; the sound is the same, the next start no faster\n", one_line(kept.trouble()).c_str());
  }
  const auto wav = write_outputs(options, generator.bundle(), run, recorder, tensors);
  if (wav && wav->clipped > 0) {
    std::fprintf(stderr, "edge-run: note: %lld samples beyond full scale were clipped (peak %.2f); --float keeps them\n",
                 static_cast<long long>(wav->clipped), wav->peak);
  }
  const bool beside = is_stdout(options.out) || is_stdout(options.record);  // nothing else may go there then
  std::fprintf(beside ? stderr : stdout, "Played %.3f s, opened in %.2f s, first audio after %.2f s%s%s\n",
              manifest.generation.seconds_of(tensors.at("audio").shape[1]), generator.open_seconds(),
              first_audio(recorder.events()), options.out.empty() ? "" : "; wrote ", options.out.c_str());
}

}  // namespace
}  // namespace edge

int main(int count, char** arguments) {
  edge::open_streams();
  edge::Options options;
  CLI::App app{"Plays a bundle: a prompt in, a WAV out, everything on this device.", "edge-run"};
  edge::describe(app, options);
  try {
    app.parse(count, arguments);
    edge::play(app, options);
  } catch (const CLI::Success& success) {  // --help, --version
    return edge::show(app, success);
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
