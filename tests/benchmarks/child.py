"""Measurements in processes of their own, which answer questions line by line, as JSON."""

import json
import os
import subprocess
import sys
import tempfile


class Child:
    """A process that runs a script of ours, seen from outside."""

    def __init__(self, script, environment=None):
        self.name = os.path.basename(script)
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen(
            [sys.executable, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def ask(self, *question):
        try:
            print(json.dumps(question), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            self.log.seek(0)
            raise RuntimeError(f"{self.name} ended with {code}: {self.log.read()[-2000:]}")
        answer, error = json.loads(line)
        if error:
            raise RuntimeError(f"{self.name}: {error}")
        return answer

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        self.process.communicate()  # no more questions
        self.log.close()


def ask(script, *question, environment=None):
    """What a fresh process answers."""
    child = Child(script, environment)
    try:
        return child.ask(*question)
    finally:
        child.stop()


def serve(function):
    """In the script: answers by `function` until there are no more questions."""
    answers, sys.stdout = sys.stdout, sys.stderr  # where others may print
    for line in sys.stdin:
        try:
            answer, error = function(*json.loads(line)), None
        except Exception as raised:  # the next question may have an answer
            answer, error = None, repr(raised)
        print(json.dumps([answer, error]), file=answers, flush=True)
