// Address space: every buffer in a slot of its own, its end against pages that nobody may touch.
//
// Slot 0 is threadgroup memory, slot 1 the stacks of the fibers, which are thread memory. For every
// byte there is a byte of shadow, nonzero while uninitialised, and room for origins (poison mode).
#pragma once

constexpr u64 slot_bytes = 1ull << 32, slot_count = 1024, arena_bytes = slot_bytes * slot_count;
constexpr u64 stack_bytes = 512 * 1024, arena_start = slot_bytes / 4;
constexpr u32 most_threadgroup_bytes = 128 * 1024;  // with the gaps between variables
enum { no_access = 0, may_read = 1, may_write = 2, map_private = 2, map_anonymous = 0x20, map_noreserve = 0x4000 };
enum { discard = 4 };  // MADV_DONTNEED

struct Cell;
struct Slot {
  u8* base;
  u64 size, mapped;
  int bound;      // number of the buffer in this launch, or -1
  bool writable;  // by this launch
  Cell* cells;    // of race detection; made when a launch may write
};
static u8 *arena, *shadow_arena, *origin_arena;
static Slot slots[slot_count];

static u8* reserve(u64 bytes) {
  void* p = mmap(nullptr, bytes, may_read | may_write, map_private | map_anonymous | map_noreserve, -1, 0);
  if (p == (void*)-1) abort();
  return (u8*)p;
}
static void open_arena() {
  if (arena) return;
  arena = reserve(arena_bytes), shadow_arena = reserve(arena_bytes), origin_arena = reserve(arena_bytes);
  mprotect(arena, arena_bytes, no_access);
  slots[0].base = arena + arena_start;
  slots[1].base = arena + slot_bytes + arena_start;
  slots[1].size = stack_bytes * most_threads;
  mprotect(slots[0].base, most_threadgroup_bytes, may_read | may_write);
  for (u32 i = 0; i < most_threads; i++)  // the lowest pages of a stack stay closed
    mprotect(slots[1].base + i * stack_bytes + page, stack_bytes - page, may_read | may_write);
}
static bool in_arena(const void* p) { return (address)p - (address)arena < arena_bytes; }
static u32 slot_of(const void* p) { return (u32)(((address)p - (address)arena) / slot_bytes); }
static u8* shadow_of(const void* p) { return shadow_arena + ((u8*)p - arena); }
static u32* origin_of(const void* p) { return (u32*)(origin_arena + (((u8*)p - arena) & ~3ull)); }

static void close_slot(u32 at) {
  Slot& slot = slots[at];
  if (!slot.mapped) return;
  u8* start = arena + at * slot_bytes + arena_start;
  madvise(start, slot.mapped, discard);
  mprotect(start, slot.mapped, no_access);
  madvise(shadow_of(start), slot.mapped, discard);
  madvise((u8*)origin_of(start), slot.mapped, discard);
  if (slot.cells) munmap(slot.cells, slot.size * 64 + 64);
  slot = Slot{};
}
// Zeroed memory, ended at a page but for less than 64 bytes; null when it is more than fits.
static void* open_slot(u32 at, u64 size) {
  open_arena();
  close_slot(at);
  if (size > slot_bytes / 2) return nullptr;
  const u64 whole = (size + 63) & ~63ull, pages = (whole + page) & ~(page - 1);
  u8* start = arena + at * slot_bytes + arena_start;
  if (mprotect(start, pages, may_read | may_write)) return nullptr;
  Slot& slot = slots[at];
  slot.base = start + pages - whole, slot.size = size, slot.mapped = pages;
  return slot.base;
}
