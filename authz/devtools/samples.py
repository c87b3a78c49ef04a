"""Where the samples are that come with the package: `policies/…` and `envoy/…`.

In an installed package they lie in `authz/samples`; in an editable installation, beside the package's folder.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def sample(name: str, *, package: Path = _PACKAGE) -> Path:
    """The file or folder of a sample, e.g. `policies/documents`.

    Raises:
        FileNotFoundError: no such sample came with this installation.
    """
    steps = Path(name).parts
    if not steps or ".." in steps or Path(name).is_absolute():
        raise FileNotFoundError(f"`{name}` is no sample; expected a name such as `policies/documents`")
    for root in (package / "samples", package.parent):
        found = root / name
        if found.exists():
            return found
    raise FileNotFoundError(f"the sample `{name}` did not come with this installation, in `{package}`")


def envoy_example(name: str, *, package: Path = _PACKAGE) -> Path:
    """A proxy's configuration by its path in `envoy/`, e.g. `http-tcp.yaml`. Raises as `sample` does."""
    return sample(f"envoy/{name}", package=package)
