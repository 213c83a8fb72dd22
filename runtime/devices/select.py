"""Turns the name of a device into the device, or an error that says which ones there are."""

from __future__ import annotations

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tlc.runtime.devices import Device

NAMES = ("auto", "metal", "cpu")


def available() -> dict[str, str]:
    """Every device by name, with the reason why it cannot be used here or an empty text."""
    from tlc.runtime.devices import metal, toolchain

    return {"metal": metal.why_not(), "cpu": toolchain.why_not()}


def open_device(name: str = "auto") -> Device:
    """The device of this name; `auto` is Metal on a Mac that can run it, else the cpu.

    Raises RunError E0702 for a name that does not exist and for a device that this machine lacks.
    """
    device: Any  # takes its own buffers and batches only, which the protocol cannot say
    match name:
        case "auto":
            from tlc.runtime.devices import metal

            return open_device("cpu" if metal.why_not() else "metal")
        case "metal":
            from tlc.runtime.devices.metal import MetalDevice

            device = MetalDevice()
        case "cpu":
            from tlc.runtime.devices.cpu import CpuDevice

            device = CpuDevice()
        case _:
            raise RunError("E0702", f"no device is named {name!r}", f"devices: {', '.join(NAMES)}")
    return device  # type: ignore[no-any-return]
