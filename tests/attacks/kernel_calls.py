"""Attacks through calls of the kernel, and on what the machine has of everything."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack

MIB: Final = 1024 * 1024

_MACHINE_CODE: Final = """
def run(code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    return ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
if AIMS['machine'] != 'x86_64':
    print('TRIED'); os._exit(0)
"""

CALLS: Final = [
    Attack(
        "calls that are no business of a program's",
        # The arguments are no good, so that nothing happens where a call gets through: then the kernel
        # has looked at them, and says so.
        "import errno\n"
        "bad, text = b'\\xff' * 256, b'/nonexistent/x'\n"
        "ways = {'io_uring_setup': (8, 0), 'io_uring_enter': (-1, 0, 0, 0), 'bpf': (999, bad, 72), 'keyctl': (999, 0, 0),\n"
        "        'add_key': (0, 0, 0, 0, 0), 'request_key': (0, 0, 0, 0), 'userfaultfd': (0x7fff,),\n"
        "        'perf_event_open': (bad, 0, -1, -1, 0), 'unshare': (0x1,), 'setns': (-1, 0), 'mount': (text, text, text, 0, 0),\n"
        "        'umount2': (text, 0x7fff), 'pivot_root': (text, text), 'chroot': (text,), 'open_tree': (-1, text, 0x7fff),\n"
        "        'fsopen': (text, 0), 'move_mount': (-1, text, -1, text, 0), 'memfd_create': (text, 0x7fff), 'memfd_secret': (0x7fff,),\n"
        "        'shmget': (1, 0, 0o1600), 'semget': (1, -1, 0o1600), 'msgget': (-1, 0), 'mq_open': (text, 0, 0, 0),\n"
        "        'personality': (0x0040000,), 'syslog': (99, 0, 0), 'quotactl': (-1, 0, 0, 0), 'acct': (text,), 'swapon': (text, 0),\n"
        "        'reboot': (0, 0, 0, 0), 'init_module': (0, 0, 0), 'kexec_load': (0, 99, 0, 0x7fff), 'seccomp': (99, 0, 0),\n"
        "        'landlock_create_ruleset': (bad, 8, 0), 'inotify_init1': (0x7fff,), 'fanotify_init': (0x7fffffff, 0),\n"
        "        'modify_ldt': (99, bad, 16), 'mlock': (1, 0), 'mlockall': (99,), 'mbind': (1, 1, 99, 0, 0, 0), 'setuid': (-1,),\n"
        "        'setgroups': (-1, 0), 'clock_settime': (999, bad), 'settimeofday': (bad, 0), 'sethostname': (text, -1),\n"
        "        'open_by_handle_at': (-1, bad, 0), 'vmsplice': (-1, 0, 0, 0), 'tee': (-1, -1, 1, 0), 'ioperm': (-1, 1, 1), 'iopl': (99,),\n"
        "        'process_madvise': (-1, 0, 0, 0, 0), 'sched_setattr': (0, 0, 0), 'ptrace': (999, 0, 0, 0), 'pidfd_open': (-1, 0),\n"
        "        'process_vm_readv': (-1, 0, 0, 0, 0, 99), 'execve': (text, 0, 0), 'execveat': (-1, text, 0, 0, 0), 'socket': (99, 99, 0)}\n"
        "def got_through(name, args):\n"
        "    try:\n        call(name, *args)\n"
        "    except OSError as error:\n"
        "        if error.errno in (errno.EPERM, errno.ENOSYS): raise\n"
        "        return error\n"
        "for name, args in ways.items():\n"
        "    if name in AIMS['calls']: claim(name, lambda: got_through(name, args))",
    ),
    Attack(
        "calls that nobody has heard of",
        # Two are the kernel's own way back from a probe, which it lets pass by every filter.
        "known = {*AIMS['calls'].values(), 335, 336}\n"
        "for number in range(1024):\n"
        "    if number not in known: claim(f'call {number}', lambda: call(number, 0, 0, 0, 0, 0, 0))",
    ),
    Attack(
        "memory that the address space does not count",
        "def shared():\n    from multiprocessing import shared_memory\n    return shared_memory.SharedMemory('attack', True, 4096)\n"
        "claim('posix', shared)\nclaim('memfd', lambda: os.memfd_create('x'))\n"
        "claim('shm_open', lambda: libc.shm_open(b'/attack', 0o102, 0o600) < 0 and 1 / 0)\n"
        "libc.shmget.restype = ctypes.c_int\nclaim('sysv', lambda: libc.shmget(99, 4096, 0o1600) < 0 and 1 / 0)\n"
        "claim('/dev/shm', lambda: open('/dev/shm/attack', 'w'))\n"
        "claim('a bigger pipe', lambda: fcntl.fcntl(os.pipe()[1], 1031, 1 << 20))\n"
        "claim('queue', lambda: libc.mq_open(b'/attack', 0o102, 0o600, 0) < 0 and 1 / 0)",
    ),
    Attack(
        "call the kernel with the other table of numbers",
        # socket(AF_INET, SOCK_STREAM, 0) by x32's number.
        _MACHINE_CODE + "call(0x40000000 | 41, 2, 1, 0)\nprint('HARM x32')",
        ends=("Crash", "tried", "PermissionError"),
    ),
    Attack(
        "call the kernel as a 32-bit program",
        # mov eax, 20 (getpid); int 0x80; ret
        _MACHINE_CODE + "claim('int 0x80', lambda: run(bytes.fromhex('b814000000cd80c3')))",
        ends=("Crash", "tried", "PermissionError"),
    ),
]

TIME: Final = [
    Attack("loop without end", "while True: pass", ("cpu_time", "wall_time")),
    Attack("compute without end", "3 ** (10 ** 9)", ("cpu_time", "wall_time"), slow=True),
    Attack("sleep without end", "time.sleep(600)", ("wall_time",), {"wall_seconds": 0.5}),
    Attack(
        "stop itself",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        ("wall_time",),
        {"wall_seconds": 0.5},
    ),
    Attack(
        "hear no signal",
        "import resource\n"
        "for n in range(1, 65):\n    show(lambda: signal.signal(n, signal.SIG_IGN))\n"
        "show(lambda: resource.setrlimit(resource.RLIMIT_CPU, (600, 600)))\n"
        "show(lambda: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1)))\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
        ("cpu_time", "wall_time"),
        slow=True,
    ),
    Attack(
        "never end its threads",
        "import threading\nthreading.Thread(target=time.sleep, args=(600,)).start()",
        ("wall_time",),
        {"wall_seconds": 0.5},
    ),
]

ROOM: Final = [
    Attack("take 10 GB", "x = bytearray(10 * 1024**3)", ("MemoryError",)),
    Attack(
        "touch 4 GB",
        "blocks = []\nwhile len(blocks) < 400:\n    blocks.append(bytearray(10 * 1024**2))\n"
        "    for n in range(0, 10 * 1024**2, 4096): blocks[-1][n] = 1\nprint('HARM 4 GB')",
        ("MemoryError",),
        {"memory_bytes": 600 * MIB},
        slow=True,
    ),
    Attack(
        "raise the limits again",
        (
            "import resource\n"
            "for name in ('AS', 'FSIZE', 'CPU', 'NOFILE', 'CORE', 'MEMLOCK'):\n"
            "    what = getattr(resource, 'RLIMIT_' + name)\n"
            "    claim(name, lambda: resource.setrlimit(what, (1 << 40, 1 << 40)))\n"
            "    claim(name, lambda: resource.setrlimit(what, (-1, -1)))\n"
            "    claim(name, lambda: resource.prlimit(0, what, (1 << 40, 1 << 40)))"
        ),
    ),
    Attack(
        "print 200 MB",
        "for _ in range(200):\n    os.write(1, b'x' * 1024**2)\nprint('HARM 200 MB')",
        ("output",),
    ),
    Attack(
        "print 200 MB to standard error", "while True: os.write(2, b'x' * 1024**2)", ("output",)
    ),
    Attack(
        "write one file of 300 MB",
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "with open('big', 'wb') as file:\n    for _ in range(300): file.write(bytes(1024**2))",
        ("file_size",),
        {"file_bytes": 2 * MIB},
    ),
    Attack(
        "write a file with a hole of 1 TB",
        "claim('truncate', lambda: open('sparse', 'wb').truncate(1 << 40))\n"
        "def seek():\n    f = open('sparse', 'wb', buffering=0); f.seek(1 << 40); return f.write(b'x')\n"
        "claim('seek', seek)\nclaim('allocate', lambda: os.posix_fallocate(os.open('s', 0o102), 0, 1 << 40))",
    ),
    Attack(
        "write 40 files of 10 MB",
        "for n in range(40):\n    open(f'f{n}', 'wb').write(bytes(10 * 1024**2)); time.sleep(0.02)\n"
        "time.sleep(0.3)\nprint('HARM 400 MB')",
        ("disk",),
        {"workspace_bytes": 40 * MIB},
        slow=True,
    ),
    Attack(
        "make 20 000 files",
        "for n in range(20_000):\n    os.close(os.open(f'f{n}', os.O_CREAT))\n"
        "    if n % 100 == 0: time.sleep(0.002); print('GOT files', n, flush=True)\n"
        "time.sleep(0.5)\nprint('HARM 20 000')",
        ("disk",),
        {"workspace_entries": 500},
        most={"files": 6_000},
        slow=True,
    ),
    Attack(
        "hide files in folders without end",
        "for n in range(3000):\n    os.mkdir('d'); os.chdir('d')\n"
        "    open('f', 'wb').write(bytes(4096))\ntime.sleep(0.4)\nprint('HARM 3000 folders')",
        ("disk",),
    ),
    Attack(
        "hide bytes in files that have no name any more",
        "held, total = [], 0\n"
        "for n in range(200):\n"
        "    file = open('x', 'wb', buffering=0); os.unlink('x'); file.write(bytes(1024**2))\n"
        "    held.append(file); total += 1; time.sleep(0.01)\n"
        "    print('GOT hidden', total, flush=True)\n",
        ("disk",),
        {"workspace_bytes": 8 * MIB},
        most={"hidden": 80},
        slow=True,
    ),
    Attack(
        "make 2000 threads",
        "import _thread, threading\nthreading.stack_size(32768)\n"
        "made = 0\n"
        "while made < 2000:\n"
        "    for _ in range(10): _thread.start_new_thread(time.sleep, (600,)); made += 1\n"
        "    time.sleep(0.01)\n    print('GOT threads', made, flush=True)\nprint('HARM 2000 threads')",
        ("threads", "RuntimeError", "error"),
        most={"threads": 600},
    ),
    Attack(
        "make processes without end",
        "for _ in range(200):\n    claim('fork', lambda: os.fork() or time.sleep(60))",
    ),
    Attack(
        "open files without end",
        "held = []\ndef more():\n    while True: held.append(os.open('.', os.O_RDONLY))\n"
        "show(more)\nprint('GOT descriptors', len(held))",
        most={"descriptors": 260},
    ),
]
