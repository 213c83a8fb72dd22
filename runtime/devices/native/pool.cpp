// pool: runs a list of kernel launches in order, each spread over the threads that are awake.
//
// A launch is cut into chunks of threadgroups. One 64-bit ticket names the open launch, its number of
// chunks and the next one to take; whoever finishes the last chunk opens the next launch. Completion
// counts chunks, never threads: a helper that sleeps or was descheduled between chunks delays nobody.
//
// Freestanding: the few functions of the C library are declared here and found when it is loaded.
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;

extern "C" {
int posix_memalign(void**, __SIZE_TYPE__, __SIZE_TYPE__);
void free(void*);
int sched_yield(void);
struct timespec { long seconds, nanoseconds; };
int clock_gettime(int, timespec*);
typedef __UINTPTR_TYPE__ pthread_t;
int pthread_create(pthread_t*, const void* attributes, void* (*)(void*), void*);
int pthread_join(pthread_t, void**);
int pthread_attr_init(void*);
int pthread_attr_setstacksize(void*, __SIZE_TYPE__);
int pthread_attr_destroy(void*);
}
struct alignas(16) Opaque { char bytes[128]; };  // room for any platform's pthread object

constexpr u64 spin_ns = 30000;   // how long a helper looks for work before it sleeps
// The first runs of a batch find out whether sharing its launches is faster: shared, alone, shared,
// alone. Nothing is tried where the first run kept this thread busy for so long in each launch, and
// a batch that is soon done alone is never shared.
constexpr u32 trials = 4;
constexpr u64 long_ns = 1000000, short_ns = 4000;
constexpr __SIZE_TYPE__ stack_bytes = 4 << 20;  // kernels keep up to 800 KB of operands on the stack

// ---- what the host fills in (see runtime/devices/cpu.py) ----------------------------------------
struct Pool;
struct Launch {
  void (*entry)(void* const* buffers, u32 begin, u32 end, u32 groups);
  void* const* buffers;
  u32 groups, chunk;  // chunk: threadgroups taken at a time; all of them means one thread runs it
};
struct Batch {
  Pool* pool;
  u32 count, trial;
  u64 best[2];  // shortest run in ns: shared, by the caller alone; the host writes 1, 0 to forbid sharing
  Launch launches[];
};

// Everything below `ticket` up to the next alignas changes together; the hot words have a cache line each.
struct Pool {
  alignas(64) u64 ticket;      // launch index << 40 | chunks << 20 | next chunk; no chunks: nothing is open
  alignas(64) u32 done;        // finished chunks of the open launch
  alignas(64) u32 parked;      // nonzero: some helper may be asleep
  u32 generation;              // changes when helpers are woken
  alignas(64) const Batch* batch;
  u32 threads, started, owner, epoch, quit;
  Opaque mutex, condition;
  pthread_t helpers[];
};

static u32 epoch = 1;  // changes in the child of a fork, where no helper exists

static inline u32 ticket_index(u64 t) { return u32(t >> 40); }
static inline u32 ticket_chunks(u64 t) { return u32(t >> 20) & 0xfffff; }
static inline u32 ticket_next(u64 t) { return u32(t) & 0xfffff; }

static inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}
#if defined(__APPLE__)
constexpr int monotonic = 6, of_thread = 16;
#else
constexpr int monotonic = 1, of_thread = 3;
#endif
static u64 now(int clock = monotonic) {
  timespec t;
  clock_gettime(clock, &t);
  return u64(t.seconds) * 1000000000u + u64(t.nanoseconds);
}

// ---- sleeping -----------------------------------------------------------------------------------
#if defined(__linux__) && !defined(TLC_NO_FUTEX)
extern "C" long syscall(long, ...);
#if defined(__x86_64__)
constexpr long futex = 202;
#else
constexpr long futex = 98;
#endif
static void park_init(Pool*) {}
static void park(Pool* pool, u32 seen) {
  syscall(futex, &pool->generation, 128 /* WAIT_PRIVATE */, seen, nullptr, nullptr, 0);
}
static void unpark(Pool* pool) {
  __atomic_add_fetch(&pool->generation, 1, __ATOMIC_SEQ_CST);
  syscall(futex, &pool->generation, 129 /* WAKE_PRIVATE */, 0x7fffffff, nullptr, nullptr, 0);
}
#else
extern "C" {
int pthread_mutex_init(void*, const void*);
int pthread_mutex_lock(void*);
int pthread_mutex_unlock(void*);
int pthread_cond_init(void*, const void*);
int pthread_cond_wait(void*, void*);
int pthread_cond_broadcast(void*);
}
static void park_init(Pool* pool) {
  pthread_mutex_init(&pool->mutex, nullptr);
  pthread_cond_init(&pool->condition, nullptr);
}
static void park(Pool* pool, u32 seen) {
  pthread_mutex_lock(&pool->mutex);
  while (__atomic_load_n(&pool->generation, __ATOMIC_SEQ_CST) == seen)
    pthread_cond_wait(&pool->condition, &pool->mutex);
  pthread_mutex_unlock(&pool->mutex);
}
static void unpark(Pool* pool) {
  pthread_mutex_lock(&pool->mutex);
  __atomic_add_fetch(&pool->generation, 1, __ATOMIC_SEQ_CST);
  pthread_cond_broadcast(&pool->condition);
  pthread_mutex_unlock(&pool->mutex);
}
#endif

// ---- running ------------------------------------------------------------------------------------
// Opens the next launch that is worth sharing; the ones before it are run here.
static void advance(Pool* pool, u32 index) {
  const Batch* batch = pool->batch;
  for (; index < batch->count; index++) {
    const Launch& l = batch->launches[index];
    if (l.groups > l.chunk) {
      const u32 chunks = l.groups / l.chunk + (l.groups % l.chunk != 0);
      __atomic_store_n(&pool->done, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&pool->ticket, u64(index) << 40 | u64(chunks) << 20, __ATOMIC_SEQ_CST);
      // A helper sets `parked` before it looks at the ticket for the last time, so one of us sees the other.
      if (__atomic_load_n(&pool->parked, __ATOMIC_SEQ_CST) &&
          __atomic_exchange_n(&pool->parked, 0, __ATOMIC_SEQ_CST))
        unpark(pool);
      return;
    }
    l.entry(l.buffers, 0, l.groups, l.groups);
  }
  __atomic_store_n(&pool->ticket, 0, __ATOMIC_RELEASE);
}

// Runs one chunk of the open launch; false if there is none left to take.
static bool work(Pool* pool) {
  u64 t = __atomic_load_n(&pool->ticket, __ATOMIC_SEQ_CST);
  if (ticket_next(t) >= ticket_chunks(t)) return false;
  t = __atomic_fetch_add(&pool->ticket, 1, __ATOMIC_ACQ_REL);
  const u32 chunk = ticket_next(t), chunks = ticket_chunks(t);
  if (chunk >= chunks) return false;
  // While this chunk is not counted as done, neither the launch nor the batch can go away.
  const Launch& l = pool->batch->launches[ticket_index(t)];
  const u32 begin = chunk * l.chunk;
  l.entry(l.buffers, begin, l.groups - begin < l.chunk ? l.groups : begin + l.chunk, l.groups);
  if (__atomic_add_fetch(&pool->done, 1, __ATOMIC_ACQ_REL) == chunks)
    advance(pool, ticket_index(t) + 1);
  return true;
}

static void* helper(void* argument) {
  Pool* pool = static_cast<Pool*>(argument);
  u64 since = now();
  for (;;) {
    if (work(pool)) {
      since = now();
    } else if (now() - since < spin_ns) {
      for (int i = 0; i < 8; i++) relax();
    } else {
      const u32 seen = __atomic_load_n(&pool->generation, __ATOMIC_SEQ_CST);
      __atomic_store_n(&pool->parked, 1, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&pool->quit, __ATOMIC_SEQ_CST)) return nullptr;
      if (work(pool)) continue;
      park(pool, seen);
      since = now();
    }
  }
}

// Threads are made when first needed, and again in the child of a fork.
static void start(Pool* pool) {
  pool->ticket = 0;
  pool->parked = pool->generation = pool->started = 0;
  pool->epoch = epoch;
  park_init(pool);
  Opaque attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  while (pool->started + 1 < pool->threads &&
         !pthread_create(&pool->helpers[pool->started], &attributes, helper, pool))
    pool->started++;
  pthread_attr_destroy(&attributes);
}

static void run_alone(const Batch* batch) {
  for (u32 i = 0; i < batch->count; i++) {
    const Launch& l = batch->launches[i];
    l.entry(l.buffers, 0, l.groups, l.groups);
  }
}

// False, with nothing run, if another thread is using the pool. The owner word holds the epoch, so
// that a run cut off by fork leaves the pool free in the child.
static bool run_shared(Pool* pool, const Batch* batch) {
  u32 owner = __atomic_load_n(&pool->owner, __ATOMIC_RELAXED);
  if (owner == epoch || !__atomic_compare_exchange_n(&pool->owner, &owner, epoch, false,
                                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    return false;
  if (pool->epoch != epoch) start(pool);
  pool->batch = batch;
  advance(pool, 0);
  u64 since = now();
  while (ticket_chunks(__atomic_load_n(&pool->ticket, __ATOMIC_ACQUIRE))) {
    if (work(pool)) {
      since = now();
    } else if (now() - since < spin_ns) {
      relax();
    } else {
      sched_yield();
    }
  }
  __atomic_store_n(&pool->owner, 0, __ATOMIC_RELEASE);
  return true;
}

#define TLC_EXPORT extern "C" __attribute__((visibility("default")))

TLC_EXPORT Pool* tlc_pool_open(u32 threads) {
  void* memory;
  const __SIZE_TYPE__ bytes = sizeof(Pool) + threads * sizeof(pthread_t);
  if (posix_memalign(&memory, alignof(Pool), bytes)) return nullptr;
  __builtin_memset(memory, 0, bytes);
  Pool* pool = static_cast<Pool*>(memory);
  pool->threads = threads;
  return pool;
}

TLC_EXPORT void tlc_pool_run(Batch* batch) {
  const bool trying = batch->trial < trials;
  const bool alone = trying ? batch->trial & 1 : batch->best[1] < batch->best[0];
  const u64 begin = trying ? now() : 0, busy = trying ? now(of_thread) : 0;
  if (alone || !run_shared(batch->pool, batch)) run_alone(batch);
  if (!trying) return;
  const u64 elapsed = now() - begin;
  u64& best = batch->best[alone];
  if (!best || elapsed < best) best = elapsed;
  if (!batch->trial++ && now(of_thread) - busy > long_ns * batch->count) {
    batch->best[0] = 0;
    batch->trial = trials;
  } else if (alone && elapsed < short_ns) {
    batch->best[0] = ~u64(0);
    batch->trial = trials;
  }
}

TLC_EXPORT void tlc_pool_close(Pool* pool) {
  if (pool->epoch == epoch) {
    __atomic_store_n(&pool->quit, 1, __ATOMIC_SEQ_CST);
    unpark(pool);
    for (u32 i = 0; i < pool->started; i++) pthread_join(pool->helpers[i], nullptr);
  }
  free(pool);
}

// To be called in the child of a fork.
TLC_EXPORT void tlc_pool_forked() { epoch++; }
