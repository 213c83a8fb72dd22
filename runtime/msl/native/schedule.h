// Fibers: which thread runs when, what they wait for, and how a launch goes through its threadgroups.
#pragma once

extern "C" void tlc_switch(void** save, void* to);  // save this stack, go on with another
#if defined(__x86_64__)
asm(R"(
.text
.globl tlc_switch
.hidden tlc_switch
.type tlc_switch,@function
tlc_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
constexpr u32 saved_words = 6;      // registers on the stack of a fiber that waits, below its return
static u32 float_mode() { return __builtin_ia32_stmxcsr(); }
static void set_float_mode(u32 mode) { __builtin_ia32_ldmxcsr(mode); }
constexpr u32 flush_bits = 0x8040;  // results and operands
#elif defined(__aarch64__)
asm(R"(
.text
.globl tlc_switch
.hidden tlc_switch
.type tlc_switch,%function
tlc_switch:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
static u32 float_mode() {
  u64 mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return (u32)mode;
}
static void set_float_mode(u32 mode) { asm volatile("msr fpcr, %0" ::"r"((u64)mode)); }
constexpr u32 flush_bits = 1u << 24;
#else
#error "the emulator runs on x86-64 and aarch64"
#endif

enum { ready, done, waits_for_simdgroup, waits_for_threadgroup };
enum { forward, reverse, random };
static Thread* threads;  // behind the stacks, where poison mode has shadows for what lanes hand over
static Simdgroup simdgroups[most_threads / simd_width];
static void* scheduler_stack;
static void (*kernel)();
static u32 lane_order[simd_width], simdgroup_order[most_threads / simd_width];
static u32 random_state;

static u32 next_random() { return (random_state = random_state * 1664525u + 1013904223u) >> 8; }
static void put_in_order(u32* order, u32 count) {
  for (u32 i = 0; i < count; i++) order[i] = options.order == reverse ? count - 1 - i : i;
  for (u32 i = count; options.order == random && i > 1; i--) {
    const u32 k = next_random() % i, last = order[i - 1];
    order[i - 1] = order[k], order[k] = last;
  }
}
static void leave_fiber() {
  Thread* thread = tlc_thread;
  thread->state = done;
  thread->simdgroup->alive &= ~(1u << thread->lane);
  tlc_switch(&thread->stack, scheduler_stack);
  abort();
}
static void run_fiber() {
  kernel();
  leave_fiber();
}
static void resume(Thread* thread) {
  tlc_thread = thread;
  tlc_switch(&scheduler_stack, thread->stack);
  tlc_thread = nullptr;
}
// Go on with another lane of the simdgroup, or let the scheduler choose.
static void wait(Thread* thread, u32 state) {
  thread->state = state;
  Simdgroup& group = *thread->simdgroup;
  for (u32 i = 0; !aborted && i < simd_width; i++) {
    Thread* next = lane_order[i] < group.lanes ? group.lane[lane_order[i]] : nullptr;
    if (!next || next->state != ready) continue;
    tlc_thread = next;
    tlc_switch(&thread->stack, next->stack);
    return;
  }
  tlc_switch(&thread->stack, scheduler_stack);
}
static u32 all_lanes(const Simdgroup& group) { return ~0u >> (simd_width - group.lanes); }
static Thread* first_of(const Simdgroup& group, u32 set) { return group.lane[__builtin_ctz(set)]; }
static u32 waiting_with(const Simdgroup& group, const Thread* thread) {
  u32 same = 0;
  for (u32 i = 0; i < group.lanes; i++)
    if ((group.waiting >> i & 1) && group.lane[i]->site == thread->site) same |= 1u << i;
  return same;
}
static void check_missing(const Simdgroup& group, const Thread* thread) {
  const u32 missing = all_lanes(group) & ~group.active;
  if (!missing || !strcmp(thread->what, "simdgroup_barrier")) return;
  char present[160], gone[160];
  add_report("exited-lanes", false, thread->site, "%s in lanes %s, after lanes %s have returned", thread->what,
             lanes(group.active, present), lanes(missing, gone));
}
static bool meet(const char* what, const void* site) {
  Thread* thread = tlc_thread;
  Simdgroup& group = *thread->simdgroup;
  thread->what = what, thread->site = site;
  if (group.waiting && first_of(group, group.waiting)->site != site) group.mixed = 1;
  group.waiting |= 1u << thread->lane;
  if (group.waiting == group.alive && !group.mixed) {
    group.active = group.waiting;
    check_missing(group, thread);
    return true;
  }
  wait(thread, waits_for_simdgroup);
  const bool leads = thread->leads;
  thread->leads = 0;
  return leads;
}
extern "C" {
bool tlc_meet(const char* what) { return meet(what, TLC_PC); }
void tlc_leave() {
  Simdgroup& group = *tlc_thread->simdgroup;
  for (u32 i = 0; i < group.lanes; i++)
    if (group.active >> i & 1) group.lane[i]->state = ready;
  group.waiting &= ~group.active;
  group.mixed = group.waiting && waiting_with(group, first_of(group, group.waiting)) != group.waiting;
}
void tlc_simdgroup_barrier(u32 flags) {
  if (!meet("simdgroup_barrier", TLC_PC)) return;
  Simdgroup& group = *tlc_thread->simdgroup;
  group.threadgroup_epoch += flags >> 1 & 1, group.device_epoch += flags & 1;
  tlc_leave();
}
void tlc_threadgroup_barrier(u32 flags) {
  Thread* thread = tlc_thread;
  thread->what = "threadgroup_barrier", thread->site = TLC_PC, thread->flags = flags;
  wait(thread, waits_for_threadgroup);
}
void* tlc_threadgroup_variable(u64 at, u64 size, u64 align, const char* name) {
  for (u32 i = 0; i < variable_count; i++)
    if (variables[i].at == at) return slots[0].base + variables[i].offset;
  if (align < 16) align = 16;
  const u32 offset = (threadgroup_top + (u32)align - 1) & ~((u32)align - 1);
  threadgroup_used = ((threadgroup_used + 15) & ~15u) + (u32)size;
  if (threadgroup_used > options.threadgroup_bytes)
    add_report("threadgroup-memory", true, tlc_thread ? TLC_PC : nullptr, "%u bytes of threadgroup memory with %s; there are %u",
               threadgroup_used, name, options.threadgroup_bytes);
  if (size > most_threadgroup_bytes - gap || offset + size + gap > most_threadgroup_bytes ||
      variable_count == sizeof variables / sizeof *variables) {
    add_report("threadgroup-memory", true, tlc_thread ? TLC_PC : nullptr, "too much threadgroup memory");
    if (tlc_thread) leave_fiber();
    return slots[0].base;
  }
  variables[variable_count++] = {name, at, offset, (u32)size};
  threadgroup_top = offset + (u32)size + gap;
  // nothing is there: a pattern of NaN in fast mode, and the shadow says so in the others
  memset(slots[0].base + offset, 0xff, size);
  memset(shadow_of(slots[0].base + offset), 0xff, size);
  return slots[0].base + offset;
}
}

static void run_simdgroup(Simdgroup& group) {
  for (;;) {
    Thread* next = nullptr;
    for (u32 i = 0; i < simd_width && !next; i++)
      if (lane_order[i] < group.lanes && group.lane[lane_order[i]]->state == ready) next = group.lane[lane_order[i]];
    if (!next) {
      if (!group.waiting) return;
      // no lane can run: finish what those wait for that wait in the same place
      next = first_of(group, group.waiting);
      group.active = waiting_with(group, next);
      if (group.active == group.alive) {
        check_missing(group, next);
      } else {
        char here[160], elsewhere[160];
        tlc_thread = next;
        add_report("simdgroup-divergence", false, next->site, "lanes %s are in %s, lanes %s are elsewhere",
                   lanes(group.active, here), next->what, lanes(group.alive & ~group.active, elsewhere));
        tlc_thread = nullptr;
      }
      next->leads = 1;
      next->state = ready;
    }
    resume(next);
    if (aborted) return;
  }
}
static void start_threads() {
  const u32* size = launch.group_size;
  const u32 count = size[0] * size[1] * size[2];
  for (u32 i = 0; i < count; i++) {
    Thread& t = threads[i];
    t = Thread{};
    t.index = i, t.lane = i % simd_width, t.simdgroup = &simdgroups[i / simd_width];
    t.position[0] = i % size[0], t.position[1] = i / size[0] % size[1], t.position[2] = i / (size[0] * size[1]);
    // stacks begin at different offsets, else they would share a few lines of the cache
    u64* top = (u64*)(slots[1].base + (u64)(i + 1) * stack_bytes - (i * 1344 & 0x7fc0));
#if defined(__x86_64__)
    *--top = 0;  // where run_fiber would return to
    *--top = (u64)(void*)run_fiber;
    for (u32 k = 0; k < saved_words; k++) *--top = 0;
#else
    top -= 20;
    for (u32 k = 0; k < 20; k++) top[k] = 0;
    top[11] = (u64)(void*)run_fiber;  // x30
#endif
    t.stack = top;
  }
  for (u32 s = 0; s * simd_width < count; s++) {
    Simdgroup& group = simdgroups[s];
    group = Simdgroup{};
    group.index = s;
    group.lanes = count - s * simd_width < simd_width ? count - s * simd_width : simd_width;
    group.alive = all_lanes(group);
    group.threadgroup_epoch = group.device_epoch = 1;
    for (u32 l = 0; l < group.lanes; l++) group.lane[l] = &threads[s * simd_width + l];
  }
  put_in_order(lane_order, simd_width);
  put_in_order(simdgroup_order, (count + simd_width - 1) / simd_width);
}
// All that wait at a threadgroup barrier go on; false when nobody does.
static bool pass_barrier(u32 count) {
  Thread* first = nullptr;
  u32 arrived = 0, flags = 0;
  bool mixed = false;
  for (u32 i = 0; i < count; i++) {
    Thread& t = threads[i];
    if (t.state != waits_for_threadgroup) continue;
    if (!first) first = &t;
    arrived++, flags |= t.flags, mixed |= t.site != first->site;
    t.state = ready;
  }
  if (!first) return false;
  if (arrived < count || mixed) {
    tlc_thread = first;
    add_report("barrier-divergence", false, first->site,
               mixed ? "threads of one threadgroup wait at different barriers"
                     : "%u of %u threads reach this barrier; the others have returned",
               arrived, count);
    tlc_thread = nullptr;
  }
  threadgroup_epoch += flags >> 1 & 1, device_epoch += flags & 1;
  return true;
}
static void run_threadgroup() {
  const u32* size = launch.group_size;
  const u32 count = size[0] * size[1] * size[2];
  threadgroup_epoch = device_epoch = 1;
  generation++;
  for (u32 i = 0; i < variable_count; i++) {
    memset(slots[0].base + variables[i].offset, 0xff, variables[i].size);
    memset(shadow_of(slots[0].base + variables[i].offset), 0xff, variables[i].size);
  }
  if (options.poison) memset(shadow_of(threads), 0, count * sizeof(Thread));
  start_threads();
  do {
    for (u32 s = 0; s * simd_width < count && !aborted; s++) run_simdgroup(simdgroups[simdgroup_order[s]]);
  } while (!aborted && pass_barrier(count));
}
static void run_launch(void (*entry)(), const u32* groups, const u32* size, const u32* grid, const u64* bytes) {
  open_arena();
  if (!threadgroup_cells) threadgroup_cells = (Cell*)reserve(most_threadgroup_bytes * sizeof(Cell));
  if (!threads) {
    slots[1].size = stack_bytes * most_threads + page * 8;
    threads = (Thread*)(slots[1].base + stack_bytes * most_threads);
    mprotect(threads, page * 8, may_read | may_write);
  }
  static_assert(sizeof(Thread) * most_threads <= page * 8, "threads fit behind the stacks");
  kernel = entry, tlc_launch = &launch, tlc_thread = nullptr, aborted = false, random_state = options.seed;
  variable_count = threadgroup_used = 0, threadgroup_top = gap, last_pc = nullptr;
  launch_generation++;
  for (u32 i = 0; i < 3; i++) launch.groups[i] = groups[i], launch.threads[i] = size[i], launch.grid[i] = grid[i];
  static char names[most_buffers][24];
  for (u32 i = 0; i < most_buffers; i++) {
    if (!bytes[i]) continue;
    snprintf(names[i], sizeof names[i], "threadgroup(%u)", i);
    launch.threadgroup_memory[i] = tlc_threadgroup_variable(~(u64)i, bytes[i], 16, names[i]);
  }
  const u32 mode = float_mode();
  catch_signals();
  set_float_mode(options.flush ? mode | flush_bits : mode & ~flush_bits);
  const u64 total = (u64)groups[0] * groups[1] * groups[2];
  for (u64 k = 0; k < total && !aborted; k++) {
    const u64 at = options.order == reverse ? total - 1 - k : k;
    launch.group[0] = (u32)(at % groups[0]);
    launch.group[1] = (u32)(at / groups[0] % groups[1]);
    launch.group[2] = (u32)(at / ((u64)groups[0] * groups[1]));
    for (u32 i = 0; i < 3; i++) {
      const u32 rest = grid[i] - launch.group[i] * size[i];
      launch.group_size[i] = rest < size[i] ? rest : size[i];
    }
    group_number = (u32)at;
    run_threadgroup();
    finished_groups++;
  }
  set_float_mode(mode);
  release_signals();
  tlc_thread = nullptr;
}
