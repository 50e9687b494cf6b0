/** The system calls a sandbox may make: an allow-list of our own, from tracing a broad Node workload and its POSIX
 *  neighbours (Python, Go, Perl and git run under it unchanged). Everything else fails with EPERM, so that programs which
 *  probe (libuv tries io_uring at start) fall back instead of dying. 32-bit and x32 calls end in SIGSYS. */

const ALLOWED = `
accept accept4 access alarm arch_prctl bind brk capget chdir chmod chown clock_getres clock_gettime clock_nanosleep close
close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat
fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs fsync ftruncate futex futex_waitv futimesat get_robust_list
getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid
getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid
inotify_add_watch inotify_init1 inotify_rm_watch ioctl kill lchown link linkat listen lseek lstat madvise membarrier
memfd_create mincore mkdir mkdirat mmap mprotect mremap msync munmap nanosleep newfstatat open openat openat2 pipe pipe2
pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 pselect6 pwrite64 pwritev pwritev2
read readlink readlinkat readv recvfrom recvmmsg recvmsg rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_yield select sendfile sendmmsg sendmsg
sendto set_robust_list set_tid_address setitimer setpgid setpriority setrlimit setsid setsockopt shutdown sigaltstack
signalfd4 socketpair splice stat statfs statx symlink symlinkat sync_file_range sysinfo tee tgkill time timerfd_create
timerfd_gettime timerfd_settime times tkill umask uname unlink unlinkat utime utimensat utimes vfork wait4 waitid write
writev`
  .trim()
  .split(/\s+/);

/** CLONE_NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWNS. */
const CLONE_NAMESPACES = 0x7e_02_00_00;
const S_IFMT = 0o170000;
const S_IFIFO = 0o010000;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const ENOSYS = 38;

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' };

interface Rule {
  readonly names: readonly string[];
  readonly action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO';
  readonly errnoRet?: number;
  readonly args?: readonly { index: number; value: number; valueTwo?: number; op: string }[];
}

const allow = (name: string, ...args: NonNullable<Rule['args']>): Rule => ({
  names: [name],
  action: 'SCMP_ACT_ALLOW',
  args,
});
const equal = (index: number, value: number) => ({ index, value, op: 'SCMP_CMP_EQ' });
const masked = (index: number, mask: number, value: number) => ({
  index,
  value: mask,
  valueTwo: value,
  op: 'SCMP_CMP_MASKED_EQ',
});

/** @param arch Node's name of the processor: x64 or arm64. */
export function seccompProfile(arch: string): object {
  const syscalls: Rule[] = [
    { names: ALLOWED, action: 'SCMP_ACT_ALLOW' },
    ...[AF_UNIX, AF_INET, AF_INET6].map((family) => allow('socket', equal(0, family))),
    // NETLINK_ROUTE only: getaddrinfo and os.networkInterfaces() read addresses through it.
    allow('socket', equal(0, AF_NETLINK), equal(2, 0)),
    allow('clone', masked(0, CLONE_NAMESPACES, 0)),
    // Its flags are behind a pointer, out of the filter's sight; with ENOSYS glibc falls back to clone.
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    allow('mknod', masked(1, S_IFMT, S_IFIFO)),
    allow('mknodat', masked(2, S_IFMT, S_IFIFO)),
    allow('personality', equal(0, 0)),
    allow('personality', equal(0, 0xff_ff_ff_ff)),
  ];
  const architecture = ARCHITECTURES[arch];
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: 1,
    ...(architecture && { architectures: [architecture] }),
    syscalls,
  };
}
