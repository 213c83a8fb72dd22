// The runtime of the emulator: memory with guards and shadows, fibers, and what sanitizers call.
//
// Freestanding: the few functions of the C library are declared here and found when it is loaded.
// Linux on x86-64 and aarch64. All state is global: one launch runs at a time.
#include "machine.h"

using namespace tlc;
extern "C" {
Thread* tlc_thread;
Launch* tlc_launch;
void* mmap(void*, __SIZE_TYPE__, int, int, int, long);
int mprotect(void*, __SIZE_TYPE__, int);
int munmap(void*, __SIZE_TYPE__);
int madvise(void*, __SIZE_TYPE__, int);
void* memset(void*, int, __SIZE_TYPE__);
void* memcpy(void*, const void*, __SIZE_TYPE__);
void* memmove(void*, const void*, __SIZE_TYPE__);
int strcmp(const char*, const char*);
int snprintf(char*, __SIZE_TYPE__, const char*, ...);
int vsnprintf(char*, __SIZE_TYPE__, const char*, __builtin_va_list);
[[noreturn]] void abort();
}
constexpr u64 page = 65536;  // the largest that Linux uses on these processors

#include "report.h"

#include "memory.h"

#include "shadow.h"

#include "sanitizers.h"

#include "signals.h"

#include "schedule.h"

// ---- what the host calls (see emulator.py) ------------------------------------------------------
#define TLC_EXPORT extern "C" __attribute__((visibility("default")))
struct Binding {
  u32 slot, writable;
  u64 offset;  // of the kernel's pointer into the buffer
};
struct Dispatch {
  void (*entry)();
  u32 groups[3], threads[3], grid[3], bound;  // bound: which buffers are there, a bit each
  Binding buffers[most_buffers];
  u64 threadgroup_bytes[most_buffers];
};

TLC_EXPORT Report* tlc_reports() { return reports; }
TLC_EXPORT Options* tlc_options() { return &options; }
TLC_EXPORT void* tlc_buffer_open(u32 slot, u64 size) { return open_slot(slot, size); }
TLC_EXPORT void tlc_buffer_close(u32 slot) { close_slot(slot); }
TLC_EXPORT void tlc_buffer_fresh(u32 slot, u64 from, u64 to, u32 fresh) {
  memset(shadow_of(slots[slot].base + from), fresh ? 0xff : 0, to - from);
}
// The first byte that no kernel has written, or the size.
TLC_EXPORT u64 tlc_buffer_unwritten(u32 slot, u64 from) {
  const u8* shadow = shadow_of(slots[slot].base);
  while (from < slots[slot].size && !shadow[from]) from++;
  return from;
}
TLC_EXPORT u32 tlc_buffer_origin(u32 slot, u64 at) { return *origin_of(slots[slot].base + at); }

// From now on note accesses to buffers in `room`, as many as fit; null for none.
TLC_EXPORT void tlc_log(Logged* room, u64 most) { log_room = room, log_most = most, log_count = 0; }
TLC_EXPORT u64 tlc_logged() { return log_count; }
// How many reports there are; more may have happened than are kept.
TLC_EXPORT u32 tlc_dispatch(const Dispatch* d) {
  report_count = 0;
  for (Slot& slot : slots) slot.bound = -1, slot.writable = false;
  memset(&launch, 0, sizeof launch);
  for (u32 i = 0; i < most_buffers; i++) {
    if (!(d->bound >> i & 1)) continue;
    Slot& slot = slots[d->buffers[i].slot];
    launch.buffers[i] = slot.base + d->buffers[i].offset;
    slot.bound = (int)i;
    slot.writable |= d->buffers[i].writable;
  }
  if (options.checked)
    for (Slot& slot : slots)
      if (slot.bound >= 0 && slot.writable) open_cells(slot);
  run_launch(d->entry, d->groups, d->threads, d->grid, d->threadgroup_bytes);
  return report_count;
}
