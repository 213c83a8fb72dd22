"""Turns the name of a device into the device, or an error that says which ones there are."""

from __future__ import annotations

from tlc.runtime.errors import RunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tlc.runtime.devices import Device

NAMES = ("auto", "metal", "metal-objc", "cpu", "emulator", "emulator-fast")


def available() -> dict[str, str]:
    """Every device by name, with the reason why it cannot be used here or an empty text."""
    from tlc.runtime.devices import emulator, metal, metal_objc, toolchain

    return {
        "metal": metal.why_not(),
        "metal-objc": metal_objc.why_not(),
        "cpu": toolchain.why_not(),
        "emulator": emulator.why_not(),
    }


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
        case "metal-objc":
            from tlc.runtime.devices.metal_objc import MetalObjcDevice

            device = MetalObjcDevice()
        case "cpu":
            from tlc.runtime.devices.cpu import CpuDevice

            device = CpuDevice()
        case "emulator" | "emulator-fast":
            from tlc.runtime.devices import emulator

            if reason := emulator.why_not():
                raise RunError("E0702", f"the emulator cannot be used: {reason}")
            device = emulator.EmulatorDevice("checked" if name == "emulator" else "fast")
        case _:
            hint = f"devices: {', '.join(NAMES)}, reference"
            if "," in name:
                hint = "two devices are for --diff, which compares them"
            raise RunError("E0702", f"no device is named {name!r}", hint)
    return device  # type: ignore[no-any-return]
