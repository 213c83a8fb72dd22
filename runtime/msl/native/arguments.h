// Calls a kernel with the arguments that its attributes ask for.
#pragma once

namespace tlc {
struct Argument {
  u32 kind, index;
};
#define TLC_KINDS(K) K(buffer) K(threadgroup) K(thread_position_in_grid)                      \
  K(thread_position_in_threadgroup) K(thread_index_in_threadgroup)                            \
  K(threadgroup_position_in_grid) K(threads_per_threadgroup)                                  \
  K(dispatch_threads_per_threadgroup) K(threads_per_grid) K(threadgroups_per_grid)            \
  K(thread_index_in_simdgroup) K(simdgroup_index_in_threadgroup) K(threads_per_simdgroup)     \
  K(simdgroups_per_threadgroup) K(dispatch_simdgroups_per_threadgroup)                        \
  K(thread_index_in_quadgroup) K(quadgroup_index_in_threadgroup) K(quadgroups_per_threadgroup) \
  K(absent)
#define TLC_KIND(name) kind_##name,
enum { TLC_KINDS(TLC_KIND) };

template <class T> struct Numbers {
  static T make(u32 x, u32, u32) { return (T)x; }
};
template <class T> struct Numbers<vec<T, 2>> {
  static vec<T, 2> make(u32 x, u32 y, u32) { return vec<T, 2>(x, y); }
};
template <class T> struct Numbers<vec<T, 3>> {
  static vec<T, 3> make(u32 x, u32 y, u32 z) { return vec<T, 3>(x, y, z); }
};
inline u32 simdgroups(const u32 (&size)[3]) { return (size[0] * size[1] * size[2] + 31) / 32; }

template <class T> struct Bound {
  static T get(Argument a) {
    const Launch& l = *tlc_launch;
    const Thread& t = *tlc_thread;
    typedef Numbers<metal::remove_cv_t<T>> N;
    const auto three = [](const u32 (&n)[3]) { return N::make(n[0], n[1], n[2]); };
    switch (a.kind) {
      case kind_thread_position_in_grid:
        return N::make(l.group[0] * l.threads[0] + t.position[0], l.group[1] * l.threads[1] + t.position[1],
                       l.group[2] * l.threads[2] + t.position[2]);
      case kind_thread_position_in_threadgroup: return three(t.position);
      case kind_threadgroup_position_in_grid: return three(l.group);
      case kind_threads_per_threadgroup: return three(l.group_size);
      case kind_dispatch_threads_per_threadgroup: return three(l.threads);
      case kind_threads_per_grid: return three(l.grid);
      case kind_threadgroups_per_grid: return three(l.groups);
      case kind_thread_index_in_threadgroup: return N::make(t.index, 0, 0);
      case kind_thread_index_in_simdgroup: return N::make(t.lane, 0, 0);
      case kind_simdgroup_index_in_threadgroup: return N::make(t.simdgroup->index, 0, 0);
      case kind_threads_per_simdgroup: return N::make(simd_width, 0, 0);
      case kind_simdgroups_per_threadgroup: return N::make(simdgroups(l.group_size), 0, 0);
      case kind_dispatch_simdgroups_per_threadgroup: return N::make(simdgroups(l.threads), 0, 0);
      case kind_thread_index_in_quadgroup: return N::make(t.lane & 3, 0, 0);
      case kind_quadgroup_index_in_threadgroup: return N::make(t.index / 4, 0, 0);
      case kind_quadgroups_per_threadgroup: return N::make(simdgroups(l.group_size) * 8, 0, 0);
    }
    return N::make(0, 0, 0);
  }
};
inline void* memory(Argument a) {
  if (a.kind == kind_absent) return nullptr;
  return a.kind == kind_threadgroup ? tlc_launch->threadgroup_memory[a.index] : tlc_launch->buffers[a.index];
}
template <class T> struct Bound<T*> {
  static T* get(Argument a) { return (T*)memory(a); }
};
constexpr address nowhere = 4096;  // no process has memory there: to refer to it is right, to read it is not
template <class T> struct Bound<T&> {
  static T& get(Argument a) {
    void* const p = memory(a);
    return *(T*)(p ? p : (void*)nowhere);
  }
};
template <class... A, size_t... i>
void call(void (*kernel)(A...), const Argument* arguments, metal::index_sequence<i...>) {
  kernel(Bound<A>::get(arguments[i])...);
}
template <class... A> void invoke(void (*kernel)(A...), const Argument* arguments) {
  call(kernel, arguments, metal::make_index_sequence<sizeof...(A)>{});
}
}  // namespace tlc
