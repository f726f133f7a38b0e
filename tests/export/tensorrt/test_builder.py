"""One engine: progress, and how a build is stopped."""

from __future__ import annotations

import pytest

from tokenfuse_export.tensorrt import builder
from tokenfuse_export.tensorrt.build_log import BuildLog
from tokenfuse_export.tensorrt.monitor import BuildMonitor
from tokenfuse_export.tensorrt.profiles import profiles_of
from tokenfuse_export.tensorrt.targets import Target
from tokenfuse_sdk.bundle import read_bundle


@pytest.mark.parametrize("error", [KeyboardInterrupt, BrokenPipeError])
def test_what_stops_the_caller_stops_the_builder(trt, built, monkeypatch, error):
    monitors: list[BuildMonitor] = []

    def kept(module: object) -> BuildMonitor:
        monitors.append(BuildMonitor(module))
        return monitors[-1]

    def report(share: float, what: str) -> None:
        if what:  # It has begun.
            raise error

    monkeypatch.setattr(builder, "BuildMonitor", kept)
    config = read_bundle(built.path).config
    # Far more profiles than are built within a tick.
    profiles = profiles_of(config, "text_fusion", batches=range(1, 33), budgets=(2, 4, 8))
    with pytest.raises(error):
        builder.build_engine(
            trt,
            built.path / "onnx/fp16/text_fusion.onnx",
            config=config,
            profiles=profiles,
            target=Target("sm_86", "SM86"),
            timings=None,
            report=report,
        )
    assert [monitor.heeded for monitor in monitors] == [True]


def test_shares_of_nested_phases(trt):
    """By hand: two of four steps, and half of the third."""
    watcher = BuildMonitor(trt.module)
    monitor = watcher.monitor
    monitor.phase_start("all", None, 4)
    assert watcher.state() == (0.0, "all")
    for step in (0, 1):
        assert monitor.step_complete("all", step)
    monitor.phase_start("part", "all", 2)
    assert monitor.step_complete("part", 0)
    assert watcher.state() == (0.625, "part")
    # Where a phase ends before its step counts, what was shown stays.
    monitor.phase_finish("part")
    assert watcher.state()[0] == 0.625
    watcher.stopped = True
    assert not monitor.step_complete("all", 2)
    assert watcher.heeded
    assert watcher.state()[0] == 0.75
    monitor.phase_finish("all")
    assert monitor.phase_start("empty", None, 0) is None


def test_a_stopped_build_gives_nothing(trt):
    log, watcher = BuildLog(trt.module), BuildMonitor(trt.module)
    maker = trt.module.Builder(log.logger)
    network = maker.create_network(0)
    x = network.add_input("x", trt.module.float32, (4, 4))
    network.mark_output(network.add_identity(x).get_output(0))
    settings = maker.create_builder_config()
    settings.progress_monitor = watcher.monitor
    settings.num_compute_capabilities = 1
    settings.set_compute_capability(trt.module.ComputeCapability.SM86, 0)
    assert maker.build_serialized_network(network, settings) is not None
    watcher.stopped = True
    assert maker.build_serialized_network(network, settings) is None
    assert watcher.heeded
    assert any("cancel" in word.lower() for word in log.errors)
