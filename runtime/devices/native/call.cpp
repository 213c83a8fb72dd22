// call: an entry as a builtin function of Python that takes and returns NumPy arrays. Arguments are
// compared with what the call was prepared for and copied to where its launches read them; the
// launches run; results are copied out. Any other arguments go to a function in Python.
//
// Freestanding, as pool.cpp: functions of CPython's stable interface are found when it is loaded.
// tlc/direct.py checks that arrays lie in memory as `Array` says, which NumPy's ABI promises.
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;
typedef __INT64_TYPE__ i64;
struct Object;

extern "C" {
Object* PyTuple_GetItem(Object*, i64);
Object* PyTuple_New(i64);
int PyTuple_SetItem(Object*, i64, Object*);
void* PyLong_AsVoidPtr(Object*);
Object* PyObject_Vectorcall(Object*, Object* const*, __SIZE_TYPE__, Object*);
void* PyEval_SaveThread();
void PyEval_RestoreThread(void*);
void Py_DecRef(Object*);
struct timespec { long seconds, nanoseconds; };
int clock_gettime(int, timespec*);
}

struct Array {
  u64 references;
  const void* type;
  char* data;
  int rank;
  const i64* shape;
  const i64* strides;
  Object* base;
  const void* dtype;
  int flags;
};
constexpr int c_contiguous = 1;

// What the host fills in. Behind it lie the parameters, each with its shape, then the addresses of
// the flags that kernels raise.
struct Call {
  u64 trial, least;  // times measured, and the shortest in ns
  void (*run)(void* batch);
  void* batch;
  const void* array_type;
  u64 parameters, results, flags;
};
struct Parameter {
  char* memory;
  u64 bytes;
  const void* dtype;
  u64 rank;
  i64 shape[];
};
// The items of `self`: where the Call is, how the program is locked and released, what runs other
// arguments, and for each result what copies it.
enum { call_at, acquire_at, release_at, otherwise_at, results_at };

static const Parameter* after(const Parameter* p) {
  return reinterpret_cast<const Parameter*>(p->shape + p->rank);
}

static bool fits(const Array* a, const void* type, const Parameter* p) {
  if (a->type != type || a->dtype != p->dtype || !(a->flags & c_contiguous) || u64(a->rank) != p->rank)
    return false;
  for (u64 i = 0; i < p->rank; i++)
    if (a->shape[i] != p->shape[i]) return false;
  return true;
}

// Launches that take less than it takes to let other threads of Python go on are waited for.
constexpr u64 trials = 4, short_ns = 2000;

static u64 now() {
#if defined(__APPLE__)
  constexpr int monotonic = 6;
#else
  constexpr int monotonic = 1;
#endif
  timespec t;
  clock_gettime(monotonic, &t);
  return u64(t.seconds) * 1000000000u + u64(t.nanoseconds);
}

static void run(Call* call) {
  if (call->trial == trials && call->least < short_ns) {
    call->run(call->batch);
    return;
  }
  void* thread = PyEval_SaveThread();
  const u64 begin = call->trial < trials ? now() : 0;
  call->run(call->batch);
  if (call->trial < trials) {
    const u64 elapsed = now() - begin;
    if (!call->trial++ || elapsed < call->least) call->least = elapsed;
  }
  PyEval_RestoreThread(thread);
}

static Object* called(Object* self, i64 item) {
  return PyObject_Vectorcall(PyTuple_GetItem(self, item), nullptr, 0, nullptr);
}

static Object* copied(Object* self, u64 results) {
  if (results == 1) return called(self, results_at);
  Object* all = PyTuple_New(i64(results));
  for (u64 i = 0; all && i < results; i++) {
    Object* one = called(self, results_at + i64(i));
    if (one) {
      PyTuple_SetItem(all, i64(i), one);
    } else {
      Py_DecRef(all);
      all = nullptr;
    }
  }
  return all;
}

extern "C" __attribute__((visibility("default"))) Object* tlc_call(
    Object* self, Object* const* arguments, i64 count, Object* names) {
  Call* call = static_cast<Call*>(PyLong_AsVoidPtr(PyTuple_GetItem(self, call_at)));
  Object* otherwise = PyTuple_GetItem(self, otherwise_at);
  const Parameter* first = reinterpret_cast<const Parameter*>(call + 1);
  const Parameter* p = first;
  bool as_prepared = !names && u64(count) == call->parameters;
  for (i64 i = 0; as_prepared && i < count; i++, p = after(p))
    as_prepared = fits(reinterpret_cast<const Array*>(arguments[i]), call->array_type, p);
  if (!as_prepared) return PyObject_Vectorcall(otherwise, arguments, u64(count), names);

  u32* const* flags = reinterpret_cast<u32* const*>(p);
  Object* locked = called(self, acquire_at);
  if (!locked) return nullptr;
  Py_DecRef(locked);
  p = first;
  for (i64 i = 0; i < count; i++, p = after(p))
    __builtin_memcpy(p->memory, reinterpret_cast<const Array*>(arguments[i])->data, p->bytes);
  for (u64 i = 0; i < call->flags; i++) *flags[i] = 0;
  run(call);
  u32 raised = 0;
  for (u64 i = 0; i < call->flags; i++) raised |= *flags[i];
  Object* found = raised ? nullptr : copied(self, call->results);
  Object* released = called(self, release_at);
  if (released) Py_DecRef(released);
  // run again for the error that a flag stands for
  return raised ? PyObject_Vectorcall(otherwise, arguments, u64(count), nullptr) : found;
}
