// Faults and endless loops: the signal becomes a report, and the fiber is left where it is.
#pragma once

struct Info {
  int number, error, code;
  void* where;  // at offset 16
};
struct Action {
  void (*handler)(int, Info*, void*);
  u64 mask[16];
  int flags;
  void (*restorer)();
};
struct SignalStack {
  void* start;
  int flags;
  u64 size;
};
struct Timer {
  long interval_seconds, interval_microseconds, seconds, microseconds;
};
extern "C" {
int sigaction(int, const Action*, Action*);
int sigaltstack(const SignalStack*, SignalStack*);
int setitimer(int, const Timer*, Timer*);
unsigned long pthread_self();
int pthread_kill(unsigned long, int);
}
enum { illegal = 4, trap = 5, bus_error = 7, arithmetic = 8, segmentation = 11, virtual_alarm = 26 };
enum { with_info = 4, on_stack = 0x08000000, nested = 0x40000000 };
constexpr int virtual_timer = 1;  // the time that this process computes

static const int caught[] = {illegal, trap, bus_error, arithmetic, segmentation, virtual_alarm};
static Action earlier[6];
static SignalStack earlier_stack;
alignas(16) static u8 signal_stack[65536];
static unsigned long runner;
static u64 finished_groups, seen_groups;
static u32 idle_seconds;
[[noreturn]] static void leave_fiber();

// Behind the first byte of the instruction: as if it were a call, whose return address is behind it.
static const void* interrupted_at(void* context) {
#if defined(__x86_64__)
  return *(u8**)((u8*)context + 168) + 1;
#elif defined(__aarch64__)
  return *(u8**)((u8*)context + 440) + 1;
#endif
}
static void on_alarm(const void* pc) {
  if (pthread_self() != runner) {
    pthread_kill(runner, virtual_alarm);
    return;
  }
  idle_seconds = finished_groups == seen_groups ? idle_seconds + 1 : 0;
  seen_groups = finished_groups;
  if (idle_seconds < options.seconds || !tlc_thread) return;
  tlc_thread->site = last_pc;
  add_report("endless-loop", true, pc, "a threadgroup has not ended after %u seconds", options.seconds);
  leave_fiber();
}
static void on_signal(int number, Info* info, void* context) {
  const void* pc = interrupted_at(context);
  if (number == virtual_alarm) return on_alarm(pc);
  if (!tlc_thread || pthread_self() != runner) {  // not ours: let it do what it did before
    for (u32 i = 0; i < 6; i++)
      if (caught[i] == number) sigaction(number, &earlier[i], nullptr);
    return;
  }
  char place[96];
  const void* where = info->where;
  if (number == arithmetic) {
    add_report("undefined", true, pc, "division by zero, or one that overflows");
  } else if (number == illegal || number == trap) {
    add_report("undefined", true, pc, "a place that must not be reached");
  } else if (in_arena(where) && slot_of(where) == 1) {
    add_report("thread-memory", true, pc, "a thread needs more than %u KiB of memory of its own", (u32)((stack_bytes - page) >> 10));
  } else if (in_arena(where)) {
    const Slot& slot = slots[slot_of(where)];
    add_report("out-of-bounds", true, pc, "access at %s, which has %llu bytes", describe(where, place), (unsigned long long)slot.size);
  } else {
    add_report("null-pointer", true, pc, "access to a buffer that is not bound, or through a wild pointer");
  }
  leave_fiber();
}
static void catch_signals() {
  runner = pthread_self();
  finished_groups = seen_groups = idle_seconds = 0;
  const SignalStack stack{signal_stack, 0, sizeof signal_stack};
  sigaltstack(&stack, &earlier_stack);
  Action action{};
  action.handler = on_signal;
  action.flags = with_info | on_stack | nested;
  for (u32 i = 0; i < 6; i++) sigaction(caught[i], &action, &earlier[i]);
  const Timer each_second{1, 0, 1, 0};
  if (options.seconds) setitimer(virtual_timer, &each_second, nullptr);
}
static void release_signals() {
  const Timer never{};
  if (options.seconds) setitimer(virtual_timer, &never, nullptr);
  for (u32 i = 0; i < 6; i++) sigaction(caught[i], &earlier[i], nullptr);
  sigaltstack(&earlier_stack, nullptr);
}
