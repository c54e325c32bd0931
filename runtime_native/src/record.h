// The record of a run, which `edge-export compare` holds against the reference: where it ran, times, memory, every
// tensor. The contract is runtime_py/record.py's.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "audio.h"
#include "bundle.h"
#include "loop.h"
#include "machine.h"

namespace edge {

// All of a record but its tensors and its WAV. label: as `device run --on` names the place, or empty. golden: every
// stage got the reference's inputs. open_seconds: opening the bundle, which belongs to no stage.
struct RunInfo {
  Request request;
  bool golden = false;
  std::string label;
  Machine machine;
  int threads = 0;
  double open_seconds = 0;
};

// Keeps the events of a run as they pass, and the most memory of each stage.
class Recorder {
 public:
  // The same programs; memory is counted anew when one begins to load, where the system can.
  static OpenProgram watched(OpenProgram open_program);
  void add(Event event);

  const Events& events() const { return events_; }
  const std::vector<double>& peaks_mb() const { return peaks_mb_; }

 private:
  Events events_;
  std::vector<double> peaks_mb_;
};

// The record's JSON text. `wav`: what was written, if anything was.
std::string dump_record(const Bundle& bundle, const RunInfo& run, const Recorder& recorder, const Tensors& tensors,
                        const std::optional<WavReport>& wav);

// Every tensor as FOLDER/<name>.npy. OutputError when the folder cannot be made or a file not be written.
void dump_tensors(const std::filesystem::path& folder, const Tensors& tensors);

}  // namespace edge
