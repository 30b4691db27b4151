"""The pytest plugin: which meshes to test on, the open mesh as a fixture, and the worst correlations at the end.

Every pytest run of an environment with ttfamily loads this module, so it imports nothing that takes time.
"""

from __future__ import annotations

import atexit
import gc
import sys
import traceback
import typing
from typing import TYPE_CHECKING, Any

import pytest

from ttfamily.testing.tally import RUN

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ttfamily.core.mesh.mesh import Mesh

DEFAULT_MESHES = "n150,n300"
PROFILE_EXAMPLES = {"quick": 30, "thorough": 200}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --tt-mesh and --tt-device."""
    group = parser.getgroup("ttfamily", "Tenstorrent meshes")
    group.addoption(
        "--tt-mesh",
        default=DEFAULT_MESHES,
        metavar="NAMES",
        help="Meshes to run tests with the tt_mesh fixture on, with commas between them (default: %(default)s).",
    )
    group.addoption(
        "--tt-device",
        default="simulated",
        choices=("simulated", "hardware", "auto"),
        help="What these meshes are opened on (default: %(default)s).",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register markers, and the hypothesis profile that was asked for if it is one of ours."""
    pytest.register_assert_rewrite("ttfamily.testing.conformance")
    config.addinivalue_line("markers", "tt_simulated: looks into the simulator, so it is skipped on hardware")
    config.addinivalue_line("markers", "tt_meshes(*names): runs on these meshes only, if --tt-mesh asks for them")
    profile = config.getoption("--hypothesis-profile", None)
    if profile in PROFILE_EXAMPLES:
        from hypothesis import HealthCheck, settings

        settings.register_profile(
            profile,
            max_examples=PROFILE_EXAMPLES[profile],
            deadline=None,  # it would measure the machine
            print_blob=True,
            suppress_health_check=(HealthCheck.too_slow,),
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note whose comparisons follow; skip what the device or the mesh rules out."""
    group = getattr(item, "cls", None)
    RUN.group, RUN.test = group.__name__ if group else item.nodeid.partition("::")[0], item.name
    if item.get_closest_marker("tt_simulated") and item.config.getoption("--tt-device") != "simulated":
        pytest.skip("looks into the simulator: run it without --tt-device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Free the tensors that a failed test's frames hold: they would take the mesh's memory from the tests after it."""
    report = yield
    if call.excinfo is not None and not item.config.getoption("usepdb"):
        for error in _with_its_causes(call.excinfo.value):
            traceback.clear_frames(error.__traceback__)
    return report


def _with_its_causes(error: BaseException | None) -> Iterator[BaseException]:
    if error is not None:
        yield error
        for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
            yield from _with_its_causes(other)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show how much each conformance class compared, and the lowest correlation."""
    tallies = {group: tally for group, tally in RUN.tallies.items() if tally.examples}
    if not tallies:
        return
    terminalreporter.section("conformance")
    width = max(map(len, tallies))
    for group, tally in sorted(tallies.items()):
        counts = f"{tally.examples:5} models  {tally.comparisons:6} comparisons"
        worst = f"worst PCC {tally.worst:.6f} in {tally.where}" if tally.comparisons else "nothing compared"
        like = f", {tally.excused} below the bound where bfloat16 itself is" if tally.excused else ""
        terminalreporter.line(f"{group:<{width}}  {counts}  {worst}{like}")


def pytest_unconfigure() -> None:
    """Free all tests before the interpreter's end: nanobind reports those of ttnn's objects that live on as leaked."""
    atexit.register(_let_go_of_tests)


def _let_go_of_tests() -> None:
    """Empty the two tables through which every test that was collected outlives Python's last garbage collection.

    The globals of a module that pytest has rewritten, as it does with plugins, name pytest's import hook, and that
    holds the config and all tests. A function of such a module that is kept for ever keeps them, too: hypothesis
    times the garbage collector with one, and hypothesis and anyio declare overloads, which ``typing`` collects and
    which are not freed, since torch and ttnn hold objects of ``typing``.
    """
    gc.callbacks.clear()
    if sys.version_info >= (3, 11):  # before, typing collected no overloads
        typing.clear_overloads()


def _names(config: pytest.Config) -> tuple[str, ...]:
    return tuple(name.strip() for name in config.getoption("--tt-mesh").split(",") if name.strip())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``tt_mesh`` once on every mesh asked for."""
    if "tt_mesh" in metafunc.fixturenames:
        metafunc.parametrize("tt_mesh", _names(metafunc.config), indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a marker rules out, and run tests that take no open mesh first: they may open their own."""
    # Not left out where they are made: pytest groups by a parameter's number, which must be the same everywhere.
    ruled_out = [item for item in items if not _is_wanted(item)]
    if ruled_out:
        config.hook.pytest_deselected(items=ruled_out)
        items[:] = [item for item in items if _is_wanted(item)]
    items.sort(key=lambda item: "tt_mesh" in getattr(item, "fixturenames", ()))


def _is_wanted(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    name = callspec.params.get("tt_mesh") if callspec else None
    return name is None or all(name in marker.args for marker in item.iter_markers("tt_meshes"))


@pytest.fixture(scope="session")
def tt_device(pytestconfig: pytest.Config) -> str:
    """What ``--tt-device`` says."""
    device: str = pytestconfig.getoption("--tt-device")
    return device


@pytest.fixture(scope="session")
def tt_mesh_names(pytestconfig: pytest.Config) -> tuple[str, ...]:
    """The names of ``--tt-mesh``, for a test that opens them itself."""
    return _names(pytestconfig)


@pytest.fixture(scope="session")
def tt_mesh(request: pytest.FixtureRequest, tt_device: str) -> Iterator[Mesh]:
    """An open mesh; a test that takes it runs once on each of ``--tt-mesh``.

    pytest groups tests by its name, so a process has one open at a time.
    """
    from ttfamily.core.mesh.mesh import open_mesh

    opened = open_mesh(request.param, tt_device)
    yield opened
    opened.close()


@pytest.fixture
def tt_mesh_device(tt_mesh: Mesh) -> Any:
    """The ttnn mesh of ``tt_mesh`` itself, for tests of ttnn code that knows nothing of ttfamily."""
    return tt_mesh.device
