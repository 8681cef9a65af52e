"""series_check: converted DICOM series against pydicom and nibabel. Exit code 1 if something differs, 77 if a package is missing.
Usage: series_check.py SHARDS SOURCES"""
import glob
import sys

try:
    import h5py
    import nibabel
    import numpy as np
    import pydicom
except ImportError as e:
    print(e)
    sys.exit(77)

shards, sources = sys.argv[1:3]


def to_lps(array, affine):
    """(x,y,z) with its affine, turned to left, back, head, as (z,y,x); and the size of its voxels in that order."""
    want = nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(affine), want)
    out = nibabel.orientations.apply_orientation(array, turn)
    size = np.sqrt((affine[:3, :3] ** 2).sum(0))
    return out.transpose(2, 1, 0), size[[int(np.where(turn[:, 0] == k)[0][0]) for k in (2, 1, 0)]]


def load_series(folder):
    files = [pydicom.dcmread(f) for f in glob.glob(f"{glob.escape(folder)}/*")]
    u, v = np.array(files[0].ImageOrientationPatient[:3], float), np.array(files[0].ImageOrientationPatient[3:], float)
    files.sort(key=lambda d: np.dot(np.cross(u, v), np.array(d.ImagePositionPatient, float)))
    first, last = (np.array(d.ImagePositionPatient, float) for d in (files[0], files[-1]))
    affine = np.eye(4)
    affine[:3, 0] = u * float(files[0].PixelSpacing[1])
    affine[:3, 1] = v * float(files[0].PixelSpacing[0])
    affine[:3, 2] = (last - first) / (len(files) - 1)
    affine[:3, 3] = first
    affine[:2] *= -1
    return np.stack([d.pixel_array for d in files]).transpose(2, 1, 0), affine


def shard(name):
    return h5py.File(f"{shards}/{name}/{name}-00000.h5", "r")


h = shard("mr-brain-tumour")
for patient in ("PGBM-001", "PGBM-003"):
    rows = [i for i, s in enumerate(h["subject"][:]) if s.decode() == patient]
    rows.sort(key=lambda i: h["slice"][i])
    for word, ours in (("T1post", h["image"]), ("MaskTumor", h["label/tumour/mask"])):
        folder = glob.glob(f"{sources}/mr-brain-tumour/dicom/{patient}/*/*{word}*")[0]
        volume, size = to_lps(*load_series(folder))
        assert len(rows) == len(volume), (patient, len(rows), volume.shape)
        for k, i in enumerate(rows):
            mine = ours[i, : h["size"][i][0], : h["size"][i][1]]
            assert np.array_equal(mine.reshape(volume[k].shape), volume[k]), (patient, word, k)
            assert np.allclose(h["spacing"][i], size[1:], rtol=1e-5), (patient, h["spacing"][i], size)

# The CT is JPEG 2000, which pydicom alone does not read: the labels against nibabel, the pixels by the median that tissue must have in HU.
h = shard("ct-multiorgan-totalseg")
label = nibabel.load(f"{sources}/ct-multiorgan-totalseg/example_seg_dicom.nii.gz")
volume, size = to_lps(np.asanyarray(label.dataobj), label.affine)
order = np.argsort(h["slice"][:])
assert np.array_equal(h["label/organs/mask"][:][order], volume), "labels"
assert np.allclose(h["spacing"][0], size[1:]), (h["spacing"][0], size)
hu = h["image"][:][order].reshape(volume.shape).astype(float)
for number, low, high in ((1, 50, 200), (5, 40, 200), (52, 80, 400), (79, 0, 80)):  # spleen, liver, aorta with contrast, spinal cord
    mean = np.median(hu[volume == number])
    assert low < mean < high, (number, mean)
assert hu[:, :8, :8].max() < -900, "air in the corner"
