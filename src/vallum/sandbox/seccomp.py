"""The allow-list of system calls, compiled by libseccomp to BPF.

Deny by default (EPERM), as Docker's and systemd's `@system-service` sets do: what a program that
computes needs, and nothing that reaches into other processes, the network, keys, mounts,
namespaces, the kernel's newer attack surface (io_uring, bpf, userfaultfd, perf) or the clock.
"""

import ctypes
import errno
import os
import tempfile

from vallum.base import UnavailableError
from vallum.sandbox.job import Network

_KILL_PROCESS = 0x80000000
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_ATTRIBUTE_BAD_ARCH = 2
_EQUAL = 4
_MASKED_EQUAL = 7

_CLONE_NEW = 0x7E020080  # every CLONE_NEW* flag, time namespaces included
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_STREAM, _DATAGRAM = 1, 2
_TYPE = 0xF  # of a socket, without flags
_TCP, _UDP = 6, 17
_INTERNET = {
    Network.NONE: (),
    # To a listener beside it: no IPv6, and nothing that a lookup or another protocol would need.
    Network.OWN: ((_AF_INET, _STREAM, _TCP),),
    Network.MACHINE: (
        (_AF_INET, _STREAM, _TCP), (_AF_INET6, _STREAM, _TCP),
        (_AF_INET, _DATAGRAM, _UDP), (_AF_INET6, _DATAGRAM, _UDP),  # the resolver asks over UDP
    ),
}  # fmt: skip
_MAP_SHARED_ANONYMOUS = 0x21  # not counted by RLIMIT_DATA, so it would escape the memory bound

_NAMES = """
    accept accept4 access alarm arch_prctl bind brk capget chdir chmod clock_getres clock_gettime
    clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate
    fchdir fchmod fchmodat fcntl fdatasync fgetxattr flistxattr flock fork fstat fstatfs fsync
    ftruncate futex futex_waitv futimesat get_robust_list get_thread_area getcpu getcwd getdents
    getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid
    getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname
    getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch ioprio_get kill lgetxattr link linkat listen listxattr llistxattr lseek lstat
    madvise membarrier mincore mkdir mkdirat mlock mlock2 mprotect mremap msync munlock munmap
    nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 poll
    ppoll prctl pread64 preadv preadv2 prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead
    readlink readlinkat readv recvfrom recvmmsg recvmsg rename renameat renameat2 restart_syscall
    rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_setaffinity sched_yield select sendfile sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setitimer setpgid setpriority setrlimit setsid setsockopt
    shutdown sigaltstack splice stat statfs statx symlink symlinkat sync_file_range sysinfo tee
    tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
    timerfd_create timerfd_gettime timerfd_settime times tkill truncate ugetrlimit umask uname
    unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid waitpid write writev
"""
ALLOWED = tuple(_NAMES.split())
"""Allowed whatever the arguments; a name that this architecture does not have is passed over."""


class _Compare(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def compile_filter(network: Network = Network.NONE) -> bytes:
    """Return the BPF program of the allow-list for this machine's architecture.

    Args:
        network: What sockets it allows beside Unix sockets.

    Raises:
        UnavailableError: libseccomp is not there or refuses a rule.
    """
    library = _load()
    context = library.seccomp_init(_ERRNO | errno.EPERM)
    if not context:
        raise UnavailableError("libseccomp gives no filter", code="sandbox.no-seccomp")
    try:
        _check(library.seccomp_attr_set(context, _ATTRIBUTE_BAD_ARCH, _KILL_PROCESS))
        for name in ALLOWED:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number >= 0:
                _check(library.seccomp_rule_add_array(context, _ALLOW, number, 0, None))
        _add(library, context, "clone", (_Compare(0, _MASKED_EQUAL, _CLONE_NEW, 0),))
        # Its flags lie in memory that a filter cannot read; the C library falls back to clone.
        _add(library, context, "clone3", (), _ERRNO | errno.ENOSYS)
        for name in ("socket", "socketpair"):
            _add(library, context, name, (_Compare(0, _EQUAL, _AF_UNIX, 0),))
        for family, kind, protocol in _INTERNET[network]:
            for number in (0, protocol):
                compares = (
                    _Compare(0, _EQUAL, family, 0),
                    _Compare(1, _MASKED_EQUAL, _TYPE, kind),
                    _Compare(2, _EQUAL, number, 0),
                )
                _add(library, context, "socket", compares)
        for value in (0, 0x01, 0x20):
            _add(
                library,
                context,
                "mmap",
                (_Compare(3, _MASKED_EQUAL, _MAP_SHARED_ANONYMOUS, value),),
            )
        _allow_ioctl(library, context)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _allow_ioctl(library: ctypes.CDLL, context: int) -> None:
    """Allow what Python asks of files; pushing characters into a terminal is not among it."""
    for request in (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451):
        # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
        _add(library, context, "ioctl", (_Compare(1, _MASKED_EQUAL, 0xFFFFFFFF, request),))


def _add(
    library: ctypes.CDLL,
    context: int,
    name: str,
    compares: tuple[_Compare, ...],
    action: int = _ALLOW,
) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        array = (_Compare * len(compares))(*compares)
        _check(library.seccomp_rule_add_array(context, action, number, len(compares), array))


def _check(code: int) -> None:
    if code < 0:
        raise UnavailableError(
            f"libseccomp refuses a rule: {os.strerror(-code)}", code="sandbox.no-seccomp"
        )


def _export(library: ctypes.CDLL, context: int) -> bytes:
    with tempfile.TemporaryFile() as file:
        _check(library.seccomp_export_bpf(context, file.fileno()))
        file.seek(0)
        return file.read()


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise UnavailableError(
            "libseccomp is not installed",
            code="sandbox.no-seccomp",
            hint="sudo apt-get install --yes libseccomp2",
        ) from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (ctypes.c_void_p,)
    library.seccomp_release.restype = None
    library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    )
    return library
