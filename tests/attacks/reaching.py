"""Attacks on other processes: sockets, signals, memory, schedules."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack

SOCKETS: Final = [
    Attack(
        "connect to the loopback interface",
        "show(lambda: socket.create_connection(('127.0.0.1', AIMS['tcp']), 1).sendall(b'x'))\n"
        "show(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', AIMS['udp'])))\n"
        "import urllib.request\nshow(lambda: urllib.request.urlopen(f\"http://127.0.0.1:{AIMS['tcp']}/\", timeout=1))",
        works_unconfined=True,
    ),
    Attack(
        "make sockets of every family",
        "for family in (1, 2, 10, 16, 17, 38, 40, 31, 29):\n"
        "    for kind in (1, 2, 3, 5):\n"
        "        claim(f'{family} {kind}', lambda: socket.socket(family, kind))",
    ),
    Attack(
        "connect to unix sockets with a path",
        "s = lambda kind: socket.socket(socket.AF_UNIX, kind)\n"
        "def send(kind, to):\n    c = s(kind); c.connect(to); c.send(b'GET /containers/json')\n"
        "show(lambda: send(socket.SOCK_STREAM, AIMS['stream_path']))\n"
        "show(lambda: send(socket.SOCK_DGRAM, AIMS['datagram_path']))",
        works_unconfined=True,
    ),
    Attack(
        "connect to abstract unix sockets",
        "def send(kind, to):\n    c = socket.socket(socket.AF_UNIX, kind); c.connect(to); c.send(b'x')\n"
        "show(lambda: send(socket.SOCK_STREAM, AIMS['stream_abstract']))\n"
        "show(lambda: send(socket.SOCK_DGRAM, AIMS['datagram_abstract']))",
        works_unconfined=True,
    ),
    Attack(
        "send to a path from a pair of datagram sockets",
        "for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET, socket.SOCK_STREAM, 3):\n"
        "    try:\n        pair = socket.socketpair(socket.AF_UNIX, kind)\n"
        "    except OSError as error:\n        print(error); continue\n"
        "    for to in (AIMS['datagram_path'], AIMS['datagram_abstract'], AIMS['stream_path']):\n"
        "        show(lambda: pair[0].sendto(b'x', to))\n        show(lambda: pair[0].sendmsg([b'x'], [], 0, to))\n"
        "        show(lambda: (pair[0].connect(to), pair[0].send(b'x')))\n"
        "    show(lambda: (pair[1].close(), pair[0].connect(AIMS['stream_path']), pair[0].send(b'x')))",
        works_unconfined=True,
    ),
    Attack(
        "use the control socket as another socket",
        "c = socket.socket(fileno=os.dup(3))\n"
        "for to in (AIMS['stream_path'], AIMS['datagram_path'], AIMS['datagram_abstract']):\n"
        "    show(lambda: c.connect(to))\n    show(lambda: c.sendto(b'', to))\n    show(lambda: c.bind('x'))\n"
        "    show(lambda: c.listen())\n    show(lambda: c.accept())\n"
        "show(lambda: call('connect', 3, struct.pack('H', 0), 16))",
    ),
    Attack(
        "pass descriptors over the control socket",
        "c = socket.socket(fileno=os.dup(3))\nfds = [os.open('f', os.O_CREAT | os.O_RDWR)] * 200\n"
        "import array\nfor _ in range(20):\n"
        "    show(lambda: c.sendmsg([b'{'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))]))\n"
        "show(lambda: c.recvmsg(10, 1000, socket.MSG_DONTWAIT))\n"
        "claim('hiding descriptors', lambda: socket.socketpair()[0].sendmsg([b'x'], [(1, 1, array.array('i', fds))]))",
        ends=("tried", "output", "Crash"),
    ),
    Attack(
        "take a hold of the service through the control socket",
        "c = socket.socket(fileno=os.dup(3))\n"
        "import struct\n"
        "def peer():\n    return struct.unpack('i', c.getsockopt(1, 77, 4))[0]\n"
        "show(peer)\n"
        "claim('signal', lambda: call('pidfd_send_signal', peer(), 10, 0, 0))\n"
        "claim('descriptor', lambda: call('pidfd_getfd', peer(), 0, 0))\n"
        "claim('namespace', lambda: call('setns', peer(), 0x40000000))",
    ),
]

PROCESSES: Final = [
    Attack(
        "signal the service",
        # Real signals to what is there to get them; of what else there is it is only asked whether it may.
        "targets = [(AIMS[name], signal.SIGUSR1) for name in ('service', 'victim', 'server')]\n"
        "targets += [(pid, 0) for pid in (-1, 0, 1, os.getppid(), -AIMS['service'])]\n"
        "for pid, number in targets:\n"
        "    if True:\n"
        "        show(lambda: os.kill(pid, number))\n"
        "        show(lambda: call('tkill', pid, number))\n        show(lambda: call('tgkill', pid, pid, number))\n"
        "        show(lambda: call('rt_sigqueueinfo', pid, number, b'\\0' * 128))\n"
        "    claim(f'pidfd of {pid}', lambda: call('pidfd_open', pid, 0))\n"
        "claim('every process', lambda: os.kill(-1, 0))\nclaim('the group', lambda: os.killpg(os.getpgid(0), 0))",
        works_unconfined=True,
    ),
    Attack(
        "have the kernel signal the service",
        "pair = socket.socketpair()\nr, w = os.pipe()\n"
        "for fd in (pair[0].fileno(), r, 3):\n"
        "    for pid in (AIMS['service'], AIMS['victim']):\n"
        "        show(lambda: fcntl.fcntl(fd, fcntl.F_SETOWN, pid))\n"
        "        show(lambda: fcntl.fcntl(fd, 15, struct.pack('ii', 1, pid)))\n"
        "        show(lambda: fcntl.fcntl(fd, 10, signal.SIGUSR1))\n"
        "        show(lambda: fcntl.ioctl(fd, 0x8901, struct.pack('i', pid)))\n"
        "        show(lambda: fcntl.ioctl(fd, 0x8902, struct.pack('i', pid)))\n"
        "        show(lambda: fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK))\n"
        "        show(lambda: (pair[1].send(b'x'), os.write(w, b'x')))\n"
        "        show(lambda: fcntl.fcntl(fd, 1024, 0))\n        show(lambda: fcntl.fcntl(fd, 1026, 0x1f))\n"
        "class Event(ctypes.Structure):\n    _fields_ = [('v', ctypes.c_void_p), ('s', ctypes.c_int), ('n', ctypes.c_int), ('t', ctypes.c_int)]\n"
        "timer = ctypes.c_int()\n"
        "claim('timer', lambda: libc.syscall(AIMS['calls']['timer_create'], 0,"
        " ctypes.byref(Event(0, 10, 4, AIMS['service'])), ctypes.byref(timer)) and 1 / 0)",
        works_unconfined=True,
    ),
    Attack(
        "change the service's limits and schedule",
        "import resource\n"
        "for pid in (AIMS['service'], AIMS['victim'], AIMS['server'], os.getppid()):\n"
        "    show(lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64)))\n"
        "    show(lambda: os.sched_setaffinity(pid, {0}))\n"
        "    show(lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))\n"
        "    show(lambda: call('ioprio_set', 1, pid, 3 << 13))\n"
        "    show(lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)))\n"
        "    show(lambda: call('move_pages', pid, 0, 0, 0, 0, 0))\n"
        "claim('be nicer to itself', lambda: os.setpriority(os.PRIO_PROCESS, 0, 0))\n"
        "claim('real time', lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))",
        works_unconfined=True,
    ),
    Attack(
        "read and write memory of other processes",
        "buffer = ctypes.create_string_buffer(64)\n"
        "for pid in (AIMS['service'], AIMS['server'], AIMS['victim'], os.getppid()):\n"
        "    claim('seize', lambda: call('ptrace', 0x4206, pid, 0, 0))\n"
        "    claim('attach', lambda: call('ptrace', 16, pid, 0, 0))\n"
        "    iov = struct.pack('QQ', ctypes.addressof(buffer), 8)\n"
        "    claim('read', lambda: call('process_vm_readv', pid, iov, 1, struct.pack('QQ', AIMS['secret_at'], 8), 1, 0))\n"
        "    claim('write', lambda: call('process_vm_writev', pid, iov, 1, struct.pack('QQ', AIMS['secret_at'], 8), 1, 0))\n"
        "    claim('kcmp', lambda: call('kcmp', pid, os.getpid(), 2, 0, 0))\n"
        "claim('be traced', lambda: call('ptrace', 0, 0, 0, 0))",
    ),
    Attack(
        "leave a process behind",
        "def daemon():\n"
        "    if os.fork() == 0:\n        os.setsid(); time.sleep(60); os._exit(0)\n"
        "claim('fork', daemon)\nclaim('setsid', lambda: os.setsid())\nclaim('setpgid', lambda: os.setpgid(0, 0))",
        works_unconfined=True,
    ),
    Attack(
        "make a process by other calls",
        "claim('vfork', lambda: libc.vfork() < 0 and 1 / 0)\n"
        "claim('clone', lambda: call('clone', 17, 0, 0, 0, 0))\n"
        "claim('clone with memory', lambda: call('clone', 0x100 | 17, 0, 0, 0, 0))\n"
        "claim('clone parent', lambda: call('clone', 0x8000 | 17, 0, 0, 0, 0))\n"
        "claim('clone3', lambda: call('clone3', struct.pack('11Q', 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88))\n"
        "claim('fork call', lambda: call('fork') if 'fork' in AIMS['calls'] else 1 / 0)",
    ),
    Attack(
        "outlive the server",
        "claim('keep alive', lambda: call('prctl', 1, 0, 0, 0, 0))\n"
        "claim('adopt', lambda: call('prctl', 36, 1, 0, 0, 0))\n"
        "for option in (4, 8, 22, 23, 24, 26, 28, 35, 38, 47, 53, 59, 0x59616d61):\n"
        "    claim(f'prctl {option}', lambda: call('prctl', option, 1, 0, 0, 0))\n"
        "claim('high bits', lambda: call('prctl', 1 | 1 << 32, 0, 0, 0, 0))\n"
        "for n in range(1, 65):\n    show(lambda: signal.signal(n, signal.SIG_IGN))",
    ),
    Attack(
        "start a daemon from a thread",
        "import threading\n"
        "threading.Thread(target=lambda: time.sleep(60), daemon=True).start()\n"
        "import atexit\natexit.register(time.sleep, 60)",
    ),
    Attack(
        "close and change its own descriptors",
        "for fd in range(3):\n    os.dup2(os.open('junk', os.O_CREAT | os.O_RDWR), fd)\n"
        "os.dup2(1, 3)\nos.closerange(0, 256)",
        ends=("Crash", "tried"),
    ),
    Attack("exit in the middle", "os._exit(0)", ends=("Crash",)),
    Attack("die of a signal without a name", "os.kill(os.getpid(), 40)", ends=("Crash",)),
    Attack("die of a segmentation fault", "ctypes.string_at(0)", ends=("Crash",)),
    Attack(
        "leave a dump of its memory",
        "import resource\nshow(lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, 1 << 30)))\n"
        "show(lambda: resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)))\nos.abort()",
        ends=("Crash",),
    ),
    Attack(
        "overflow the C stack",
        "sys.setrecursionlimit(10**9)\nclass A:\n    def __repr__(self): return repr([self])\nrepr(A())",
        ends=("Crash", "MemoryError", "RecursionError"),
    ),
]
