/* A kernel in C that talks to Xen by itself: something for gdb to step through, line by line. */

#define SECTION(name) __attribute__((section(name), used))

static char stack[16384] __attribute__((aligned(16)));

__asm__(".pushsection .note.Xen, \"a\", @note\n"
        ".macro NOTE type, value:vararg\n"
        "    .balign 4\n"
        "    .long 4, 2f - 1f, \\type\n"
        "    .asciz \"Xen\"\n"
        "1:  \\value\n"
        "2:  .balign 4\n"
        ".endm\n"
        "    NOTE 5, .asciz \"xen-3.0\"\n"    /* XEN_VERSION */
        "    NOTE 6, .asciz \"debugged\"\n"   /* GUEST_OS */
        "    NOTE 8, .asciz \"generic\"\n"    /* LOADER */
        "    NOTE 9, .asciz \"yes\"\n"        /* PAE_MODE */
        "    NOTE 1, .long _start\n"          /* ENTRY */
        "    NOTE 3, .long 0xC0000000\n"      /* VIRT_BASE */
        "    NOTE 4, .long 0xC0000000\n"      /* PADDR_OFFSET */
        ".popsection\n"
        ".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "    movl $stack + 16384 - 16, %esp\n"
        "    call kernel_main\n"
        "1:  jmp 1b\n");

static int hypercall(int number, int first, int second, void *third)
{
    int result;
    __asm__ volatile("int $0x82" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory");
    return result;
}

struct counter {
    const char *name;
    int value;
    double ratio;
};

struct counter counter = {"steps", 40, 0.5};
static char line[] = "the sum is ..\n";

static int add(struct counter *to, int amount)
{
    int before = to->value;
    to->value = before + amount;
    to->ratio *= 2;
    return to->value;
}

static int sum(int last)
{
    int total = 0;
    for (int i = 1; i <= last; i++)
        total += i;
    return total;
}

void kernel_main(void)
{
    int total = sum(4);
    add(&counter, 2);
    total += counter.value;
    line[11] = '0' + total / 10;
    line[12] = '0' + total % 10;
    hypercall(18, 0, sizeof line - 1, line);            /* console_io: write */
    int reason = 0;
    hypercall(29, 2, (int)&reason, 0);                  /* sched_op: shutdown, poweroff */
}
