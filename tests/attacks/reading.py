"""Attacks on what is secret, and on files that are not the program's."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack

READING: Final = [
    Attack("read .env", "show(lambda: read(AIMS['dotenv']))", works_unconfined=True),
    Attack(
        "read the database", "show(lambda: read(AIMS['database'], 'rb'))", works_unconfined=True
    ),
    Attack(
        "read another run's workspace",
        "show(lambda: read(AIMS['other'] + '/notes.txt'))\nshow(lambda: os.listdir(AIMS['other']))\n"
        "os.chdir(AIMS['other'])\nshow(lambda: read('notes.txt'))\nshow(lambda: os.listdir('.'))\n"
        "show(lambda: os.listdir('..'))",
        works_unconfined=True,
    ),
    Attack(
        "read the other workspaces by relative paths",
        "import glob\nshow(lambda: [read(p) for p in glob.glob('../*/*') + glob.glob('../../*/*/*')])\n"
        "show(lambda: os.listdir('..'))\nfd = os.open('.', os.O_PATH)\n"
        "show(lambda: os.listdir(os.open('../..', os.O_RDONLY, dir_fd=fd)))",
        works_unconfined=True,
    ),
    Attack("read the users of the machine", "claim('passwd', lambda: read('/etc/passwd'))"),
    Attack(
        "find a key in the environment",
        "show(lambda: dict(os.environ))\nshow(lambda: libc.getenv(b'OPENAI_API_KEY'))\n"
        "environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')\n"
        "show(lambda: [environ[n] for n in range(9) if environ[n]])",
    ),
    Attack(
        "read the service's environment and memory through /proc",
        "for pid in (AIMS['service'], os.getppid(), AIMS['server'], AIMS['victim'], 'self', 'thread-self'):\n"
        "    for name in ('environ', 'cmdline', 'maps', 'auxv', 'stack', 'mountinfo', 'status'):\n"
        "        claim(f'{pid} {name}', lambda: read(f'/proc/{pid}/{name}', 'rb'))\n"
        "    show(lambda: os.listdir(f'/proc/{pid}/fd'))\n"
        "    show(lambda: read(f'/proc/{pid}/root' + AIMS['dotenv']))\n"
        "    show(lambda: read(f'/proc/{pid}/cwd/.env'))\n"
        "    show(lambda: [os.readlink(f'/proc/{pid}/{n}') for n in ('cwd', 'root') if pid != 'self'])\n"
        "    claim(f'{pid} mem', lambda: os.open(f'/proc/{pid}/mem', os.O_RDWR))\n"
        "    for fd in range(40):\n"
        "        if isinstance(pid, int):\n"
        "            name = f'/proc/{pid}/fd/{fd}'\n"
        "            show(lambda: os.read(os.open(name, os.O_RDONLY | os.O_NONBLOCK), 4096))",
        works_unconfined=True,
    ),
    Attack(
        "read through links and descriptors of its own",
        "claim('symlink', lambda: os.symlink(AIMS['dotenv'], 'link'))\n"
        "claim('hard link', lambda: os.link(AIMS['dotenv'], 'hard'))\n"
        "show(lambda: read('link'))\nshow(lambda: read('hard'))\n"
        "fd = os.open(AIMS['dotenv'], os.O_PATH)\n"
        "claim('link of a descriptor', lambda: call('linkat', fd, b'\\0', -100, b'again\\0', 0x1000))\n"
        "show(lambda: read(f'/proc/self/fd/{fd}'))\nshow(lambda: os.read(fd, 100))\n"
        "claim('handle', lambda: call('name_to_handle_at', -100, AIMS['dotenv'].encode(), b'x' * 200, b'xxxx', 0))\n"
        "claim('rename', lambda: os.rename(AIMS['dotenv'], 'stolen'))\n"
        "claim('rename a folder', lambda: os.rename(AIMS['other'], 'stolen_folder'))\n"
        "show(lambda: read('stolen'))",
    ),
    Attack(
        "make a hard link of a library to write through",
        "import json\nclaim('link', lambda: os.link(json.__file__, 'json_link.py'))\n"
        "fd = os.open(json.__file__, os.O_RDONLY)\n"
        "claim('linkat', lambda: call('linkat', fd, b'\\0', -100, b'j2\\0', 0x1000))",
    ),
    Attack(
        "find a descriptor of the service's",
        "import stat\nfound = []\n"
        "for fd in range(4, 1024):\n"
        "    try:\n        found.append((fd, os.fstat(fd)))\n    except OSError:\n        pass\n"
        "def leaked():\n    if not found: raise LookupError\n    return found\n"
        "claim('descriptors', leaked)\n"
        "claim('a readable input', lambda: os.read(0, 10) or 1 / 0)",
    ),
    Attack(
        "import the service's packages",
        "for name in ('langgraph', 'langchain_core', 'service', 'service.settings', 'tools', 'domain', 'httpx',\n"
        "             'pydantic', 'sqlalchemy'):\n"
        "    claim(name, lambda: __import__(name))\n"
        "for path in AIMS['source']:\n    claim(path, lambda: read(path))",
    ),
    Attack(
        "run other programs with an environment",
        "import subprocess\n"
        "for argv in (['/bin/sh', '-c', 'env; cat ' + AIMS['dotenv']], [sys.executable, '-c', 'pass']):\n"
        "    claim(argv[0], lambda: subprocess.run(argv, env={'LD_PRELOAD': 'x.so'}, check=True))\n"
        "    claim('spawn', lambda: os.posix_spawn(argv[0], argv, {'LD_PRELOAD': './x.so'}))\n"
        "    claim('exec', lambda: os.execve(argv[0], argv, {'LD_PRELOAD': './x.so'}))\n"
        "claim('system', lambda: os.system('true') or 1 / 0 if False else subprocess.check_output('true'))\n"
        "import multiprocessing\nclaim('multiprocessing', lambda: multiprocessing.Process(target=print).start())",
    ),
]

WRITING: Final = [
    Attack(
        "truncate and overwrite the database",
        "show(lambda: os.truncate(AIMS['database'], 0))\nshow(lambda: open(AIMS['database'], 'w'))\n"
        "show(lambda: open(AIMS['database'], 'ab').write(b'x'))\nshow(lambda: os.unlink(AIMS['database']))\n"
        "show(lambda: os.rename(AIMS['database'], AIMS['database'] + '.old'))\n"
        "show(lambda: call('creat', AIMS['database'].encode(), 0o600))",
        works_unconfined=True,
    ),
    Attack(
        "truncate by the odd ways to open",
        "import json\n"
        "for path in (AIMS['database'], AIMS['dotenv'], AIMS['library']):\n"
        "    for flags in (os.O_RDONLY | os.O_TRUNC, 3 | os.O_TRUNC, os.O_PATH | os.O_TRUNC,\n"
        "                  os.O_RDONLY | os.O_TRUNC | os.O_CREAT, os.O_TRUNC | os.O_DIRECTORY):\n"
        "        show(lambda: os.open(path, flags))\n"
        "        show(lambda: call('open', path.encode(), flags, 0))\n"
        "        show(lambda: call('openat2', -100, path.encode(), struct.pack('QQQ', flags & 0x1fffff, 0, 0), 24))",
    ),
    Attack(
        "chmod, chown and utime of the database",
        "for path in (AIMS['database'], AIMS['dotenv'], AIMS['other']):\n"
        "    show(lambda: os.chmod(path, 0))\n    show(lambda: os.utime(path, (0, 0)))\n"
        "    show(lambda: os.chown(path, 1, 1))\n"
        "    fd = os.open(path, os.O_PATH)\n    show(lambda: os.chmod(f'/proc/self/fd/{fd}', 0))\n"
        "    show(lambda: call('fchmodat2', fd, b'', 0, 0x1000))\n"
        "    show(lambda: os.setxattr(path, 'user.x', b'x'))",
        works_unconfined=True,
    ),
    Attack(
        "write outside the workspace",
        "for place in (AIMS['base'], AIMS['other'], '/tmp', '/var/tmp', '/dev/shm', os.path.dirname(os.getcwd())):\n"
        "    claim(place, lambda: open(place + '/made-by-an-attack', 'w'))\n"
        "    claim(place, lambda: os.mkdir(place + '/made-by-an-attack-too'))\n"
        "    claim('nameless', lambda: os.open(place, os.O_TMPFILE | os.O_RDWR))\n"
        "claim('move the workspace', lambda: os.rename(os.getcwd(), os.getcwd() + '-moved'))\n"
        "claim('remove the workspace', lambda: os.rmdir(os.getcwd()))",
    ),
    Attack(
        "change the interpreter and its libraries",
        "import json, numpy\n"
        "for module in (json, numpy, os):\n"
        "    folder = os.path.dirname(module.__file__)\n"
        "    claim(folder, lambda: open(folder + '/made_by_an_attack.py', 'w'))\n"
        "    claim(module.__file__, lambda: open(module.__file__, 'r+'))\n"
        "    show(lambda: os.unlink(AIMS['library']))\n"
        "for place in AIMS['interpreter']:\n"
        "    claim(place, lambda: open(place + '/made_by_an_attack.pth', 'w'))\n"
        "claim('fonts', lambda: open(AIMS['fonts'] + '/fontlist.json', 'w'))\n"
        "claim('fonts', lambda: os.listdir(AIMS['fonts']) and 1 / 0)\n"
        "claim('executable', lambda: open(sys.executable, 'r+'))",
    ),
    Attack(
        "leave a link or a pipe as a file",
        "claim('symlink', lambda: os.symlink('/etc/passwd', 'chart.png'))\n"
        "claim('relative symlink', lambda: os.symlink('..', 'up'))\n"
        "claim('fifo', lambda: os.mkfifo('data.csv'))\n"
        "claim('socket file', lambda: socket.socket(socket.AF_UNIX).bind('s'))\n"
        "claim('device', lambda: os.mknod('null', 0o020666, os.makedev(1, 3)))",
    ),
]
