// Reports of what a kernel does wrong: kept as they are found, one for each kind and place.
#pragma once

struct Report {
  const char* kind;
  const void* pc[2];  // where in the kernel; the second if the first leads to no line
  u32 group[3], thread, simdgroup, lane;
  u32 in_thread;  // a thread did it, not the launch as a whole
  char text[240];
};
struct Options {
  u32 checked;   // kernels were compiled to check every access
  u32 poison;    // kernels were compiled to follow uninitialised values
  u32 order;     // 0 forward, 1 reverse, 2 random
  u32 seed;
  u32 flush;     // float32 denormals to zero
  u32 seconds;   // that a threadgroup may take
  u32 threadgroup_bytes;
};
constexpr u32 most_reports = 64;
static Report reports[most_reports];
static u32 report_count;
static bool aborted;  // the launch cannot go on
static Options options;
static Launch launch;
static const void* last_pc;  // of the last access that was checked

static void add_report(const char* kind, bool fatal, const void* pc, const char* form, ...) {
  if (fatal) aborted = true;
  const void* site = tlc_thread ? tlc_thread->site : nullptr;
  for (u32 i = 0; i < report_count; i++)
    if (reports[i].kind == kind && reports[i].pc[0] == pc && (pc || reports[i].pc[1] == site)) return;
  if (report_count == most_reports) return;
  Report& r = reports[report_count++];
  r.kind = kind;
  r.pc[0] = pc, r.pc[1] = site;
  for (u32 i = 0; i < 3; i++) r.group[i] = launch.group[i];
  r.in_thread = tlc_thread != nullptr;
  if (tlc_thread) {
    r.thread = tlc_thread->index, r.lane = tlc_thread->lane;
    r.simdgroup = tlc_thread->simdgroup->index;
  }
  __builtin_va_list rest;
  __builtin_va_start(rest, form);
  vsnprintf(r.text, sizeof r.text, form, rest);
  __builtin_va_end(rest);
}
#define TLC_PC __builtin_return_address(0)

// A list of lanes, such as "0-15 and 20".
static const char* lanes(u32 set, char (&text)[160]) {
  u32 at = 0;
  text[0] = 0;
  for (u32 i = 0; i < simd_width && at < 140; i++) {
    if (!(set >> i & 1)) continue;
    u32 end = i;
    while (end + 1 < simd_width && (set >> (end + 1) & 1)) end++;
    at += (u32)snprintf(text + at, sizeof text - at, end > i ? "%s%u-%u" : "%s%u", at ? "," : "", i, end);
    i = end;
  }
  return text;
}
