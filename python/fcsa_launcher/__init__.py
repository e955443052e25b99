"""The `fcsa` command of the package, without importing it, and with it torch."""
import importlib.util
import os
import sys


def program():
    """The path of the program."""
    package = importlib.util.find_spec("flash_cosine_sim_attention")
    for folder in package.submodule_search_locations if package else ():
        path = os.path.join(folder, "bin", "fcsa")
        if os.path.exists(path):
            return path
    sys.exit("fcsa: the program is missing from the package flash_cosine_sim_attention: pip install --force-reinstall fcsa")


def main():
    path = program()
    os.execv(path, [path, *sys.argv[1:]])
