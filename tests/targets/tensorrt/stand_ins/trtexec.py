"""A stand-in for trtexec: knows the flags of a release, refuses others, and exports files of the documented form.

Which release it is stands in TRTEXEC_RELEASE; what it was called with goes to the file TRTEXEC_LOG.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

NUMBERS = {"10.3": "100300", "10.13": "101303", "10.16": "101600", "11.4": "110401"}
COMMON = {
    "--onnx",
    "--saveEngine",
    "--timingCacheFile",
    "--loadInputs",
    "--minShapes",
    "--optShapes",
    "--maxShapes",
    "--shapes",
    "--profilingVerbosity",
    "--separateProfileRun",
    "--warmUp",
    "--duration",
    "--percentile",
    "--exportTimes",
    "--exportProfile",
    "--exportLayerInfo",
    "--dynamicPlugins",
}
ONLY_10 = {"--stronglyTyped", "--useCudaGraph", "--noDataTransfers"}


def main() -> int:
    release, given = os.environ["TRTEXEC_RELEASE"], sys.argv[1:]
    print(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{NUMBERS[release]}] # trtexec {' '.join(given)}")
    if given == ["--help"]:
        return 0
    flags = dict(flag.partition("=")[::2] for flag in given)
    known = COMMON | (ONLY_10 if release.startswith("10.") else set())
    if unknown := sorted(set(flags) - known):
        print(f"Unknown option: {unknown[0]}", file=sys.stderr)
        return 1
    if release.startswith("10.") and "--stronglyTyped" not in flags:
        print("a model with casts of its own wants --stronglyTyped", file=sys.stderr)
        return 1
    for pair in flags["--loadInputs"].split(","):
        assert Path(pair.partition(":")[2]).is_file(), pair
    if b"plugin_namespace" in Path(flags["--onnx"]).read_bytes() and "--dynamicPlugins" not in flags:
        print("no plug-in of this name is registered", file=sys.stderr)
        return 1
    Path(os.environ["TRTEXEC_LOG"]).write_text(json.dumps(flags))
    Path(flags["--saveEngine"]).write_bytes(b"engine")
    Path(flags["--timingCacheFile"]).write_bytes(b"cache")
    export(flags)
    return 0


def export(flags: dict[str, str]) -> None:
    times = []
    for run in range(100):
        start, compute = run * 1.0, 0.5 + 0.001 * run
        ends = {"startEnqMs": start, "endEnqMs": start + 0.05, "startH2dMs": start, "endH2dMs": start + 0.01}
        ends |= {"startComputeMs": start + 0.01, "endComputeMs": start + 0.01 + compute}
        ends |= {"startD2hMs": start + 0.01 + compute, "endD2hMs": start + 0.03 + compute}
        times.append({**ends, "h2dMs": 0.01, "computeMs": compute, "d2hMs": 0.02, "latencyMs": 0.03 + compute})
    Path(flags["--exportTimes"]).write_text(json.dumps(times))
    layers = [("conv2d + relu", 0.3), ("linear", 0.1), ("Reformatting CopyNode for Input Tensor 0", 0.1)]
    profile = [{"name": n, "timeMs": 100 * t, "averageMs": t, "medianMs": t, "percentage": 200 * t} for n, t in layers]
    Path(flags["--exportProfile"]).write_text(json.dumps([{"count": 100}, *profile]))
    tensors = {"conv2d + relu": "Int8", "linear": "Half", "Reformatting CopyNode for Input Tensor 0": "Float"}
    info = [
        {
            "Name": name,
            "LayerType": "Reformat" if name.startswith("Reformatting") else "CaskConvolution",
            "Inputs": [{"Name": "in", "Dimensions": [1, 64], "Format/Datatype": f"Row major linear {kind}"}],
            "Outputs": [{"Name": "out", "Dimensions": [1, 64], "Format/Datatype": f"Row major linear {kind}"}],
            "TacticName": "sm80_xmma_fprop",
            "StreamId": 0,
            "Metadata": f"[ONNX Layer: {name}]",
        }
        for name, kind in tensors.items()
    ]
    Path(flags["--exportLayerInfo"]).write_text(json.dumps({"Layers": info, "Bindings": ["x", "output"]}))


if __name__ == "__main__":
    sys.exit(main())
