// Integer names, and the check that a kernel's argument struct is laid out as its launcher's.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

static_assert(sizeof(void*) == 8 && sizeof(u64) == 8 && sizeof(u32) == 4, "a 64-bit device is expected");

// The launcher passes ARGS_SIZE and AT_<field>; every kernel source lists its fields once below its struct.
#define CHECK_SIZE(type) static_assert(sizeof(type) == ARGS_SIZE, "argument struct: size differs from the launcher's")
#define CHECK_FIELD(type, field) \
    static_assert((u64)__INTADDR__(&((type*)0)->field) == AT_##field, "argument struct: " #field " lies elsewhere")

#define FULL_MASK 0xffffffffu
