#!/usr/bin/env python3
"""train.py - a small training program that behaves towards sluis as a large one should

It learns to tell two spirals apart with a small neural network, data-parallel over WORLD_SIZE processes:
each rank draws its own points, the gradients are averaged over all ranks after each step. With PyTorch
that is DistributedDataParallel over gloo; without PyTorch the same network in plain Python, whose ranks
exchange gradients over a TCP connection to rank 0. Both read and write the same checkpoint.

What it takes from its environment (all of it is optional; alone it trains as one process):

  RANK WORLD_SIZE MASTER_ADDR MASTER_PORT   who the ranks are and where they meet (torch's env://)
  SLUIS_CHECKPOINT_DIR                      where checkpoint.json lives; rank 0 reads and writes it
  SLUIS_NOTICE_FD                           a JSON line arrives here when the work has to stop
  SLUIS_REPORT_FD                           checkpoints are reported here: {"checkpoint":{"step":N}}

On a notice, SIGTERM or SIGUSR1, at any rank: all ranks agree on the step after which they stop (the wish
travels with the gradients, so no rank is left waiting in an exchange), rank 0 saves and reports, and all
exit with 143. That is what a process ended by SIGTERM shows, and it says "not finished": a requeued
attempt resumes at the saved step. Exit status 0 means all steps are done. When another rank is lost, the
exit status is 1 and nothing is saved beyond the last checkpoint.
"""
import argparse
import json
import math
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from array import array

HIDDEN = 16           # two hidden layers of this width: 2 -> 16 -> 16 -> 1
RATE = 0.15           # learning rate
MOMENTUM = 0.9
STOPPED = 143         # 128 + SIGTERM
RENDEZVOUS_S = 120    # how long ranks wait for each other at the start
EXCHANGE_S = 60       # how long a rank waits for the others' gradients


def say(text):
    print(text, flush=True)


def spirals(rng, count):
    """`count` points of two interleaved spirals: [(x, y, label 0 or 1)]."""
    points = []
    for i in range(count):
        label = i % 2
        t = rng.random()
        angle = 4.5 * t + math.pi * label
        radius = 0.15 + 0.85 * t
        points.append((radius * math.cos(angle) + rng.gauss(0, 0.02),
                       radius * math.sin(angle) + rng.gauss(0, 0.02), label))
    return points


SHAPES = ((HIDDEN, 2), (HIDDEN,), (HIDDEN, HIDDEN), (HIDDEN,), (1, HIDDEN), (1,))
SIZES = tuple(math.prod(shape) for shape in SHAPES)


def fresh_parameters(seed):
    """One flat list, in the order of SHAPES; the same on every rank."""
    rng = random.Random(seed)
    values = []
    for shape, size in zip(SHAPES, SIZES):
        spread = 1 / math.sqrt(shape[1]) if len(shape) == 2 else 0
        values += [rng.uniform(-spread, spread) for _ in range(size)]
    return values


# ---- the two engines: gradients of one batch, averaged over all ranks ----------------------------------

class PythonEngine:
    """Plain Python: backpropagation by hand, gradients summed at rank 0 over TCP."""

    name = "python"

    def __init__(self, rank, world, address, port):
        self.rank, self.world = rank, world
        self.peers = []
        if world == 1:
            return
        if rank == 0:
            self._gather_peers(address, port)
        else:
            self._reach_rank0(address, port)

    def _gather_peers(self, address, port):
        with socket.create_server((address, port)) as server:
            server.settimeout(RENDEZVOUS_S)
            found = {}
            while len(found) < self.world - 1:
                peer, _ = server.accept()
                peer.settimeout(EXCHANGE_S)
                rank, world = struct.unpack("!II", receive(peer, 8))
                if world != self.world or not 0 < rank < world or rank in found:
                    raise ConnectionError(f"rank {rank} of {world} does not belong here")
                found[rank] = peer
            self.peers = [found[r] for r in sorted(found)]

    def _reach_rank0(self, address, port):
        end = time.monotonic() + RENDEZVOUS_S
        while True:
            try:
                peer = socket.create_connection((address, port), timeout=EXCHANGE_S)
                break
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        peer.sendall(struct.pack("!II", self.rank, self.world))
        self.peers = [peer]

    def load(self, parameters, velocity):
        self.parameters, self.velocity = list(parameters), list(velocity)

    def state(self):
        return list(self.parameters), list(self.velocity)

    def share(self, values):
        """What rank 0 has, for every rank."""
        mine = values if self.rank == 0 else [0.0] * len(values)
        return self.total(mine)

    def total(self, values):
        """Sum over the ranks, added in rank order so that every run gives the same bits."""
        if self.rank == 0:
            total = list(values)
            for peer in self.peers:
                total = [a + b for a, b in zip(total, receive_floats(peer, len(values)))]
            for peer in self.peers:
                send_floats(peer, total)
            return total
        send_floats(self.peers[0], values)
        return receive_floats(self.peers[0], len(values))

    def step(self, points, stop):
        loss, gradient = self._gradient(points)
        total = self.total([loss, 1.0 if stop else 0.0] + gradient)
        for i, g in enumerate(total[2:]):
            self.velocity[i] = MOMENTUM * self.velocity[i] + g / self.world
            self.parameters[i] -= RATE * self.velocity[i]
        return total[0] / self.world, total[1] > 0

    def _gradient(self, points):
        """Mean loss (binary cross-entropy) and its gradient over the batch."""
        h = HIDDEN
        w1, b1, w2, b2, w3, b3 = split(self.parameters)
        g1, c1, g2, c2, g3, c3 = ([0.0] * size for size in SIZES)
        loss = 0.0
        for x, y, label in points:
            a1 = [math.tanh(w1[2 * j] * x + w1[2 * j + 1] * y + b1[j]) for j in range(h)]
            a2 = [math.tanh(sum(map(mul, w2[j * h:j * h + h], a1)) + b2[j]) for j in range(h)]
            z = sum(map(mul, w3, a2)) + b3[0]
            loss += max(z, 0) - z * label + math.log1p(math.exp(-abs(z)))
            d = 1 / (1 + math.exp(-max(-60.0, min(60.0, z)))) - label
            c3[0] += d
            e1 = [0.0] * h
            for j in range(h):
                g3[j] += d * a2[j]
                e = d * w3[j] * (1 - a2[j] * a2[j])
                c2[j] += e
                for k in range(h):
                    g2[j * h + k] += e * a1[k]
                    e1[k] += e * w2[j * h + k]
            for k in range(h):
                e = e1[k] * (1 - a1[k] * a1[k])
                g1[2 * k] += e * x
                g1[2 * k + 1] += e * y
                c1[k] += e
        n = len(points)
        return loss / n, [g / n for g in g1 + c1 + g2 + c2 + g3 + c3]

    def leave(self):
        """Nothing to do: the last exchange was whole, and the sockets close with the process."""


def mul(a, b):
    return a * b


def split(values):
    parts, at = [], 0
    for size in SIZES:
        parts.append(values[at:at + size])
        at += size
    return parts


def receive(peer, size):
    data = bytearray()
    while len(data) < size:
        part = peer.recv(size - len(data))
        if not part:
            raise ConnectionError("a rank has gone")
        data += part
    return bytes(data)


def send_floats(peer, values):
    peer.sendall(array("d", values).tobytes())


def receive_floats(peer, count):
    values = array("d")
    values.frombytes(receive(peer, 8 * count))
    return list(values)


class TorchEngine:
    """PyTorch: DistributedDataParallel over gloo."""

    name = "torch"

    def __init__(self, rank, world, address, port):
        import datetime
        import torch
        self.torch, self.rank, self.world = torch, rank, world
        torch.set_num_threads(1)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(2, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Tanh(),
            torch.nn.Linear(HIDDEN, 1)).double()
        self.loss = torch.nn.BCEWithLogitsLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE, momentum=MOMENTUM)
        self.parallel = self.model
        if world > 1:
            os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
            torch.distributed.init_process_group(
                "gloo", rank=rank, world_size=world, timeout=datetime.timedelta(seconds=RENDEZVOUS_S))
            self.parallel = torch.nn.parallel.DistributedDataParallel(self.model)

    def load(self, parameters, velocity):
        torch = self.torch
        with torch.no_grad():
            for p, shape, values, speed in zip(self.model.parameters(), SHAPES, split(parameters), split(velocity)):
                p.copy_(torch.tensor(values, dtype=torch.float64).reshape(shape))
                self.optimizer.state[p]["momentum_buffer"] = torch.tensor(speed, dtype=torch.float64).reshape(shape)

    def state(self):
        parameters, velocity = [], []
        for p in self.model.parameters():
            parameters += p.detach().flatten().tolist()
            velocity += self.optimizer.state[p]["momentum_buffer"].flatten().tolist()
        return parameters, velocity

    def share(self, values):
        t = self.torch.tensor(values, dtype=self.torch.float64)
        if self.world > 1:
            self.torch.distributed.broadcast(t, 0)
        return t.tolist()

    def step(self, points, stop):
        torch = self.torch
        xy = torch.tensor([p[:2] for p in points], dtype=torch.float64)
        label = torch.tensor([[float(p[2])] for p in points], dtype=torch.float64)
        self.optimizer.zero_grad(set_to_none=False)
        loss = self.loss(self.parallel(xy), label)
        loss.backward()
        total = torch.tensor([loss.item(), 1.0 if stop else 0.0], dtype=torch.float64)
        if self.world > 1:
            torch.distributed.all_reduce(total)
        self.optimizer.step()
        return total[0].item() / self.world, total[1].item() > 0

    def leave(self):
        """The last exchange: nobody's sockets close while another rank still uses them."""
        if self.world > 1:
            self.torch.distributed.barrier()


def choose_engine(wanted):
    if wanted == "python":
        return PythonEngine
    try:
        import torch.distributed
        if torch.distributed.is_available():
            return TorchEngine
    except ImportError:
        pass
    if wanted == "torch":
        raise SystemExit("train.py: PyTorch is not installed")
    return PythonEngine


# ---- being told to stop ---------------------------------------------------------------------------------

class Notice:
    """Listens for the order to stop: a line on SLUIS_NOTICE_FD, SIGTERM or SIGUSR1."""

    def __init__(self):
        self.cause = None
        self.met = False      # have the ranks met? Before that there is nobody to agree with
        self.fds = []
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)      # so that a signal ends the pause between steps
        self.wake = wake_read
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._on_signal)
        fd = os.environ.get("SLUIS_NOTICE_FD", "")
        if fd.isdigit():
            os.set_blocking(int(fd), False)
            self.fds.append(int(fd))
        self.line = b""

    def _on_signal(self, number, _frame):
        self.cause = self.cause or signal.Signals(number).name
        if not self.met:
            sys.exit(STOPPED)

    def wait(self, seconds):
        """Pause for `seconds`, or until told to stop. Returns the cause or None."""
        end = time.monotonic() + seconds
        while self.cause is None:
            left = max(0.0, end - time.monotonic())
            ready, _, _ = select.select(self.fds + [self.wake], [], [], left)
            for fd in ready:
                self._read(fd)
            if left == 0.0:
                break
        return self.cause

    def _read(self, fd):
        try:
            data = os.read(fd, 4096)
        except BlockingIOError:
            return
        if fd == self.wake:
            return
        if not data:          # the other end has gone: that alone is no order to stop
            self.fds.remove(fd)
            return
        self.line += data
        while b"\n" in self.line and self.cause is None:
            line, self.line = self.line.split(b"\n", 1)
            try:
                cause = str(json.loads(line).get("cause", "notice"))
            except (ValueError, AttributeError):
                cause = "notice"
            if cause != "resize":  # more or fewer nodes beside ours: nothing that stops these
                self.cause = cause


# ---- checkpoints ----------------------------------------------------------------------------------------

class Checkpoints:
    """checkpoint.json in SLUIS_CHECKPOINT_DIR: written whole under another name, synced, then renamed."""

    def __init__(self):
        folder = os.environ.get("SLUIS_CHECKPOINT_DIR")
        self.path = os.path.join(folder, "checkpoint.json") if folder else None
        report = os.environ.get("SLUIS_REPORT_FD", "")
        self.report_fd = int(report) if report.isdigit() else None

    def load(self):
        if self.path is None or not os.path.exists(self.path):
            return None
        with open(self.path, encoding="ascii") as f:
            saved = json.load(f)
        if len(saved["parameters"]) != sum(SIZES) or len(saved["velocity"]) != sum(SIZES):
            raise SystemExit(f"train.py: {self.path} is of another model")
        return saved

    def save(self, step, parameters, velocity):
        if self.path is None:
            return False
        folder = os.path.dirname(self.path)
        os.makedirs(folder, exist_ok=True)
        fresh = f"{self.path}.{os.getpid()}"
        with open(fresh, "w", encoding="ascii") as f:
            json.dump({"step": step, "parameters": parameters, "velocity": velocity}, f)
            f.flush()
            os.fsync(f.fileno())
        os.rename(fresh, self.path)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)
        self._report(step)
        return True

    def _report(self, step):
        if self.report_fd is None:
            return
        try:
            os.write(self.report_fd, json.dumps({"checkpoint": {"step": step}}).encode() + b"\n")
        except OSError as e:      # nobody listens any more: the checkpoint itself is good
            say(f"report failed: {e.strerror}")
            self.report_fd = None


# ---- the loop -------------------------------------------------------------------------------------------

def options():
    p = argparse.ArgumentParser(description="train a two-spiral classifier, data-parallel")
    p.add_argument("--steps", type=int, default=400, help="steps in all, earlier attempts included (400)")
    p.add_argument("--step-seconds", type=float, default=0.0, help="a step takes at least this long (0)")
    p.add_argument("--checkpoint-every", type=int, default=50, help="steps between checkpoints (50)")
    p.add_argument("--log-every", type=int, default=10, help="steps between lines (10)")
    p.add_argument("--batch", type=int, default=64, help="points per rank and step (64)")
    p.add_argument("--seed", type=int, default=1, help="seed of data and first weights (1)")
    p.add_argument("--engine", choices=("auto", "torch", "python"), default="auto")
    return p.parse_args()


def train(opt, engine, notice, checkpoints, rank, world):
    saved = checkpoints.load() if rank == 0 else None
    zeros = [0.0] * sum(SIZES)
    start = saved["step"] if saved else 0
    flat = engine.share([float(start)]
                        + (saved["parameters"] if saved else fresh_parameters(opt.seed))
                        + (saved["velocity"] if saved else zeros))
    step = int(flat[0])
    engine.load(flat[1:1 + len(zeros)], flat[1 + len(zeros):])
    if rank == 0:
        say(f"{'resumed' if step else 'started'} at step {step}, {world} ranks, engine {engine.name}")

    notice.met = True
    saved_step = step if saved else None
    while step < opt.steps:
        began = time.monotonic()
        # the data of a step depend on seed, step and rank alone: a resumed run sees what it would have seen
        rng = random.Random(f"{opt.seed}/{step}/{rank}")
        loss, stop = engine.step(spirals(rng, opt.batch), notice.wait(0) is not None)
        step += 1
        if rank == 0:
            if step % opt.log_every == 0 or step == opt.steps or stop:
                say(f"step {step} loss {loss:.4f}")
            if (stop or step == opt.steps or step % opt.checkpoint_every == 0) and \
                    checkpoints.save(step, *engine.state()):
                saved_step = step
        if stop:
            if rank == 0:
                what = "nothing saved: no SLUIS_CHECKPOINT_DIR" if saved_step is None else f"saved at step {saved_step}"
                say(f"stopped ({notice.cause or 'another rank was told'}), {what}")
            return STOPPED
        notice.wait(opt.step_seconds - (time.monotonic() - began))
    if rank == 0:
        say(f"done at step {step}")
    return 0


def main():
    opt = options()
    rank = int(os.environ.get("RANK", "0"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    notice = Notice()
    try:
        engine = choose_engine(opt.engine)(
            rank, world, os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "29500")))
        status = train(opt, engine, notice, Checkpoints(), rank, world)
        engine.leave()
    except (OSError, RuntimeError) as e:      # a peer is lost: gloo says so by RuntimeError
        say(f"rank {rank}: {e}")
        status = 1
    # All is saved and said. Tearing gloo's threads down (PyTorch 1.13) can spin for ever when the other
    # rank is gone already, so the process ends here without it.
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
