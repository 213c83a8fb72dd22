// convert: numbers as a model file stores them, to float16 or float32, in one pass over both.
//
// Each function takes `count` numbers at any address and says whether a result is infinite or NaN:
// whether that is an error needs the value, and so the slower way (runtime/decode.py).
typedef __UINT8_TYPE__ u8;
typedef __UINT16_TYPE__ u16;
typedef __UINT32_TYPE__ u32;
typedef __UINT64_TYPE__ u64;

template <class T> static inline T at(const u8* data, u64 index) {
  T value;
  __builtin_memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

static inline u16 bits(_Float16 value) { return __builtin_bit_cast(u16, value); }

constexpr u16 magnitude = 0x7FFF, infinite = 0x7C00;
constexpr u64 piece = 4096;  // numbers whose 16-bit maximum is kept in vectors

#define EXPORT extern "C" __attribute__((visibility("default")))

template <class Convert> static u32 halves(u16* out, u64 count, Convert convert) {
  u32 found = 0;
  for (u64 start = 0; start < count; start += piece) {
    const u64 end = start + piece < count ? start + piece : count;
    u16 largest = 0;
    for (u64 k = start; k < end; k++) {
      const u16 half = convert(k);
      const u16 size = half & magnitude;
      out[k] = half;
      largest = size > largest ? size : largest;
    }
    found |= largest >= infinite;
  }
  return found;
}

EXPORT u32 tlc_f32_to_f16(const u8* data, u16* out, u64 count, const void*) {
  return halves(out, count, [=](u64 k) { return bits((_Float16)at<float>(data, k)); });
}

EXPORT u32 tlc_bf16_to_f16(const u8* data, u16* out, u64 count, const void*) {
  return halves(out, count, [=](u64 k) {
    return bits((_Float16)__builtin_bit_cast(float, (u32)at<u16>(data, k) << 16));
  });
}

// One byte each, whose float16 is looked up.
EXPORT u32 tlc_u8_to_f16(const u8* data, u16* out, u64 count, const u16* table) {
  return halves(out, count, [=](u64 k) { return table[data[k]]; });
}

// Whether any bfloat16 is infinite or NaN, or would be as float16: those from 65536 on.
EXPORT u32 tlc_bf16_beyond(const u8* data, u64 count) {
  u32 found = 0;
  for (u64 start = 0; start < count; start += piece) {
    const u64 end = start + piece < count ? start + piece : count;
    u16 largest = 0;
    for (u64 k = start; k < end; k++) {
      const u16 size = at<u16>(data, k) & magnitude;
      largest = size > largest ? size : largest;
    }
    found |= largest >= 0x4780;
  }
  return found;
}

EXPORT u32 tlc_bf16_to_f32(const u8* data, u32* out, u64 count, const void*) {
  for (u64 k = 0; k < count; k++) out[k] = (u32)at<u16>(data, k) << 16;
  return 0;  // every bfloat16 is a float32
}
