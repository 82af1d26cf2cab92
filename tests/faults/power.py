"""What a power failure may leave: a recorder of all that a command does to files, and the disks
that there may be after any part of it.

What was written to a file is there once the file was flushed, and where a name leads once its
folder was: until then each change of a folder is on the disk or not, whatever the others. That is
less than most file systems promise.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest

FEW = 4  # changes of folders of which all subsets are tried
Tree = dict[str, bytes]  # files by their path under the root


@dataclass(eq=False)
class Content:
    """What a file holds: all of it, and what of it has been flushed."""

    now: bytes = b""
    flushed: bytes = b""


@dataclass
class Change:
    """Of a folder: a name that leads to a file, to a folder, or no longer anywhere."""

    folders: tuple[str, ...]
    names: dict[str, Content | str | None]  # "folder" for one


@dataclass
class Disk:
    """Names that are on the disk for good, and changes that may be, in their order."""

    kept: dict[str, Content | str] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def trees(self) -> Iterator[Tree]:
        """All files that may be left now."""
        number = len(self.pending)
        if number <= FEW:
            chosen = chain(*(combinations(range(number), n) for n in range(number + 1)))
        else:
            alone = [(n,) for n in range(number)]
            others = [tuple(m for m in range(number) if m != n) for n in range(number)]
            chosen = chain([(), tuple(range(number))], alone, others)
        for places in chosen:
            names = dict(self.kept)
            for place in places:
                _apply(names, self.pending[place])
            yield _files(names, torn=False)
            yield _files(names, torn=True)

    def surely(self) -> Tree:
        """The files that are left in any case."""
        return _files(self.kept, torn=False)


def _apply(names: dict[str, Content | str], change: Change) -> None:
    for path, found in change.names.items():
        if found is None:
            names.pop(path, None)
        else:
            names[path] = found


def _files(names: dict[str, Content | str], torn: bool) -> Tree:
    """The files of which all folders are there; of what was not flushed half of it, or nothing."""
    tree = {}
    for path, found in names.items():
        parents = [str(p) for p in Path(path).parents if str(p) != "."]
        if isinstance(found, Content) and all(p in names for p in parents):
            lost = found.now[: len(found.now) // 2] if torn else found.flushed
            tree[path] = found.flushed if found.now == found.flushed else lost
    return tree


class Recorder:
    """Follows what is done under a folder; `trees` are all that a power failure may have left."""

    def __init__(self, root: Path) -> None:
        self.root, self.disk = root, Disk()
        self.names: dict[str, Content | str] = {}
        for path in sorted(root.rglob("*")):
            raw = b"" if path.is_dir() else path.read_bytes()
            self.names[self.inside(path) or ""] = "folder" if path.is_dir() else Content(raw, raw)
        self.disk.kept = dict(self.names)
        self.trees: dict[frozenset[tuple[str, bytes]], Tree] = {}
        self.written: set[tuple[str, bytes]] = set()  # whole files, moved to their place
        self.flushes = 0
        self.look()

    def inside(self, path: Any) -> str | None:
        """The path under the root, None for one elsewhere."""
        whole = os.path.abspath(os.fsdecode(path))
        return os.path.relpath(whole, self.root) if whole.startswith(f"{self.root}/") else None

    def look(self) -> None:
        """Note what may be left now; trees that differ in hidden files alone are one."""
        for tree in self.disk.trees():
            seen = frozenset((p, raw) for p, raw in tree.items() if is_shown(p))
            self.trees.setdefault(seen, tree)

    def change(self, names: dict[str, Content | str | None]) -> None:
        """A change of folders, of names by their paths."""
        folders = tuple(dict.fromkeys(str(Path(path).parent) for path in names))
        made = Change(folders, names)
        _apply(self.names, made)
        self.disk.pending.append(made)

    def read(self, path: str) -> None:
        """Take what a file holds now."""
        found = self.names.get(path)
        if isinstance(found, Content) and (self.root / path).is_file():
            found.now = (self.root / path).read_bytes()

    def event(self, name: str, args: tuple[Any, ...]) -> None:
        """One of Python's audit events, before it happens."""
        if name == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            path = None if isinstance(args[0], int) else self.inside(args[0])
            if path is not None and path not in self.names:
                self.change({path: Content()})
        elif name == "os.mkdir":
            path = self.inside(args[0])
            if path is not None and path not in self.names:
                self.change({path: "folder"})
        elif name in ("os.remove", "os.rmdir") and args[1] == -1:
            path = self.inside(args[0])
            if path is not None and path in self.names:
                self.change({path: None})
        elif name == "os.rename":
            old, new = self.inside(args[0]), self.inside(args[1])
            if old is not None and new is not None and old in self.names:
                self.read(old)
                self.look()  # what is written and not flushed may be left torn
                self.change({old: None, new: self.names[old]})
                if isinstance(found := self.names[new], Content):
                    self.written.add((new, found.now))
        else:
            return
        self.look()

    def flushed(self, handle: int) -> None:
        """A file or a folder has been flushed."""
        path = self.inside(os.readlink(f"/proc/self/fd/{handle}"))
        whole = os.readlink(f"/proc/self/fd/{handle}")
        path = "." if whole == str(self.root) else path
        if path is None:
            return
        self.flushes += 1
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            for change in [c for c in self.disk.pending if path in c.folders]:
                _apply(self.disk.kept, change)
                self.disk.pending.remove(change)
        elif isinstance(found := self.names.get(path), Content):
            self.read(path)
            found.flushed = found.now
        self.look()

    def lost(self) -> list[str]:
        """What is not on the disk for good, of all that is shown."""
        sure = self.disk.surely()
        there = {
            str(p.relative_to(self.root)): p.read_bytes()
            for p in self.root.rglob("*")
            if p.is_file()
        }
        paths = {*sure, *there}
        return sorted(p for p in paths if is_shown(p) and sure.get(p) != there.get(p))


def is_shown(path: str) -> bool:
    """Whether a file is one of a run's results: no temporary file, and none of TensorBoard's, which
    is written line by line.
    """
    hidden = any(part.startswith(".") for part in Path(path).parts)
    return not hidden and not Path(path).name.startswith("events.out.tfevents")


_following: list[Recorder] = []


def _hook(name: str, args: tuple[Any, ...]) -> None:
    for recorder in _following:
        recorder.event(name, args)


@contextmanager
def recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Follow what is done under a folder."""
    if not hasattr(sys, "_follows_files"):
        sys.addaudithook(_hook)  # for as long as Python runs
        sys._follows_files = True  # type: ignore[attr-defined]
    recorder, flush = Recorder(root.resolve()), os.fsync

    def fsync(handle: Any) -> None:
        flush(handle)
        recorder.flushed(handle if isinstance(handle, int) else handle.fileno())

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        _following.append(recorder)
        try:
            yield recorder
        finally:
            _following.remove(recorder)


def laid_out(tree: Tree, root: Path) -> Path:
    """A folder with these files."""
    root.mkdir()
    for path, raw in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(raw)
    return root
