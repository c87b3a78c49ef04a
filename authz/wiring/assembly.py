"""Everything that an operator wrote, read and checked together; nothing is started.

`authz check`, the start and every reload go through `assemble`, so what the check passes will run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from authz.authn.api_keys import ApiKey
from authz.authn.revocation import DenyList
from authz.config.load import Config, load_config
from authz.core.cedar_schema import CedarSchemaError, Schema, load_schema
from authz.core.errors import Misconfigured, PoliciesUnavailable, Problem
from authz.core.pieces import take_apart
from authz.core.route_compiler import compile_routes
from authz.core.routes import RouteTable
from authz.pdp.compiled import CompiledPolicies, compile_snapshot, remains
from authz.pdp.trial import find_crashes
from authz.stores.watch import Mark, fingerprint
from authz.wiring.api_key_file import KeyFile, read_key_file
from authz.wiring.consistency import inconsistencies
from authz.wiring.credentials import Credentials
from authz.wiring.issuers import IssuerPlan, plan_issuers
from authz.wiring.pace import Pace
from authz.wiring.policy_settings import unfit_settings
from authz.wiring.policy_store import (
    FIRST_LOOK,
    NO_POLICIES,
    Store,
    close_store,
    policy_store,
    read_within,
    with_entities,
)

MAX_DENY_LIST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """One consistent state of configuration, routes, policies, issuers and deny list."""

    config: Config
    routes: RouteTable
    compiled: CompiledPolicies
    store: Store
    """Where the policies were read; it knows what it read before."""
    issuers: tuple[IssuerPlan, ...]
    deny_list: DenyList
    api_keys: Mapping[str, Mapping[str, ApiKey]] = field(default_factory=dict, repr=False)
    """Authenticator → its keys by id."""
    warnings: tuple[Problem, ...] = ()
    mark: tuple[Mark, ...] = field(default=(), repr=False)
    """What the files looked like before they were read."""
    store_version: str = ""
    """Version of the store's own content."""
    waiting: str = ""
    """Why there is no policy set yet; empty: there is one. Nothing is decided before, and no issuer is known."""
    serves: bool = False
    """Is something decided by it, or is it only looked at?"""
    sharing: int = 1
    """How many processes share the budget of calls to the policy store."""

    @property
    def watched(self) -> tuple[list[Path], list[Path]]:
        """Files and folders whose change is a change of this."""
        return _watched(self.config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """The assembly if there is one, and every problem found."""

    assembly: Assembly | None
    problems: tuple[Problem, ...]
    watched: tuple[list[Path], list[Path]] = field(default_factory=lambda: ([], []))
    """Files and folders whose change may mend it, as far as they are known."""

    def required(self) -> Assembly:
        """The assembly.

        Raises:
            Misconfigured: with every problem of severity `error`.
        """
        if self.assembly is None:
            raise Misconfigured(tuple(problem for problem in self.problems if problem.severity == "error"))
        return self.assembly


def assemble(
    file: Path,
    environment: Mapping[str, str] | None = None,
    *,
    certificates: bool = False,
    previous: Assembly | None = None,
    serves: bool = False,
    sharing: int = 1,
) -> Assembled:
    """Reads all files. Slow for large policy sets: call it in a worker thread. Never raises for their content.

    Args:
        file: the configuration.
        environment: for `${env:NAME}`; by default the process's.
        certificates: check those of listeners too. A reload does not: it reaches no listener, and a certificate
            that is half written must not hold back a change of the policies.
        previous: what was assembled of this configuration before; policies that did not change are taken from there.
        serves: something is to be decided by it. A policy store that cannot be reached is no problem then: its
            snapshot on disk counts, and without one the assembly is one that waits.
        sharing: how many processes share the budget of calls to the policy store.
    """
    options = _Options(environment, previous, certificates=certificates, serves=serves, sharing=sharing)
    try:
        return _Assembling(file, options).assembled()
    except (ValueError, RecursionError) as error:  # such as a path that no system knows; its words may quote a value
        text = f"unexpected {type(error).__name__} while the files were read; is a name or a value of an odd form?"
        return Assembled(assembly=None, problems=(Problem(message=text, file=str(file)),))


@dataclass(frozen=True, slots=True)
class _Options:
    environment: Mapping[str, str] | None
    previous: Assembly | None
    certificates: bool = field(kw_only=True)
    serves: bool = field(kw_only=True)
    sharing: int = field(kw_only=True)


class _Assembling:
    """One run of `assemble`."""

    def __init__(self, file: Path, options: _Options) -> None:
        self._file = file
        self._options = options
        self._pace = Pace()
        self._problems: list[Problem] = []
        self._waiting = ""
        self._store_version = ""

    def assembled(self) -> Assembled:
        """The assembly, or what stands in its way."""
        first = load_config(self._file, self._options.environment).config
        mark = fingerprint(*_watched(first)) if first is not None else ()
        # Which files there are is known only now. Read again, so that all that counts was read after the mark.
        loaded = load_config(self._file, self._options.environment)
        problems = self._problems
        problems.extend(loaded.problems)
        config = loaded.config
        if config is None:
            return Assembled(assembly=None, problems=tuple(problems))
        if self._options.certificates:
            from authz.wiring.certificates import certificate_problems

            problems.extend(certificate_problems(config))
        routes, found = compile_routes(config.routes)
        problems.extend(found)
        store, compiled = self._policies(config)
        deny_list = _deny_list(config, problems)
        key_files = _key_files(config, problems)
        issuers = () if self._waiting else self._issuers(config, routes, store, compiled, key_files)
        if not config.routes and not self._failed():
            problems.append(Problem(message="there are no routes: every request is denied", severity="warning"))
        if store is None or compiled is None or self._failed():
            if store is not None and (self._options.previous is None or store is not self._options.previous.store):
                close_store(store)  # nobody has it: it must keep no connection, and no look under way
            parts, compiled = remains(compiled) if compiled is not None else [], None
            take_apart(parts, self._pace)
            return Assembled(assembly=None, problems=_once(problems), watched=_watched(config))
        assembly = Assembly(
            config=config,
            routes=routes,
            compiled=compiled,
            store=store,
            issuers=issuers,
            deny_list=deny_list,
            api_keys={name: found.keys for name, found in key_files.items()},
            warnings=_once(problems),
            mark=mark,
            store_version=self._store_version,
            waiting=self._waiting,
            serves=self._options.serves,
            sharing=self._options.sharing,
        )
        return Assembled(assembly=assembly, problems=_once(problems), watched=assembly.watched)

    def _failed(self) -> bool:
        return any(problem.severity == "error" for problem in self._problems)

    def _issuers(
        self,
        config: Config,
        routes: RouteTable,
        store: Store | None,
        compiled: CompiledPolicies | None,
        key_files: Mapping[str, KeyFile],
    ) -> tuple[IssuerPlan, ...]:
        """The issuers, and what does not go together with the policies."""
        # Where policies do not compile, routes and issuers are still held against the schema, if that can be read.
        if compiled is None and config.shape.policies.store != "files":
            return ()  # the store may say most of it
        schema = compiled.schema if compiled is not None else _schema(store)
        use = compiled is not None and config.shape.policies.identity_source == "use"
        source = compiled.snapshot.identity_source if compiled is not None and use else None
        issuers = plan_issuers(config, schema, self._problems, source)
        if compiled is not None or schema is not None:
            found = inconsistencies(routes, schema, issuers, Credentials.of(config, issuers, key_files))
            self._problems.extend(found)
        if compiled is not None:
            self._problems.extend(compiled.warnings)
            self._problems.extend(unfit_settings(config, compiled))
            if not compiled.rows and config.shape.policies.decide != "remote":
                text = "there are no policies: every request is denied"
                self._problems.append(Problem(message=text, severity="warning"))
        return issuers

    def _policies(self, config: Config) -> tuple[Store | None, CompiledPolicies | None]:
        previous = self._options.previous
        store = None
        try:
            before = previous.store if previous is not None else None
            store = policy_store(config, before, self._pace, serves=self._options.serves, sharing=self._options.sharing)
            return store, self._compiled(config, store) if store is not None else None
        except Misconfigured as error:
            self._problems.extend(error.problems)
        except (PoliciesUnavailable, OSError) as error:
            if store is not None and config.shape.policies.store != "files" and self._may_wait():
                self._waiting = str(error)
                return store, compile_snapshot(NO_POLICIES)
            place = "path" if config.shape.policies.store == "files" else "verified_permissions"
            self._problems.append(config.problem(("policies", place), f"the policies cannot be read: {error}"))
        return store, None

    def _may_wait(self) -> bool:
        """A start may wait for its policy store; whoever decides already does not stop that for another one."""
        previous = self._options.previous
        return self._options.serves and (previous is None or bool(previous.waiting))

    def _compiled(self, config: Config, store: Store) -> CompiledPolicies | None:
        previous = self._options.previous
        snapshot = read_within(store, FIRST_LOOK) if self._may_wait() else store.read()
        self._store_version = snapshot.version
        snapshot = with_entities(config, snapshot)
        before = previous.compiled if previous is not None else None
        if config.shape.policies.trial:
            found = find_crashes(snapshot, before.snapshot if before is not None else None, pause=self._pace)
            self._problems.extend(found)
            if any(problem.severity == "error" for problem in found):
                return None  # the engine of this process must not see it
        return compile_snapshot(snapshot, before, pause=self._pace)


def _watched(config: Config) -> tuple[list[Path], list[Path]]:
    policies = config.shape.policies
    folders = [config.path(policies.path)] if policies.store == "files" and policies.path is not None else []
    return [Path(name) for name in sorted(config.files)], folders


def _once(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(problems))


def _schema(store: Store | None) -> Schema | None:
    text = store.schema() if store is not None else None
    try:
        return load_schema(text) if text is not None else None
    except CedarSchemaError:
        return None  # told already


def _key_files(config: Config, problems: list[Problem]) -> dict[str, KeyFile]:
    """The files of API keys, by authenticator; one that two of them name is read once."""
    read: dict[Path, KeyFile] = {}
    found: dict[str, KeyFile] = {}
    for one in config.shape.authenticators:
        if one.api_keys is not None:
            path = config.path(one.api_keys.file)
            if path not in read:
                read[path] = read_key_file(path, problems)
            found[one.name] = read[path]
    return found


def _deny_list(config: Config, problems: list[Problem]) -> DenyList:
    name = config.shape.deny_list
    if name is None:
        return DenyList()
    path = config.path(name)
    try:
        if path.stat().st_size > MAX_DENY_LIST:
            problems.append(config.problem(("deny_list",), f"`{name}` is larger than {MAX_DENY_LIST} bytes"))
            return DenyList()
        return DenyList.parse(path.read_text(encoding="utf-8"), file=str(path))
    except OSError as error:
        problems.append(config.problem(("deny_list",), f"`{name}` cannot be read: {error.strerror}"))
    except UnicodeDecodeError:
        problems.append(config.problem(("deny_list",), f"`{name}` is not UTF-8"))
    except Misconfigured as error:
        problems.extend(error.problems)
    return DenyList()
