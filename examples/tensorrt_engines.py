"""Build TensorRT engines of a model, load them, and ask.

    python examples/tensorrt_engines.py OUTPUT [--model BUNDLE] [--target sm_86] [--precision fp16]

OUTPUT becomes a bundle: that of the model with its ONNX graphs and the engines. TensorRT-RTX
builds for its targets on a machine without a GPU, but no engine runs there.

Exit codes: 0 engines were built and answered, 1 they were not built, 3 they were, but do not run
here.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import tokenfuse_sdk as tf
from tokenfuse_export.tensorrt.build import build_engines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help="a new folder")
    parser.add_argument("--model", default="scenes-nano", help="or a bundle's path")
    parser.add_argument("--target", default="current", help="a compute capability, as sm_86")
    parser.add_argument("--precision", default="fp16")
    arguments = parser.parse_args()
    try:
        reports = build_engines(
            arguments.model,
            arguments.output,
            precision=arguments.precision,
            targets=[arguments.target],
        )
    except tf.TokenfuseError as error:
        print(f"not built: {error}", file=sys.stderr)
        return 1
    for report in reports:
        for graph, engine in report.engines.items():
            print(
                f"{report.name} {graph}: {engine.engine_bytes / 1e6:.1f} MB, "
                f"{engine.num_fused_attentions} attentions are one kernel each, of "
                f"{engine.num_attentions * engine.num_profiles}"
            )
    try:
        with tf.load(arguments.output, backend="tensorrt", precision=arguments.precision) as model:
            for picture in tf.example_images():
                answer = model.answer(picture, "how many things are there?")
                print(f"{picture.name}: {answer.text}, in {answer.timings.total_ms:.2f} ms")
    except tf.TokenfuseError as error:
        print(f"built, but not run: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
