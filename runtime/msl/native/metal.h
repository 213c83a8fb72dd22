// What `#include <metal_stdlib>` and its relatives mean in the emulator.
//
// Kernel text arrives without address spaces (see translate.py). Code below is inlined everywhere and
// carries no line numbers: what goes wrong in it is reported at the line of the kernel that called it.
#pragma once
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)
#pragma clang attribute push(__attribute__((nodebug)), apply_to = hasType(functionType))
#include "machine.h"

#include "scalars.h"

#include "vectors.h"

#include "math.h"

#include "groups.h"

#include "internals.h"

#include "arguments.h"
#pragma clang attribute pop
#pragma clang attribute pop
