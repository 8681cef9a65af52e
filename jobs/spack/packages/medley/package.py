# Spack package of Medley. This folder is a repository of its own, and takes the checkout that it lies in as its source:
#
#   spack repo add jobs/spack
#   spack install medley ^openmpi schedulers=slurm
#
# Not there: compressed DICOM (GDCM has no package in Spack).
import os

from spack.package import *

try:  # since Spack 1.0 the build systems live beside the packages
    from spack_repo.builtin.build_systems.meson import MesonPackage
except ImportError:
    pass


class Medley(MesonPackage):
    """Multi-task pretraining of biomedical imaging encoders over MPI, the same bits on any number of ranks."""

    git = "file://" + os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", ".."))

    license("Apache-2.0")

    version("main", branch="main")

    # variant, its package in Spack, default; each is an option of meson_options.txt
    readers = (
        ("png", "libpng", True),
        ("jpeg", "jpeg", True),
        ("tiff", "libtiff", True),
        ("openslide", "openslide", False),
        ("expat", "expat", True),
        ("zip", "libzip", True),
        ("isal", "isa-l", True),
        ("deflate", "libdeflate", True),
        ("onednn", "onednn@2", False),
    )
    for _option, _package, _default in readers:  # names of the class: Spack has a `name` of its own
        variant(_option, default=_default, description="with " + _package)
        depends_on(_package, when="+" + _option)

    depends_on("c", type="build")
    depends_on("meson@1:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("hdf5@1.10: ~mpi+hl")
    depends_on("openblas threads=openmp")
    depends_on("libconfig")
    depends_on("jansson")
    depends_on("zlib-api")

    def meson_args(self):
        args = ["-Dmarch=", "-Dgdcm=disabled"]  # Spack's compiler wrapper names the CPU
        for option, _, _ in self.readers:
            args.append("-D%s=%s" % (option, "enabled" if "+" + option in self.spec else "disabled"))
        return args
