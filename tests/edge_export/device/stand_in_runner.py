"""Takes edge-run's options, and writes what it would: STAND_IN_RUNNER names what goes wrong.

STAND_IN_RECORD is the record but for label and WAV; to STAND_IN_GIVEN it writes what it was given.
"""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

options = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:])
mode = os.environ.get("STAND_IN_RUNNER", "")
print("[1/2] conditioner 1 of 1: 0.01 s", file=sys.stderr, flush=True)
if mode == "refuse":
    print("edge-run: error: manifest.json: seal: was altered; copy the bundle again", file=sys.stderr)
    sys.exit(4)
if mode == "hang":
    Path(os.environ["STAND_IN_STARTED"]).write_text(str(os.getpid()))
    time.sleep(600)
if mode.startswith("SIG"):
    os.kill(os.getpid(), getattr(signal, mode))
wav = b"RIFF" + b"sound" * 100
record = json.loads(Path(os.environ["STAND_IN_RECORD"]).read_text())
record["label"] = options["label"]
if "out" in options:
    Path(options["out"]).write_bytes(wav)
    sha256 = hashlib.sha256(wav if mode != "other-wav" else b"").hexdigest()
    form = {"sample_rate": 8000, "channels": 2, "samples": 100, "peak": 1.2, "clipped": 3, "float32": False}
    more = {"finishing": {"normalize": False, "fade": True}, "tags": True, "format": "wav"}
    record["wav"] = {"sha256": sha256, "bytes": len(wav), **form, **more}
if mode == "other-version":
    record["record_version"] += 1
if mode == "other-bundle":
    record["bundle"]["manifest_sha256"] = "0" * 64
if mode == "other-label":
    record["label"] = "adb:ANOTHER"
if mode == "no-wav":
    record["wav"] = None
text = json.dumps(record)
Path(options["record"]).write_text(text[:20] if mode == "half" else text)
bundle = sorted(path.name for path in Path(options["bundle"]).iterdir())
given = {"options": options, "bundle": bundle, "STAND_IN": os.environ.get("STAND_IN")}
Path(os.environ["STAND_IN_GIVEN"]).write_text(json.dumps(given))
print("edge-run: note: 3 samples beyond full scale were clipped (peak 1.20); --float keeps them", file=sys.stderr)
