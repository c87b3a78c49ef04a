"""Generates authz/servers/extauthz_pb2.py and its .pyi from the .proto beside them. Needs grpcio-tools.

    python scripts/generate_proto.py [FOLDER]

FOLDER (default: this repository) receives the files under their own paths.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROTO = "authz/servers/extauthz.proto"


def main(arguments: list[str]) -> int:
    """The exit status of protoc."""
    target = Path(arguments[0]) if arguments else ROOT
    # The path below the root becomes the file's name in protobuf's registry, so it must not depend on where we are.
    output = [f"-I{ROOT}", f"--python_out={target}", f"--pyi_out={target}"]
    return subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *output, PROTO], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
