// What metalcompute.c calls its Swift side with; its source distribution lacks this header.
//
// The names and the order of fields are those that metalcompute 0.2.9's C and Swift files use.
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef int64_t RetCode;  // 0, or a negative number of metalcompute.c's table

typedef struct {
  char *name;
  int64_t recommendedMaxWorkingSetSize;
  bool hasUnifiedMemory;
  int64_t maxTransferRate;
} mc_dev;
typedef struct {
  int64_t dev_count;
  mc_dev *devs;
} mc_devices;
typedef struct {
  int64_t id;
  char *name;
} mc_dev_handle;
typedef struct {
  int64_t id;
} mc_kern_handle, mc_fn_handle;
typedef struct {
  int64_t id;
  char *buf;
  int64_t length;
} mc_buf_handle;
typedef struct {
  int64_t id, kcount, buf_count;
  mc_buf_handle **bufs;
} mc_run_handle;

RetCode mc_sw_count_devs(mc_devices *devices);
RetCode mc_sw_dev_open(uint64_t index, mc_dev_handle *device);
RetCode mc_sw_dev_close(mc_dev_handle *device);
RetCode mc_sw_kern_open(const mc_dev_handle *device, const char *text, mc_kern_handle *kernel);
RetCode mc_sw_kern_close(const mc_dev_handle *device, mc_kern_handle *kernel);
RetCode mc_sw_fn_open(const mc_dev_handle *device, const mc_kern_handle *kernel, const char *name,
                      mc_fn_handle *function);
RetCode mc_sw_fn_close(const mc_dev_handle *device, const mc_kern_handle *kernel, mc_fn_handle *function);
RetCode mc_sw_buf_open(const mc_dev_handle *device, uint64_t length, char *source, mc_buf_handle *buffer);
RetCode mc_sw_buf_close(const mc_dev_handle *device, mc_buf_handle *buffer);
RetCode mc_sw_run_open(const mc_dev_handle *device, const mc_kern_handle *kernel, const mc_fn_handle *function,
                       mc_run_handle *run);
RetCode mc_sw_run_close(const mc_run_handle *run);
char *mc_sw_get_compile_error(void);  // freed by the caller

// The older interface, with one kernel and two buffers.
RetCode mc_sw_init(uint64_t index);
RetCode mc_sw_release(void);
RetCode mc_sw_compile(const char *text, const char *name);
RetCode mc_sw_alloc(int count, float *input, int format, int result_count, int result_format);
RetCode mc_sw_run(int count);
RetCode mc_sw_retrieve(int count, float *result);
