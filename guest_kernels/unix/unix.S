# A small UNIX: several processes, each with an address space of its own, run Linux programs for i386 in ring 3.
#
# Observe: page tables made by the kernel and checked by Xen (pinned, switched, unpinned), copy-on-write and
# pages on demand through page faults, system calls through a gate that Xen lets ring 3 use directly, FPU state
# that follows its process, descriptors for thread-local storage. The programs do not know any of this.

    .include "runtime.inc"
    .include "paging.inc"
    .include "shared.inc"
    .include "unix.inc"

    XEN_NOTES unix

# What the other sources use of the runtime.
    .globl main, start_info, console_ring, console_port, print_string, print_char, print_hex32, print_dec
    .globl console_write, console_notify, memory_copy, memory_set, panic, exit

    .text
    .type main, @function
main:
    movl $trap_table, %eax
    call set_trap_table
    call frames_init
    call map_shared_info            # from now on handlers can read CR2
    call find_files
    testl %eax, %eax
    jz 1f
    movl %eax, %ebx
    PRINT "unix: "
    movl %ebx, %eax
    call print_string
    PRINT "\n"
    ret
1:  call frames_ready
    call sched_init
    call tty_init
    call events_init
    call random_seed
    movl $1, %eax
    cpuid
    movl %edx, hwcap
    movl start_info, %eax
    addl $START_INFO_cmd_line, %eax
    movb $0, MAX_GUEST_CMDLINE - 1(%eax)
    call args_split
    jmp start_init

# The tree of files becomes that of the ramdisk, or of the disk. Gives 0, or a string that says why there is none.
find_files:
    movl start_info, %edx
    movl START_INFO_mod_start(%edx), %eax
    movl START_INFO_mod_len(%edx), %edx
    testl %eax, %eax
    jnz archive_init
    call disk_init
    testl %eax, %eax
    jnz ext2_init
    movl $no_files, %eax
    ret
    .section .rodata
no_files:
    .asciz "no file system: start me with --disk IMAGE,xvda,ro (ext2) or --ramdisk ARCHIVE (cpio), and /bin/busybox there"
    .text

# The first process: terminal as descriptors 0, 1 and 2, root as its directory; then it is as if it had called
# execve.
start_init:
    call proc_alloc
    movl %eax, %ebx
    movl %eax, current
    movl $STATE_RUNNABLE, PROC_state(%ebx)
    incl live_processes
    movl $1, PROC_pgid(%ebx)
    movl $1, PROC_sid(%ebx)
    movl $022, PROC_umask(%ebx)
    movl root_node, %eax
    movl %eax, PROC_cwd(%ebx)
    movl $FILE_TTY, %eax
    movl console_node, %edx
    movl $O_RDWR, %ecx
    call file_new
    movl $3, FILE_refs(%eax)
    .irp descriptor, 0, 1, 2
    movl %eax, PROC_fds + 4 * \descriptor(%ebx)
    .endr
    movl PROC_stack_top(%ebx), %eax
    call set_kernel_stack
    movl PROC_stack_top(%ebx), %ebp
    subl $FRAME_sizeof, %ebp
    movl %ebp, %esp
    call args_program
    cmpl $-MAX_ERRNO, %eax
    jae 1f
    call exec_node
    testl %eax, %eax
    jz return_to_user
1:  negl %eax
    movl %eax, %esi
    PRINT "unix: cannot run "
    movl $args, %eax
    call print_string
    PRINT ": error "
    PRINT_DEC %esi
    PRINT "\n"
    movl $127 << 8, %eax

# EAX = status of the first process as wait4 gives it: without it there is nothing left to do.
FUNCTION init_ended
    movzbl %ah, %esi
    andl $0x7f, %eax
    jz 1f
    leal 128(%eax), %esi            # a signal, as a shell shows it
1:  testl %esi, %esi
    jz exit
    PRINT "exit status "
    PRINT_DEC %esi
    PRINT "\n"
    jmp exit
