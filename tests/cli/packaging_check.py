"""What the Spack package says, with stand-ins for Spack's directives: its options are those of meson_options.txt, and each is passed on.
Usage: packaging_check.py PACKAGE.py MESON_OPTIONS"""
import re
import sys
import types

said = {"variant": {}, "depends_on": [], "version": []}
stub = types.ModuleType("spack.package")
stub.variant = lambda name, default=None, description="": said["variant"].__setitem__(name, default)
stub.depends_on = lambda spec, **more: said["depends_on"].append((spec, more.get("when")))
stub.version = lambda name, **more: said["version"].append((name, more))
stub.license = lambda name: said.__setitem__("license", name)
stub.MesonPackage = type("MesonPackage", (), {"name": "medley"})
stub.__all__ = ["variant", "depends_on", "version", "license", "MesonPackage"]
sys.modules["spack"] = types.ModuleType("spack")
sys.modules["spack.package"] = stub

sys.dont_write_bytecode = True
text = open(sys.argv[1]).read()
space = {"__file__": sys.argv[1], "__name__": "package"}
exec(compile(text, sys.argv[1], "exec"), space)
package = space["Medley"]

features = set(re.findall(r"^option\('(\w+)', type : 'feature'", open(sys.argv[2]).read(), re.M))
assert features == set(said["variant"]) | {"gdcm"}, (features, said["variant"])
assert {when for _, when in said["depends_on"] if when} == {"+" + name for name in said["variant"]}, said["depends_on"]
assert said["license"] == "Apache-2.0" and said["version"] and package.git.startswith("file:///")
assert package().name == "medley", "a name of Spack's own is taken"

class Spec:
    def __init__(self, words): self.words = words
    def __contains__(self, word): return word in self.words

for words in (set(), {"+tiff"}, {"+" + name for name in said["variant"]}):
    made = package()
    made.spec = Spec(words)
    args = dict(a[2:].split("=") for a in made.meson_args())
    assert set(args) == features | {"march"}, args
    for name in said["variant"]:
        assert args[name] == ("enabled" if "+" + name in words else "disabled"), (name, args)
