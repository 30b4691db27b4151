"""Finding the installed plugins: entry points, their contract, their hook; one that fails harms only itself."""

from __future__ import annotations

import functools
import logging
import traceback
from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING, TypeVar

import pluggy

from ttfamily import hookspecs
from ttfamily.core.mesh.boards import ALIASES, BOARDS, Board
from ttfamily.errors import PluginError
from ttfamily.family import Family
from ttfamily.registry import BrokenPlugin, FamilyRegistry, Plugin, ProvidedFamily

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

log = logging.getLogger("ttfamily")

T = TypeVar("T")

OWN_PACKAGE = "ttfamily"
ENTRY_POINT_GROUP = "ttfamily"
ALL = "all"
FAMILIES, BOARDS_HOOK = hookspecs.ttfamily_families.__name__, hookspecs.ttfamily_boards.__name__
DECLARATION = "TTFAMILY_CONTRACT"


@functools.cache
def families() -> FamilyRegistry:
    """Return the installed families; the plugins are imported at the first call of a process.

    Opens no device and, as long as plugins keep to their contract, imports neither torch nor ttnn.
    """
    return discover()


def discover(*, strict: bool = False, disabled: Collection[str] = ()) -> FamilyRegistry:
    """Look for plugins anew: what :func:`families` does once.

    :param strict: raise for a plugin that cannot be loaded, instead of keeping it in ``broken``.
    :param disabled: names of plugins that are not to be imported: an entry point's name, a package, or
        ``package:entry``; ``all`` stands for every plugin of another package than ttfamily.
    :raises PluginError: where ``strict``, naming the plugin, its package and the cause.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    provided: list[ProvidedFamily] = []
    broken: list[BrokenPlugin] = []
    boards: list[Board] = []
    installed = [(_described(entry), entry) for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    # Sorted, so that messages and listings do not depend on the order of sys.path.
    installed.sort(key=lambda pair: (pair[0].package, pair[0].version, pair[0].name))
    off = _disabled([plugin for plugin, _ in installed], disabled)
    for plugin, entry in installed:
        if plugin in off:
            continue
        try:
            found, added = _provided_by(plugin, entry, manager, boards)
        # The one place where strangers' code runs: it may raise anything, even leave the
        # interpreter, and neither may take the other plugins down. Nothing is lost: the
        # traceback is kept and shown.
        except (Exception, SystemExit) as error:
            reason = traceback.format_exception_only(error)[-1].strip()
            if strict:
                raise _refused(plugin, reason) from error
            broken.append(BrokenPlugin(plugin=plugin, reason=reason, traceback=traceback.format_exc()))
        else:
            provided += [ProvidedFamily(family=each, plugin=plugin) for each in found]
            boards += added
    return FamilyRegistry(provided=tuple(provided), boards=tuple(boards), broken=tuple(broken), disabled=off)


def _described(entry: metadata.EntryPoint) -> Plugin:
    # A package that was half removed has an entry point, but neither name nor version.
    facts = {key: entry.dist.metadata[key] for key in entry.dist.metadata} if entry.dist is not None else {}
    package, version = facts.get("Name", "unknown"), facts.get("Version", "unknown")
    return Plugin(name=entry.name, package=package, version=version, module=entry.value)


def _disabled(plugins: Collection[Plugin], names: Collection[str]) -> tuple[Plugin, ...]:
    for name in names:
        if name != ALL and not any(plugin.answers_to(name) for plugin in plugins):
            known = ", ".join(map(str, plugins)) or "none"
            log.warning("No plugin answers to %r, so nothing is disabled by it; installed: %s", name, known)
    return tuple(
        plugin
        for plugin in plugins
        if any(plugin.answers_to(name) for name in names if name != ALL)
        or (ALL in names and plugin.package != OWN_PACKAGE)
    )


def _refused(plugin: Plugin, reason: str) -> PluginError:
    return PluginError(
        f"plugin {plugin}",
        got=reason,
        expected="a plugin that can be loaded",
        fix=f"Correct it, uninstall {plugin.package}, or disable the plugin.",
    )


def _provided_by(
    plugin: Plugin, entry: metadata.EntryPoint, manager: pluggy.PluginManager, boards: Collection[Board]
) -> tuple[list[Family], list[Board]]:
    loaded = entry.load()
    _check_contract(plugin, loaded)
    who = f"plugin {plugin.name} ({plugin.module})"
    others = manager.get_plugins()
    manager.register(loaded, name=f"{plugin.package}:{plugin.name}")
    hooks = {caller.name for caller in manager.get_hookcallers(loaded) or ()}
    if not hooks or hooks - {FAMILIES, BOARDS_HOOK}:
        raise PluginError(
            who,
            got=f"the hooks {', '.join(sorted(hooks)) or '(none)'}",
            expected=f"{FAMILIES} or {BOARDS_HOOK}, marked with ttfamily.hookimpl",
            fix="Rename or mark the function.",
        )

    def ask(hook: str, kind: type[T]) -> list[T]:
        # One plugin at a time: a hook that raises must not hide what the others provide.
        answers: list[Iterable[T]] = manager.subset_hook_caller(hook, others)() if hook in hooks else []
        found = [each for answer in answers for each in answer]
        wrong = [repr(each) for each in found if not isinstance(each, kind)]
        if hook in hooks and (wrong or not found):
            raise PluginError(
                who,
                got=f"{', '.join(wrong) or f'no {kind.__name__.lower()}'} from {hook}",
                expected=f"one ttfamily.{kind.__name__} or more",
                fix=f"Return a tuple of them from {hook}.",
            )
        return found

    found, added = ask(FAMILIES, Family), ask(BOARDS_HOOK, Board)
    _check_names(who, "family", [each.name for each in found])
    _check_names(who, "board", [*BOARDS, *ALIASES, *(each.name for each in boards), *(each.name for each in added)])
    return found, added


def _check_names(who: str, what: str, names: Collection[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        got = f"more than one {what} named {twice[0]!r}"
        raise PluginError(who, got=got, expected="every name once", fix="Rename one of them.")


def _check_contract(plugin: Plugin, loaded: object) -> None:
    """Refuse a plugin for another contract before pluggy or anyone else looks into it."""
    declared = getattr(loaded, DECLARATION, None)
    oldest, newest = hookspecs.OLDEST_CONTRACT, hookspecs.CONTRACT
    expected = f"contract {newest}" if oldest == newest else f"contract {oldest} to {newest}"
    if type(declared) is not int:
        got = f"no {DECLARATION}" if declared is None else f"{DECLARATION} = {declared!r}"
        expected = f"the number of the contract it was written for: {expected}"
        fix = f"Write {DECLARATION} = {newest} into {plugin.module}, if it was written for this ttfamily."
    elif declared > newest:
        got = f"contract {declared}, which is newer than this ttfamily"
        fix = "Update ttfamily: pip install --upgrade ttfamily"
    elif declared < oldest:
        got = f"contract {declared}, which this ttfamily no longer serves"
        fix = f"Update the plugin: pip install --upgrade {plugin.package}"
    else:
        return
    raise PluginError(f"plugin {plugin.name} ({plugin.module})", got=got, expected=expected, fix=fix)
