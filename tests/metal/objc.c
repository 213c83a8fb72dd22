// An Objective-C runtime for tests: messages, retain counts and autorelease pools.
//
// Methods are functions that the tests give a class. What would be undefined on a Mac, such as a
// message to an object that has gone or one release too many, is a fault that the tests can read;
// the memory of an object is never given back, so that such messages are seen.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Object {
  struct Class *isa;
  long retains;
  char *bytes;  // of strings, errors and data
  size_t size;
} Object;
typedef struct Class {
  Object object;  // a class is an object, of itself
  char name[64];
  long alive;
} Class;
typedef struct {
  Class *of;
  const char *selector;
  void *function;
} Method;

enum { most = 1024 };
static Class classes[most];
static Method methods[most];
static char *selectors[most], *faults[most];
static int class_count, method_count, selector_count, fault_count;
static Object **pooled;
static long pooled_count, pooled_room, pools;
static void (*on_end)(Object *);

static void fault(const char *what, const char *selector, const char *name) {
  char text[256];
  snprintf(text, sizeof text, "%s: [%s %s]", what, name, selector);
  if (fault_count < most) faults[fault_count++] = strdup(text);
}

// ---- what a program calls ------------------------------------------------------------------------
void *objc_getClass(const char *name) {
  for (int i = 0; i < class_count; i++)
    if (!strcmp(classes[i].name, name)) return &classes[i];
  return NULL;
}
const char *sel_registerName(const char *name) {
  for (int i = 0; i < selector_count; i++)
    if (!strcmp(selectors[i], name)) return selectors[i];
  return selectors[selector_count++] = strdup(name);
}
static Object *retain(Object *self, const char *selector) {
  self->retains++;
  return self;
}
static void release(Object *self, const char *selector) {
  if (--self->retains || self->isa == (Class *)self) return;
  self->isa->alive--;
  if (on_end) on_end(self);
}
void *objc_autoreleasePoolPush(void) {
  pools++;
  return (void *)(pooled_count + 1);
}
void objc_autoreleasePoolPop(void *token) {
  pools--;
  while (pooled_count >= (long)token) release(pooled[--pooled_count], "release");
}

// ---- what the tests call --------------------------------------------------------------------------
Class *fake_class(const char *name) {
  Class *made = objc_getClass(name);
  if (made) return made;
  made = &classes[class_count++];
  made->object = (Object){made, 1, NULL, 0};
  snprintf(made->name, sizeof made->name, "%s", name);
  return made;
}
void fake_method(Class *of, const char *selector, void *function) {
  selector = sel_registerName(selector);
  for (int i = 0; i < method_count; i++)
    if (methods[i].of == of && methods[i].selector == selector) {
      methods[i].function = function;
      return;
    }
  methods[method_count++] = (Method){of, selector, function};
}
Object *fake_new(Class *of, const char *bytes, size_t size) {
  Object *made = malloc(sizeof *made);
  *made = (Object){of, 1, NULL, size};
  if (bytes) {
    made->bytes = calloc(1, size + 1);
    memcpy(made->bytes, bytes, size);
  }
  of->alive++;
  return made;
}
Object *fake_autorelease(Object *made) {
  if (!pools) fault("no pool is there", "autorelease", made->isa->name);
  if (pooled_count == pooled_room) pooled = realloc(pooled, sizeof *pooled * (pooled_room = 2 * pooled_room + 64));
  return pooled[pooled_count++] = made;
}
char *fake_bytes(Object *of) { return of->bytes; }
size_t fake_size(Object *of) { return of->size; }
long fake_alive(Class *of) { return of->alive; }
long fake_open_pools(void) { return pools; }
void fake_on_end(void (*function)(Object *)) { on_end = function; }
const char *fake_fault(int at) { return at < fault_count ? faults[at] : NULL; }
void fake_reset(void) { fault_count = 0; }

// ---- Foundation and libdispatch, as far as Metal needs them ------------------------------------------
static Object *string_of(Object *self, const char *selector, const char *text) {
  return fake_autorelease(fake_new(fake_class("NSString"), text, strlen(text)));
}
static char *utf8(Object *self, const char *selector) { return self->bytes; }
static Object *described(Object *self, const char *selector) {
  return fake_autorelease(fake_new(fake_class("NSString"), self->bytes, self->size));
}
Object *dispatch_data_create(const char *bytes, size_t size, void *queue, void *destructor) {
  return fake_new(fake_class("OS_dispatch_data"), bytes, size);
}
static void *(*default_device)(void);
void fake_default_device(void *(*function)(void)) { default_device = function; }
void *MTLCreateSystemDefaultDevice(void) { return default_device(); }
void fake_begin(void) {
  if (class_count) return;
  fake_method(fake_class("NSString"), "stringWithUTF8String:", string_of);
  fake_method(fake_class("NSString"), "UTF8String", utf8);
  fake_method(fake_class("NSError"), "localizedDescription", described);
}

// ---- messages -----------------------------------------------------------------------------------------
static void *nothing(void) { return NULL; }
__attribute__((used)) void *fake_find(Object *self, const char *selector) {
  if (!self) return nothing;
  if (self->retains <= 0) {
    fault("the object has gone", selector, self->isa->name);
    return nothing;
  }
  if (!strcmp(selector, "retain")) return retain;
  if (!strcmp(selector, "release")) return release;
  for (int i = 0; i < method_count; i++)
    if (methods[i].of == self->isa && methods[i].selector == selector) return methods[i].function;
  fault("no such method", selector, self->isa->name);
  return nothing;
}
// Finds the method and jumps to it, with all arguments where they are.
#if defined __x86_64__
__asm__(
    ".globl objc_msgSend\n.type objc_msgSend, @function\nobjc_msgSend:\n"
    "push %rbp\nmov %rsp, %rbp\npush %rdi\npush %rsi\npush %rdx\npush %rcx\npush %r8\npush %r9\n"
    "call fake_find@PLT\n"
    "pop %r9\npop %r8\npop %rcx\npop %rdx\npop %rsi\npop %rdi\npop %rbp\njmp *%rax\n");
#else
__asm__(
    ".globl objc_msgSend\n.type objc_msgSend, %function\nobjc_msgSend:\n"
    "stp x29, x30, [sp, #-16]!\nstp x0, x1, [sp, #-16]!\nstp x2, x3, [sp, #-16]!\n"
    "stp x4, x5, [sp, #-16]!\nstp x6, x7, [sp, #-16]!\nstr x8, [sp, #-16]!\n"
    "bl fake_find\nmov x16, x0\n"
    "ldr x8, [sp], #16\nldp x6, x7, [sp], #16\nldp x4, x5, [sp], #16\n"
    "ldp x2, x3, [sp], #16\nldp x0, x1, [sp], #16\nldp x29, x30, [sp], #16\nbr x16\n");
#endif
