"""The direction of dependency: which module may know which.

One table for both tests of this folder. A folder below a module (client/torch,
aggregation/secagg) belongs to the module and may know what is listed for it on
top.
"""

_LEAVES = {"core", "proto"}
_PARTS = _LEAVES | {"identity", "privacy", "aggregation", "model", "task"}

MAY_KNOW = {
    "core": set(),
    "proto": set(),
    "identity": _LEAVES,
    # Its program reads a configuration file.
    "identity/registrar": _LEAVES | {"task"},
    "privacy": _LEAVES,
    "aggregation": _LEAVES,
    "aggregation/secagg": _LEAVES | {"identity"},
    "model": _LEAVES | {"identity"},
    "task": _LEAVES,
    "client": _PARTS,
    "coordinator": _PARTS,
    "simulation": _PARTS | {"client", "coordinator"},
    "cli": _PARTS | {"client", "coordinator", "simulation"},
}

MODULES = sorted(name for name in MAY_KNOW if "/" not in name)


def module_of(folder):
    """The module that a folder such as "client/torch" belongs to, or None."""
    module = folder.split("/")[0]
    return module if module in MODULES else None


def may_include(folder, module):
    """Whether a file in `folder` may see headers of `module`."""
    own = module_of(folder)
    allowed = set(MAY_KNOW[own])
    for name, more in MAY_KNOW.items():
        if folder == name or folder.startswith(name + "/"):
            allowed |= more
    return module == own or module in allowed
