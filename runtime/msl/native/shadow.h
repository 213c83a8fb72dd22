// Checked accesses: bounds, races, reads of what nobody wrote.
//
// A byte has a cell with its last write, last atomic access and two of its reads. Two accesses of
// different threads, one of them a write, are ordered only by a barrier whose flags name the memory.
// Threadgroups of a launch are never ordered.
#pragma once

struct Access {
  u32 who, epoch, simd_epoch;  // who: number of the thread in the launch, from 1
};
struct Cell {
  Access write, atomic, read[2];
  u32 generation, unused;
};
struct Variable {
  const char* name;
  u64 at;  // which declaration
  u32 offset, size;
};
static Cell* threadgroup_cells;
static u32 generation;         // of threadgroup memory: one for each threadgroup that ran
static u32 launch_generation;  // of device memory: one for each launch
static u32 group_number;       // of the present threadgroup in the launch
static u32 threadgroup_epoch, device_epoch;
static Variable variables[64];
static u32 variable_count, threadgroup_used, threadgroup_top;
constexpr u32 gap = 64;  // between threadgroup variables

static void open_cells(Slot& slot) {
  if (!slot.cells) slot.cells = (Cell*)reserve(slot.size * 64 + 64);
}
static_assert(sizeof(Cell) <= 64, "cells fit the room that memory.h gives them");

static const Variable* variable_at(const void* p, u64 size) {
  const u64 offset = (u64)((u8*)p - slots[0].base);
  for (u32 i = 0; i < variable_count; i++)
    if (offset >= variables[i].offset && offset + size <= variables[i].offset + variables[i].size)
      return &variables[i];
  return nullptr;
}
static const char* describe(const void* p, char (&text)[96]) {
  const u32 at = slot_of(p);
  const long offset = (long)((u8*)p - slots[at].base);
  const Variable* v = at == 0 ? variable_at(p, 1) : nullptr;
  if (v) snprintf(text, sizeof text, "byte %u of threadgroup %s", (u32)offset - v->offset, v->name);
  else if (at == 0) snprintf(text, sizeof text, "threadgroup memory that is no variable");
  else if (at == 1) snprintf(text, sizeof text, "thread memory");
  else if (slots[at].bound < 0) snprintf(text, sizeof text, "memory that the kernel was not given");
  else snprintf(text, sizeof text, "byte %ld of buffer(%d)", offset, slots[at].bound);
  return text;
}

static bool ordered(const Access& before, const Access& now, bool device) {
  if (before.who == 0 || before.who == now.who) return true;
  const u32 a = before.who - 1, b = now.who - 1;
  if (device && a / most_threads != b / most_threads) return false;
  if (before.epoch < now.epoch) return true;
  return a / simd_width == b / simd_width && before.simd_epoch < now.simd_epoch;
}
static void check_race(Cell* cell, const u8* p, u32 size, bool write, bool atomic, const void* pc, bool device) {
  const Simdgroup& group = *tlc_thread->simdgroup;
  const Access now{(device ? group_number * most_threads : 0) + tlc_thread->index + 1,
                   device ? device_epoch : threadgroup_epoch,
                   device ? group.device_epoch : group.threadgroup_epoch};
  const u32 present = device ? launch_generation : generation;
  for (u32 i = 0; i < size; i++, cell++) {
    if (cell->generation != present) *cell = Cell{}, cell->generation = present;
    const Access* other = nullptr;
    const char* how = "written";
    if (!ordered(cell->write, now, device)) other = &cell->write;
    else if (!atomic && !ordered(cell->atomic, now, device)) other = &cell->atomic, how = "accessed atomically";
    else if (write)
      for (const Access& read : cell->read)
        if (!ordered(read, now, device)) other = &read, how = "read";
    if (other) {
      char text[96];
      add_report("data-race", false, pc, "%s of %s, which thread %u of threadgroup %u has %s with no barrier between",
                 write ? "write" : "read", describe(p + i, text), (other->who - 1) % most_threads,
                 (other->who - 1) / most_threads, how);
    }
    if (atomic) {
      cell->atomic = now;
    } else if (write) {
      cell->write = now, cell->read[0].who = cell->read[1].who = 0;
    } else {
      cell->read[ordered(cell->read[0], now, device) ? 0 : 1] = now;
    }
  }
}
static void out_of_bounds(const u8* p, u64 size, bool write, const void* pc) {
  const u32 at = slot_of(p);
  const Slot& slot = slots[at];
  char place[96], end[40] = "";
  if (at && slot.bound >= 0) snprintf(end, sizeof end, ", which has %llu bytes", (unsigned long long)slot.size);
  // between threadgroup variables a kernel can go on; elsewhere it would be stopped by a guard page
  const bool fatal = at != 0 || p < slot.base || p + size > slot.base + most_threadgroup_bytes;
  add_report("out-of-bounds", fatal, pc, "%s of %u bytes at %s%s", write ? "write" : "read", (u32)size,
             describe(p, place), end);
}
// Accesses to buffers in the order in which they happened, where somebody counts them.
struct Logged {
  address pc;
  u64 offset;
  u32 who, size;  // number of the thread in the launch, from 0
  u32 buffer, write;
};
static Logged* log_room;
static u64 log_most, log_count;
static void log_access(u32 buffer, u64 offset, u64 size, bool write, const void* pc) {
  if (log_count < log_most)
    log_room[log_count] = {(address)pc, offset, group_number * most_threads + tlc_thread->index, (u32)size,
                           buffer, write};
  log_count++;
}
static void check_access(const void* where, u64 size, bool read, bool write, bool atomic, const void* pc) {
  if (!tlc_thread || !in_arena(where) || size == 0) return;
  const u32 at = slot_of(where);
  if (at == 1) return;
  last_pc = pc;
  const u8* p = (const u8*)where;
  const Slot& slot = slots[at];
  if (at == 0 ? !variable_at(p, size) : slot.bound < 0 || p < slot.base || p + size > slot.base + slot.size)
    return out_of_bounds(p, size, write, pc);
  char place[96];
  if (write && at && !slot.writable)
    add_report("read-only", true, pc, "write to %s, which is read only", describe(p, place));
  if (log_room && at) log_access((u32)slot.bound, (u64)(p - slot.base), size, write, pc);
  u8* shadow = shadow_of(p);
  for (u64 i = 0; read && i < size; i++)
    if (shadow[i]) {
      add_report("uninitialised-read", false, pc, "read of %s, which nobody has written", describe(p + i, place));
      break;
    }
  if (write) memset(shadow, 0, size);
  Cell* cells = at == 0 ? threadgroup_cells : slot.writable ? slot.cells : nullptr;
  if (cells) check_race(cells + (p - slot.base), p, (u32)size, write, atomic, pc, at != 0);
}
