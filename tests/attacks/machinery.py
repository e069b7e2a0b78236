"""Attacks on what runs programs and reads what came of them."""

from __future__ import annotations

from typing import Final

from tests.attacks.attack import Attack

MACHINERY: Final = [
    Attack(
        "replace what the machinery uses",
        "import json, builtins, traceback, io\n"
        "def steal(*args, **named):\n    print('HARM in the service' if os.getpid() == AIMS['service'] else 'own')\n    return '{}'\n"
        "json.dumps = json.loads = steal\nos._exit = lambda *a: None\nsys.exit = steal\n"
        "traceback.extract_tb = steal\nbuiltins.len = builtins.isinstance = steal\n"
        "class Out:\n    def write(self, *a): return 1\n    def flush(self): os.kill(os.getpid(), 9)\n"
        "print('TRIED', flush=True)\nsys.stdout = Out()",
        ends=("Crash", "tried"),
    ),
    Attack(
        "return to the server's loop",
        "os._exit = lambda *a: None\n"
        "import gc\n"
        "servers = [o for o in gc.get_objects() if type(o).__name__ == '_Server']\n"
        "print(len(servers), [s._running for s in servers])\n"
        "for s in servers:\n    show(lambda: s._orders.send(b'{\"ended\": 1}'))",
        ends=("Crash", "tried"),
    ),
    Attack(
        "say that it was not run",
        'os.write(3, b\'{"refused": "x"}\')\nprint("TRIED", flush=True)\nos._exit(0)',
        ends=("tried",),
    ),
    *(
        Attack(
            f"forge the result: {text[:30]}", f"os.write(3, {text!r}.encode())\nos._exit(0)", ends
        )
        for text, ends in (
            ('{"value": {"a": 1}, "fault": 3}', ("tried", "done", "Crash")),
            (
                '{"fault": {"type": [1], "message": {}, "traceback": 7}}',
                ("fault", "done", "Crash", "[1]"),
            ),
            ("null", ("Crash",)),
            ("[" * 100_000, ("Crash",)),
            ('{"value": "\\ud800\\u0000"}', ("done",)),
            ('{"value": 1' + "0" * 5000 + "}", ("Crash", "done")),
        )
    ),
    Attack("flood the control socket", "while True: os.write(3, b'x' * 65536)", ends=("output",)),
    Attack(
        "poison the workspace for the machinery",
        "for name in ('json', 'numpy', 'sitecustomize', 'usercustomize', 'tools', 'random', 'charts', 'ast',\n"
        "             'traceback', 'encodings', 'pandas', 'matplotlib', 'linecache', 'matplotlibrc'):\n"
        "    for place in ('', '.tmp/', '.config/', '.local/lib/python3.11/site-packages/'):\n"
        "        os.makedirs(place or '.', exist_ok=True)\n"
        "        open(f'{place}{name}.py', 'w').write('print(\"HARM poisoned\", __name__)')\n"
        "open('x.pth', 'w').write('import os; print(\"HARM pth\")')\n"
        "open('pyvenv.cfg', 'w').write('home = .')",
    ),
]
