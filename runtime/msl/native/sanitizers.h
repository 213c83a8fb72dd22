// What code compiled with clang's sanitizers calls; none of their own runtimes is used.
//
// Checked mode is -fsanitize=thread (every access that other threads might see) with parts of
// -fsanitize=undefined. Poison mode is -fsanitize=kernel-memory: every value has a shadow, which says
// what of it is uninitialised, and an origin, which says what variable that came from.
#pragma once

static void check(const void* p, u64 size, bool write, const void* pc) {
  if (options.checked) check_access(p, size, !write, write, false, pc);
}
extern "C" {
void tlc_complain(const char* kind, const char* text) { add_report(kind, false, TLC_PC, "%s", text); }
void tlc_check_alignment(const void* p, u64 align) {
  char place[96];
  if (in_arena(p) && slot_of(p) != 1)
    add_report("misaligned", false, TLC_PC, "a vector at %s has to be aligned to %u bytes", describe(p, place), (u32)align);
}
void tlc_atomic(const void* p, u32 size, bool reads, bool writes) {
  if (options.checked) check_access(p, size, reads, writes, true, TLC_PC);
}

#define TLC_ACCESS(n)                                                       \
  void __tsan_read##n(void* p) { check(p, n, false, TLC_PC); }              \
  void __tsan_write##n(void* p) { check(p, n, true, TLC_PC); }              \
  void __tsan_unaligned_read##n(void* p) { check(p, n, false, TLC_PC); }    \
  void __tsan_unaligned_write##n(void* p) { check(p, n, true, TLC_PC); }    \
  void __tsan_volatile_read##n(void* p) { check(p, n, false, TLC_PC); }     \
  void __tsan_volatile_write##n(void* p) { check(p, n, true, TLC_PC); }     \
  void __tsan_unaligned_volatile_read##n(void* p) { check(p, n, false, TLC_PC); } \
  void __tsan_unaligned_volatile_write##n(void* p) { check(p, n, true, TLC_PC); }
TLC_ACCESS(1) TLC_ACCESS(2) TLC_ACCESS(4) TLC_ACCESS(8) TLC_ACCESS(16)
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_read_range(void* p, u64 n) { check(p, n, false, TLC_PC); }
void __tsan_write_range(void* p, u64 n) { check(p, n, true, TLC_PC); }
void* __tsan_memcpy(void* to, const void* from, u64 n) {
  check(from, n, false, TLC_PC), check(to, n, true, TLC_PC);
  return memcpy(to, from, n);
}
void* __tsan_memmove(void* to, const void* from, u64 n) {
  check(from, n, false, TLC_PC), check(to, n, true, TLC_PC);
  return memmove(to, from, n);
}
void* __tsan_memset(void* to, int value, u64 n) {
  check(to, n, true, TLC_PC);
  return memset(to, value, n);
}

// ---- undefined behaviour ------------------------------------------------------------------------
struct Mismatch {
  const char* file;
  u32 line, column;
  const void* type;
  u8 log_align, check;
};
void __ubsan_handle_type_mismatch_v1(Mismatch* data, address p) {
  const u64 align = 1ull << data->log_align;
  char place[96];
  if (!p) add_report("null-pointer", false, TLC_PC, "access to a buffer that is not bound, or through a null pointer");
  else if (p & (align - 1))
    add_report("misaligned", false, TLC_PC, "%s has to be aligned to %u bytes",
               in_arena((void*)p) ? describe((void*)p, place) : "a value", (u32)align);
}
#define TLC_UNDEFINED(name, text)                                             \
  void __ubsan_handle_##name(void*, address, address) {                       \
    add_report("undefined", false, TLC_PC, text);                             \
  }
TLC_UNDEFINED(add_overflow, "a signed sum overflows")
TLC_UNDEFINED(sub_overflow, "a signed difference overflows")
TLC_UNDEFINED(mul_overflow, "a signed product overflows")
TLC_UNDEFINED(negate_overflow, "a negation overflows")
TLC_UNDEFINED(divrem_overflow, "division by zero, or one that overflows")
TLC_UNDEFINED(shift_out_of_bounds, "a shift by more bits than there are")
TLC_UNDEFINED(float_cast_overflow, "a number that is too large for the integer type it is converted to")
void __ubsan_handle_out_of_bounds(void*, address) {
  add_report("out-of-bounds", false, TLC_PC, "an array index is out of bounds");
}
void __ubsan_handle_builtin_unreachable(void*) {
  add_report("undefined", true, TLC_PC, "a place that must not be reached");
}
void __ubsan_handle_missing_return(void*) {
  add_report("undefined", true, TLC_PC, "a function ends without a result");
}

// ---- uninitialised values -----------------------------------------------------------------------
constexpr u32 most_origins = 65536;
static const char* origins[most_origins];  // a hash table: "----variable@function" by number, 0 is none
struct Context {  // laid out as clang expects it
  u8 params[800], result[800], rest[800], rest_origins[800];
  u64 rest_size;
  u8 param_origins[800];
  u32 result_origin;
};
static Context contexts[most_threads + 1];
static u8 no_shadow[65536], no_origin[65536], lost[65536];

static void* context() { return &contexts[tlc_thread ? tlc_thread->index : most_threads]; }
void* __msan_get_context_state() { return context(); }
struct Metadata {
  void *shadow, *origin;
};
static Metadata metadata(const void* p, u64 size, bool store) {
  if (in_arena(p)) return {shadow_of(p), origin_of(p)};
  if (store) return {lost, lost};
  if (size > sizeof no_shadow) abort();
  return {no_shadow, no_origin};
}
#define TLC_METADATA(n)                                                                           \
  Metadata __msan_metadata_ptr_for_load_##n(const void* p) { return metadata(p, n, false); }      \
  Metadata __msan_metadata_ptr_for_store_##n(const void* p) { return metadata(p, n, true); }
TLC_METADATA(1) TLC_METADATA(2) TLC_METADATA(4) TLC_METADATA(8)
Metadata __msan_metadata_ptr_for_load_n(const void* p, u64 n) { return metadata(p, n, false); }
Metadata __msan_metadata_ptr_for_store_n(const void* p, u64 n) { return metadata(p, n, true); }
u32 __msan_chain_origin(u32 origin) { return origin; }
static const char* origin_name(u32 origin, char (&text)[96]) {
  const char* from = origin < most_origins && origins[origin] ? origins[origin] : "";
  while (*from == '-') from++;
  u32 n = 0;
  while (from[n] && from[n] != '@' && n < 90) n++;
  snprintf(text, sizeof text, n ? "'%.*s'" : "a variable", (int)n, from);
  return text;
}
void tlc_origin_name(u32 origin, char* text) {
  char name[96];
  snprintf(text, 96, "%s", origin_name(origin, name));
}
void __msan_warning(u32 origin) {
  char name[96];
  add_report("uninitialised-value", false, TLC_PC, "what happens depends on %s, which has no value here", origin_name(origin, name));
}
// The number of a name, which is told by its address; 0 when there is no room near its place.
static u32 number_of_origin(const char* name) {
  const u32 first = (u32)((address)name * 0x9e3779b97f4a7c15u >> 48);
  for (u32 k = 0; k < 64; k++) {
    const u32 at = (first + k) % most_origins;
    if (!at) continue;
    if (!origins[at]) origins[at] = name;
    if (origins[at] == name) return at;
  }
  return 0;
}
void __msan_poison_alloca(void* p, u64 size, const char* name) {
  if (!in_arena(p)) return;
  memset(shadow_of(p), 0xff, size);
  const u32 at = number_of_origin(name);
  for (u64 i = 0; i < size; i += 4) *origin_of((u8*)p + i) = at;
}
void __msan_unpoison_alloca(void* p, u64 size) {
  if (in_arena(p)) memset(shadow_of(p), 0, size);
}
static void copy_shadow(void* to, const void* from, u64 n) {
  if (!in_arena(to)) return;
  if (!in_arena(from)) {
    memset(shadow_of(to), 0, n);
    return;
  }
  memmove(shadow_of(to), shadow_of(from), n);
  for (u64 i = 0; i < n; i += 4) *origin_of((u8*)to + i) = *origin_of((const u8*)from + i);
}
void* __msan_memcpy(void* to, const void* from, u64 n) {
  copy_shadow(to, from, n);
  return memcpy(to, from, n);
}
void* __msan_memmove(void* to, const void* from, u64 n) {
  copy_shadow(to, from, n);
  return memmove(to, from, n);
}
void* __msan_memset(void* to, int value, u64 n) {
  if (in_arena(to)) memset(shadow_of(to), 0, n);
  return memset(to, value, n);
}
void __msan_instrument_asm_store(void*, u64) {}
}
