/*
 * The guest runtime, for kernels in C. A kernel defines `main`; when that returns, the domain powers off.
 *
 * Compiled with -mregparm=3, a call passes arguments in EAX, EDX and ECX, as the runtime's functions in
 * assembly take them. <xen.h> has the numbers and structs of Xen's ABI by their names in Xen's headers, made
 * from the same declarations as the hypervisor itself; pointers are numbers there. It has the offsets of fields
 * too, as assembly has them (MMU_UPDATE_ptr).
 */
#ifndef PARAVANE_H
#define PARAVANE_H

#include <stddef.h>
#include <stdint.h>
#include <xen.h>

/* To be written by the kernel. What it returns is ignored. */
int main(void);

/* The start_info page. */
extern struct start_info *start_info;

/* Output on the console. */
void print_string(const char *text);
void print_char(int character);
void print_dec(uint32_t value);
void print_hex32(uint32_t value); /* 0x and eight digits */
void print_hex64(uint64_t value); /* 0x and sixteen digits */
void console_write(const void *bytes, size_t size);

/* Formatted output: %s %c %d %u, %x and %p as print_hex32, %X as print_hex64 of a uint64_t, %%. */
void print(const char *format, ...);

/* Output to the hypervisor's log. */
void log_string(const char *text);

/* The ways to stop. `reason` is one of SHUTDOWN_... */
void exit(void) __attribute__((noreturn));
void panic(const char *message) __attribute__((noreturn));
void shutdown(uint32_t reason) __attribute__((noreturn));

/* Frames: pfn from 0 up in this domain, mfn in the machine; va in the initial mapping. */
uint32_t pfn_to_mfn(uint32_t pfn);
uint32_t mfn_to_pfn(uint32_t mfn);
void *mfn_to_va(uint32_t mfn);
uint64_t read_pte(const void *va); /* the level 1 entry that maps it; 0: none does */

void yield(void);

/* hypercall(__HYPERVISOR_..., up to six arguments): 0 or more, or a negative errno. */
#define hypercall(...) HYPERCALL_7(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define HYPERCALL_7(number, a, b, c, d, e, f, ...) \
    hypercall6((number), (uint32_t)(a), (uint32_t)(b), (uint32_t)(c), (uint32_t)(d), (uint32_t)(e), (uint32_t)(f))

int32_t hypercall6(uint32_t number, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f);

/* What XTF's tests print at their end, by which `paravane test` and pytest know what came of them. */
#define TEST_RESULT(verdict) print_string("Test result: " #verdict "\n") /* SUCCESS, SKIP, ERROR, FAILURE */

void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
int memcmp(const void *one, const void *other, size_t size);
size_t strlen(const char *text);

#endif
