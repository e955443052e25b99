"""What benchmarks share that measure in several processes: contenders that wait for each other, and where results are from."""
import json
import os
import platform
import select
import subprocess
import sys
import time


class Contender:
    """A process that measures what it is asked for, a line of JSON each way, and says one line when it is ready: while one is
    timed, the others wait. Its other output goes to the standard error output."""

    def __init__(self, *command):
        self.process = subprocess.Popen([sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self, timeout_s=None):
        """What it says next; {"error": why} where it says nothing."""
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            self.end()
            return {"error": "no answer in time"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": "the process ended"}

    def ask(self, timeout_s=None, **what):
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except OSError:
            return {"error": "the process ended"}
        return self.answer(timeout_s)

    def end(self):
        self.process.kill()
        self.process.wait()


def serve(prepare):
    """The other side: prepare() gives the function that answers; it is called with what was asked for, by name."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    answer = prepare()
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), file=answers, flush=True)


def processor_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())


def provenance():
    """Of a file of results: when, what (of other folders the names alone), on which device."""
    import torch
    gpu = torch.cuda.is_available()
    words = [os.path.basename(word) if word.startswith("/") else word for word in sys.argv]
    found = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "command": " ".join(["python3", *words]),
             "torch": torch.__version__, "device": torch.cuda.get_device_name() if gpu else processor_name()}
    if not gpu:
        return {**found, "threads": torch.get_num_threads(), "load_average": os.getloadavg()[0]}
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True)
    return {**found, "driver": driver.stdout.strip(), "toolkit": f"CUDA {torch.version.cuda}", "host": processor_name()}
