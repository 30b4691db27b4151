"""Finding the installed plugins: entry points, their contract, their hook; one that fails harms only itself."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING

import pluggy

from ttfamily import hookspecs
from ttfamily.errors import PluginError
from ttfamily.family import Family
from ttfamily.registry import BrokenPlugin, FamilyRegistry, Plugin, ProvidedFamily

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

log = logging.getLogger("ttfamily")

OWN_PACKAGE = "ttfamily"
ENTRY_POINT_GROUP = "ttfamily"
ALL = "all"
HOOK = hookspecs.ttfamily_families.__name__
DECLARATION = "TTFAMILY_CONTRACT"


def discover(*, strict: bool = False, disabled: Collection[str] = ()) -> FamilyRegistry:
    """Look for plugins anew: what :func:`~ttfamily.registry.families` does once.

    :param strict: raise for a plugin that cannot be loaded, instead of keeping it in ``broken``.
    :param disabled: names of plugins that are not to be imported: an entry point's name, a package, or
        ``package:entry``; ``all`` stands for every plugin of another package than ttfamily.
    :raises PluginError: where ``strict``, naming the plugin, its package and the cause.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    provided: list[ProvidedFamily] = []
    broken: list[BrokenPlugin] = []
    installed = [(_described(entry), entry) for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)]
    # Sorted, so that messages and listings do not depend on the order of sys.path.
    installed.sort(key=lambda pair: (pair[0].package, pair[0].version, pair[0].name))
    off = _disabled([plugin for plugin, _ in installed], disabled)
    for plugin, entry in installed:
        if plugin in off:
            continue
        try:
            found = _families_of(plugin, entry, manager)
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
    return FamilyRegistry(provided=tuple(provided), broken=tuple(broken), disabled=off)


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


def _families_of(plugin: Plugin, entry: metadata.EntryPoint, manager: pluggy.PluginManager) -> list[Family]:
    loaded = entry.load()
    _check_contract(plugin, loaded)
    who = f"plugin {plugin.name} ({plugin.module})"
    others = manager.get_plugins()
    manager.register(loaded, name=f"{plugin.package}:{plugin.name}")
    hooks = [caller.name for caller in manager.get_hookcallers(loaded) or ()]
    if hooks != [HOOK]:
        raise PluginError(
            who,
            got=f"the hooks {', '.join(sorted(hooks)) or '(none)'}",
            expected=f"{HOOK}, marked with ttfamily.hookimpl",
            fix="Rename or mark the function.",
        )
    # One plugin at a time: a hook that raises must not hide the families of the others.
    ask = manager.subset_hook_caller(HOOK, others)
    answers: list[Iterable[Family]] = ask()
    found = [each for answer in answers for each in answer]
    wrong = [repr(each) for each in found if not isinstance(each, Family)]
    if wrong or not found:
        raise PluginError(
            who,
            got=f"{', '.join(wrong) or 'no family'} from {HOOK}",
            expected="one ttfamily.Family or more",
            fix="Return a tuple of families from the hook.",
        )
    twice = [name for name, times in Counter(each.name for each in found).items() if times > 1]
    if twice:
        got = f"more than one family named {twice[0]!r} from {HOOK}"
        raise PluginError(who, got=got, expected="every name once", fix="Rename one of them.")
    return found


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
