"""An artifact, on disk or just built, to a program that is ready to be called."""

from __future__ import annotations

from tlc.runtime.errors import RunError
from tlc.runtime.program import Program
from tlc.runtime.schema import validate
from tlc.runtime.weights import StoredWeights, Weights

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from tlc.runtime.devices import Device

    class Artifact(Protocol):
        """What was built: the manifest, and members by name."""

        @property
        def manifest(self) -> dict[str, Any]: ...
        def text(self, name: str) -> str: ...
        def member(self, name: str) -> bytes | memoryview: ...
        def mapped(self, name: str) -> bytes | memoryview: ...
        def compiled(self) -> bytes | None: ...


def load(
    artifact: Artifact, device: Device, folders: list[str], kind: type[Program] = Program
) -> Program:
    """A program on a device; `folders` are where relative paths of models are looked for.

    Raises RunError: E0501 for a damaged artifact, E0506 on an older macOS, and what the device and
    the model files raise.
    """
    manifest = artifact.manifest
    validate(manifest)
    if device.profile == "apple":
        check_macos(manifest["macos"], running_macos())
    weights = Weights(StoredWeights(manifest, folders, artifact.mapped), device)
    constants = artifact.member("constants.bin") if manifest["constants"] else b""
    compiled = artifact.compiled() if hasattr(device, "library_of") else None
    return kind(manifest, artifact.text, memoryview(constants), weights, device, compiled)


def running_macos() -> str | None:
    """The version of the macOS this runs on; None elsewhere."""
    import sys

    if sys.platform != "darwin":
        return None
    import platform

    return platform.mac_ver()[0] or None


def check_macos(needed: str, running: str | None) -> None:
    """Raises RunError E0506 when the kernels need a newer macOS than the one that runs."""
    if running is None:
        return

    def numbers(version: str) -> list[int]:
        return [int(part) for part in version.split(".")[:2] if part.isdigit()]

    if numbers(running) < numbers(needed):
        raise RunError(
            "E0506",
            f"the artifact's kernels need macOS {needed}, and this is macOS {running}",
            f"update macOS, or run with `--device cpu`; `tlc build --min-macos {running}` shows"
            " at build time what asks for more",
        )
