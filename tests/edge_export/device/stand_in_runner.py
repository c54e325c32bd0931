"""Takes edge-run's options, and writes what it would: STAND_IN_RUNNER names what goes wrong."""

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
told = None
if "out" in options:
    Path(options["out"]).write_bytes(wav)
    told = {"sha256": hashlib.sha256(wav if mode != "other-wav" else b"").hexdigest(), "bytes": len(wav)}
stages = [
    {"stage": stage, "index": 1, "count": 1, "load": 0.01, "run": 0.02, "peak_rss_mb": 56.1}
    for stage in ("conditioner", "dit", "decoder")
]
bundle = sorted(path.name for path in Path(options["bundle"]).iterdir())
record = {"stages": stages, "wav": told, "given": options, "bundle": bundle, "set": os.environ.get("STAND_IN")}
text = json.dumps(record | {"tensors": {}})
Path(options["record"]).write_text(text[:20] if mode == "half" else text)
print("edge-run: note: 3 samples beyond full scale were clipped (peak 1.20); --float keeps them", file=sys.stderr)
