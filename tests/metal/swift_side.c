// In place of metalcompute's Swift file: every call goes to a table that the tests fill.
//
// The functions of the table answer with the id of what they open, or a negative RetCode.
// metalcompute calls from deallocators too, where an exception may be on its way: it is set aside.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "metalcompute.h"

struct {
  int64_t (*open_device)(int64_t index);
  int64_t (*open_kernel)(int64_t device, const char *text);
  int64_t (*open_function)(int64_t device, int64_t kernel, const char *name);
  int64_t (*open_buffer)(int64_t device, int64_t length, const char *source);
  int64_t (*open_run)(int64_t device, int64_t function, int64_t count, const int64_t *buffers, int64_t number);
  int64_t (*close)(int64_t id);
  char *(*contents)(int64_t buffer);
  int64_t (*message)(char *text, int64_t room);
} swift_side;

#define CALL(function, ...)                        \
  ({                                               \
    PyObject *type, *value, *trace;                \
    PyErr_Fetch(&type, &value, &trace);            \
    int64_t result = swift_side.function(__VA_ARGS__); \
    PyErr_Restore(type, value, trace);             \
    result;                                        \
  })

static RetCode opened(int64_t result, int64_t *id) {
  *id = result > 0 ? result : 0;
  return result > 0 ? 0 : result;
}

RetCode mc_sw_dev_open(uint64_t index, mc_dev_handle *device) {
  RetCode code = opened(CALL(open_device, (int64_t)index), &device->id);
  if (!code) device->name = strdup("a GPU for tests");
  return code;
}
RetCode mc_sw_kern_open(const mc_dev_handle *device, const char *text, mc_kern_handle *kernel) {
  return opened(CALL(open_kernel, device->id, text), &kernel->id);
}
RetCode mc_sw_fn_open(const mc_dev_handle *device, const mc_kern_handle *kernel, const char *name,
                      mc_fn_handle *function) {
  return opened(CALL(open_function, device->id, kernel->id, name), &function->id);
}
RetCode mc_sw_buf_open(const mc_dev_handle *device, uint64_t length, char *source, mc_buf_handle *buffer) {
  RetCode code = opened(CALL(open_buffer, device->id, (int64_t)length, source), &buffer->id);
  if (code) return code;
  buffer->buf = swift_side.contents(buffer->id);
  buffer->length = (int64_t)length;
  return 0;
}
RetCode mc_sw_run_open(const mc_dev_handle *device, const mc_kern_handle *kernel, const mc_fn_handle *function,
                       mc_run_handle *run) {
  int64_t *ids = malloc(sizeof *ids * (size_t)run->buf_count);
  for (int64_t i = 0; i < run->buf_count; i++) ids[i] = run->bufs[i]->id;
  RetCode code = opened(CALL(open_run, device->id, function->id, run->kcount, ids, run->buf_count), &run->id);
  free(ids);
  return code;
}
RetCode mc_sw_dev_close(mc_dev_handle *device) { return CALL(close, device->id); }
RetCode mc_sw_kern_close(const mc_dev_handle *device, mc_kern_handle *kernel) { return CALL(close, kernel->id); }
RetCode mc_sw_fn_close(const mc_dev_handle *device, const mc_kern_handle *kernel, mc_fn_handle *function) {
  return CALL(close, function->id);
}
RetCode mc_sw_buf_close(const mc_dev_handle *device, mc_buf_handle *buffer) { return CALL(close, buffer->id); }
RetCode mc_sw_run_close(const mc_run_handle *run) { return CALL(close, run->id); }

char *mc_sw_get_compile_error(void) {
  char text[8192] = "";
  swift_side.message(text, sizeof text);
  return strdup(text);
}

// tlc uses nothing of these
RetCode mc_sw_count_devs(mc_devices *devices) {
  devices->dev_count = 0;
  devices->devs = NULL;
  return 0;
}
enum { not_ready = -3 };
RetCode mc_sw_init(uint64_t index) { return not_ready; }
RetCode mc_sw_release(void) { return 0; }
RetCode mc_sw_compile(const char *text, const char *name) { return not_ready; }
RetCode mc_sw_alloc(int count, float *input, int format, int result_count, int result_format) { return not_ready; }
RetCode mc_sw_run(int count) { return not_ready; }
RetCode mc_sw_retrieve(int count, float *result) { return not_ready; }
