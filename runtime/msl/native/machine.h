// What kernels and the runtime of the emulator share: a thread, a simdgroup, a launch, and calls.
//
// One operating-system thread runs all threads of a threadgroup as fibers, one threadgroup after the
// other. A fiber runs until it waits for others: at a barrier or at a function of its simdgroup.
#pragma once

namespace tlc {
typedef __UINT8_TYPE__ u8;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;
typedef __UINTPTR_TYPE__ address;

constexpr u32 simd_width = 32, most_threads = 1024, most_buffers = 31;

struct Simdgroup;
struct Thread {
  void* stack;            // its stack pointer while it does not run
  u32 state;              // ready, done, waiting for its simdgroup, waiting for its threadgroup
  u32 lane, index;        // in the simdgroup, in the threadgroup
  u32 leads;              // was chosen to finish what an incomplete group of lanes waits for
  Simdgroup* simdgroup;
  const char* what;       // the function that it waits in,
  const void* site;       // where that was called,
  u32 flags;              // and the mem_flags it was called with
  u32 position[3];        // in the threadgroup
  alignas(32) u8 in[64];  // what it gives to a function of its simdgroup, and what it gets
  alignas(32) u8 out[64];
};
struct Simdgroup {
  u32 index, lanes;              // lanes: how many there are, 32 but in the last one
  u32 alive, waiting, active;    // sets of lanes; active: that take part in the present function
  u32 mixed;                     // lanes wait in different places
  u32 threadgroup_epoch, device_epoch;  // how many of its barriers have ordered such memory
  Thread* lane[simd_width];
};
struct Launch {
  void* buffers[most_buffers];
  void* threadgroup_memory[most_buffers];
  u32 group[3];        // position of the present threadgroup,
  u32 group_size[3];   // its size: smaller than `threads` at the end of a grid
  u32 threads[3], groups[3], grid[3];  // grid: threads in all
};
}  // namespace tlc

// Not to be duplicated, merged or moved into branches: `site` tells calls apart.
#define TLC_MEETING __attribute__((convergent, noduplicate, nomerge))

extern "C" {
extern tlc::Thread* tlc_thread;  // the one that runs
extern tlc::Launch* tlc_launch;
// True for the thread that computes the result for all lanes in `active` and then calls tlc_leave.
TLC_MEETING bool tlc_meet(const char* what);
TLC_MEETING void tlc_leave();
TLC_MEETING void tlc_threadgroup_barrier(tlc::u32 flags);
TLC_MEETING void tlc_simdgroup_barrier(tlc::u32 flags);
void* tlc_threadgroup_variable(tlc::u64 at, tlc::u64 size, tlc::u64 align, const char* name);
__attribute__((nomerge)) void tlc_complain(const char* kind, const char* text);
void tlc_check_alignment(const void* place, tlc::u64 align);
void tlc_atomic(const void* place, tlc::u32 size, bool reads, bool writes);
}
