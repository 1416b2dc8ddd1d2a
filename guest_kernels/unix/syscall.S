# The system calls of Linux for i386: the table, and those that are no bigger than their entry.

    .include "unix.inc"

.equ NR_SYSCALLS, 448

    .section .rodata
    .balign 4
# SYS number, name: the entry of sys_name. Ascending.
.macro SYS number, name
    .org table + 4 * \number
    .long sys_\name
.endm

    .section .rodata.table, "a"
    .balign 4
table:
    SYS 1, exit
    SYS 2, fork
    SYS 3, read
    SYS 4, write
    SYS 5, open
    SYS 6, close
    SYS 7, waitpid
    SYS 9, read_only                # link
    SYS 10, read_only               # unlink
    SYS 11, execve
    SYS 12, chdir
    SYS 13, time
    SYS 14, read_only               # mknod
    SYS 15, read_only               # chmod
    SYS 19, lseek
    SYS 20, getpid
    SYS 24, zero                    # getuid: everybody is root
    SYS 29, pause
    SYS 30, read_only               # utime
    SYS 33, access
    SYS 36, zero                    # sync
    SYS 37, kill
    SYS 38, read_only               # rename
    SYS 39, read_only               # mkdir
    SYS 40, read_only               # rmdir
    SYS 41, dup
    SYS 42, pipe
    SYS 43, times
    SYS 45, brk
    SYS 47, zero                    # getgid
    SYS 49, zero                    # geteuid
    SYS 50, zero                    # getegid
    SYS 54, ioctl
    SYS 55, fcntl
    SYS 57, setpgid
    SYS 60, umask
    SYS 63, dup2
    SYS 64, getppid
    SYS 65, getpgrp
    SYS 66, setsid
    SYS 76, getrlimit
    SYS 78, gettimeofday
    SYS 83, read_only               # symlink
    SYS 85, readlink
    SYS 90, old_mmap
    SYS 91, munmap
    SYS 92, read_only               # truncate
    SYS 93, read_only               # ftruncate
    SYS 94, read_only               # fchmod
    SYS 114, wait4
    SYS 116, sysinfo
    SYS 118, zero                   # fsync
    SYS 119, sigreturn
    SYS 120, clone
    SYS 122, uname
    SYS 125, mprotect
    SYS 132, getpgid
    SYS 133, fchdir
    SYS 140, llseek
    SYS 145, readv
    SYS 146, writev
    SYS 147, getsid
    SYS 158, sched_yield
    SYS 162, nanosleep
    SYS 163, refused                # mremap: callers copy instead
    SYS 168, poll
    SYS 172, prctl
    SYS 173, rt_sigreturn
    SYS 174, rt_sigaction
    SYS 175, rt_sigprocmask
    SYS 176, rt_sigpending
    SYS 179, rt_sigsuspend
    SYS 180, pread64
    SYS 183, getcwd
    SYS 187, sendfile
    SYS 190, vfork
    SYS 191, getrlimit
    SYS 192, mmap2
    SYS 193, read_only              # truncate64
    SYS 194, read_only              # ftruncate64
    SYS 195, stat64
    SYS 196, lstat64
    SYS 197, fstat64
    SYS 198, read_only              # lchown32
    SYS 199, zero                   # getuid32
    SYS 200, zero                   # getgid32
    SYS 201, zero                   # geteuid32
    SYS 202, zero                   # getegid32
    SYS 205, zero                   # getgroups32: none
    SYS 207, read_only              # fchown32
    SYS 212, read_only              # chown32
    SYS 219, zero                   # madvise
    SYS 220, getdents64
    SYS 221, fcntl
    SYS 224, getpid                 # gettid: processes have one thread
    SYS 238, tkill
    SYS 239, sendfile
    SYS 240, futex
    SYS 242, sched_getaffinity
    SYS 243, set_thread_area
    SYS 252, exit                   # exit_group
    SYS 258, getpid                 # set_tid_address: nobody waits for that word
    SYS 265, clock_gettime
    SYS 266, clock_getres
    SYS 267, clock_nanosleep
    SYS 268, statfs64
    SYS 269, fstatfs64
    SYS 270, tgkill
    SYS 295, openat
    SYS 296, read_only              # mkdirat
    SYS 297, read_only              # mknodat
    SYS 298, read_only              # fchownat
    SYS 300, fstatat64
    SYS 301, read_only              # unlinkat
    SYS 302, read_only              # renameat
    SYS 303, read_only              # linkat
    SYS 304, read_only              # symlinkat
    SYS 305, readlinkat
    SYS 306, read_only              # fchmodat
    SYS 307, faccessat
    SYS 309, ppoll
    SYS 311, zero                   # set_robust_list
    SYS 320, read_only              # utimensat
    SYS 330, dup3
    SYS 331, pipe2
    SYS 340, prlimit64
    SYS 353, read_only              # renameat2
    SYS 355, getrandom
    SYS 383, statx
    SYS 386, refused                # rseq: the C library does without
    SYS 403, clock_gettime64
    SYS 406, clock_getres64
    SYS 407, clock_nanosleep64
    SYS 412, read_only              # utimensat_time64
    SYS 414, ppoll64
    SYS 435, refused                # clone3: callers try clone
    SYS 439, refused                # faccessat2: callers try faccessat
    .org table + 4 * NR_SYSCALLS

    .bss
    .balign 4
reported:                           # bit n: that call n is missing has been said
    .skip 64

    .text
# EAX = number; the caller's registers in EBX, ECX, EDX, ESI, EDI, its frame at EBP. Gives the result.
FUNCTION system_call
    cmpl $NR_SYSCALLS, %eax
    jae 1f
    cmpl $0, table(,%eax,4)
    je 2f
    jmp *table(,%eax,4)
1:  movl $NR_SYSCALLS, %eax         # all those together
2:  btsl %eax, reported
    jc 3f
    PRINT "unix: system call "
    PRINT_DEC FRAME_orig(%ebp)
    PRINT " is not supported\n"
3:  movl $-ENOSYS, %eax
    ret

sys_refused:
    movl $-ENOSYS, %eax
    ret

sys_read_only:                      # all that would change the archive
    movl $-EROFS, %eax
    ret

sys_zero:
    xorl %eax, %eax
    ret
