/* synth_sets: the table of synthetic data sets with the recipes that turn their source files into shards. */
#include "synth.h"

#define RECIPE_HEAD(name, title, modality)                                                                                    \
    "# Written by medley-data synth, next to the source files it describes; `medley-data convert` reads it like any recipe.\n" \
    "name = \"" name "\";\ntitle = \"" title "\";\nmodality = \"" modality "\";\nlicence = \"CC0 1.0\";\n"                    \
    "citation = \"synthetic phantoms of the program medley\";\norigin = \"medley-data synth\";\n\n"

const synth_set synth_sets[] = {
    {"synth-mr", "head MR phantoms: nested ellipsoids, coil field, Rician noise; NIfTI float32 volumes with uint8 label volumes",
     "0 background, 1 front, 2 back part of a curved structure on both sides", {28, 60}, synth_make_mr,
     RECIPE_HEAD("synth-mr", "Synthetic head MR with a curved two-part structure", "MR")
     "images = {\n"
     "    files = [\"images/{head}_{visit}.nii.gz\"];\n"
     "    pixel = \"f32\";\n    channels = 1;\n    subject = \"{head}\";\n    units = \"mm\";\n"
     "};\n"
     "range = { rule = \"percentile\"; lo = 0.5; hi = 99.5; };\n"
     "slices = { axis = \"axial\"; empty = \"cap\"; empty_share = 0.25; };\n"
     "labels = (\n"
     "    { name = \"structure\"; kind = \"segmentation\"; source = \"mask\"; file = \"labels/{head}_{visit}.nii.gz\";\n"
     "      classes = [\"background\", \"front\", \"back\"]; }\n"
     ");\n"
     "split = { fractions = [0.7, 0.15, 0.15]; seed = 1; };\n"},
    {"synth-ct", "pieces of chest CT around one nodule, in Hounsfield units; NIfTI int16 volumes with masks, and nodules.csv",
     "mask 1 nodule; nodules.csv, column diagnosis: benign (round, smooth, sometimes calcified) or malign (larger, lobed, spiculated)", {70, 160},
     synth_make_ct,
     RECIPE_HEAD("synth-ct", "Synthetic chest CT with one nodule a volume", "CT")
     "images = {\n"
     "    files = [\"images/{patient}_{nodule}.nii.gz\"];\n"
     "    pixel = \"i16\";\n    channels = 1;\n    subject = \"{patient}\";\n    units = \"mm\";\n"
     "};\n"
     "tables = ( { name = \"nodules\"; file = \"nodules.csv\"; match = [\"filename = {file}\"]; } );\n"
     "range = { rule = \"window\"; lo = -1000; hi = 400; };\n"
     "slices = { axis = \"axial\"; label = \"nodule\"; min_foreground = 4; empty = \"cap\"; empty_share = 0.15; };\n"
     "labels = (\n"
     "    { name = \"nodule\"; kind = \"segmentation\"; source = \"mask\"; file = \"masks/{patient}_{nodule}.nii.gz\";\n"
     "      classes = [\"background\", \"nodule\"]; },\n"
     "    { name = \"diagnosis\"; kind = \"classification\"; source = \"value\"; value = \"{nodules.diagnosis}\";\n"
     "      classes = [\"benign\", \"malign\"]; where = \"nodule\"; where_share = 0.5; }\n"
     ");\n"
     "split = { fractions = [0.7, 0.15, 0.15]; seed = 1; stratify = \"diagnosis\"; };\n"},
    {"synth-blood", "stained blood smears: red cells, white cells, platelets; RGB PNG with Pascal VOC boxes",
     "boxes of RBC (pale centre), WBC (large, dark lobed nucleus), Platelet (tiny)", {60, 150}, synth_make_blood,
     RECIPE_HEAD("synth-blood", "Synthetic blood smears with boxes of three kinds of cells", "blood smear")
     "images = {\n"
     "    files = [\"images/{slide}_{field}.png\"];\n"
     "    pixel = \"u8\";\n    channels = 3;\n    subject = \"{slide}\";\n"
     "};\n"
     "labels = (\n"
     "    { name = \"cells\"; kind = \"detection\"; source = \"voc\"; file = \"annotations/{stem}.xml\"; one_based = true;\n"
     "      classes = [\"RBC\", \"WBC\", \"Platelet\"]; }\n"
     ");\n"
     "split = { fractions = [0.7, 0.15, 0.15]; seed = 1; };\n"},
    {"synth-xray", "chest X-rays: attenuation integrated through a phantom of ellipsoids, logarithm and photon noise; grey PNG and films.csv",
     "films.csv, columns view (PA: beam from behind, AP: from the front, heart larger, shoulder blades over the lungs) and finding (opacity, clear)",
     {100, 250}, synth_make_xray,
     RECIPE_HEAD("synth-xray", "Synthetic chest X-rays, view and finding", "X-ray")
     "images = {\n"
     "    files = [\"images/{patient}_{film}.png\"];\n"
     "    pixel = \"u8\";\n    channels = 1;\n    subject = \"{patient}\";\n"
     "};\n"
     "tables = ( { name = \"films\"; file = \"films.csv\"; match = [\"filename = {file}\"]; } );\n"
     "labels = (\n"
     "    { name = \"view\"; kind = \"classification\"; source = \"value\"; value = \"{films.view}\"; classes = [\"PA\", \"AP\"]; },\n"
     "    { name = \"finding\"; kind = \"classification\"; source = \"value\"; value = \"{films.finding}\"; classes = [\"clear\", \"opacity\"]; }\n"
     ");\n"
     "split = { fractions = [0.7, 0.15, 0.15]; seed = 1; stratify = \"finding\"; };\n"},
    {"synth-histo", "stained tissue tiles of three kinds, RGB PNG in one folder per class",
     "folder: gland (rings of nuclei around an opening), sheet (dense large nuclei), septa (thin walls between air spaces)", {34, 80},
     synth_make_histo,
     RECIPE_HEAD("synth-histo", "Synthetic stained tissue, three kinds", "histology")
     "images = {\n"
     "    files = [\"tiles/{tissue}/{patient}_{tile}.png\"];\n"
     "    pixel = \"u8\";\n    channels = 3;\n    id = \"{tissue}/{stem}\";\n    subject = \"{patient}\";\n"
     "};\n"
     "labels = (\n"
     "    { name = \"tissue\"; kind = \"classification\"; source = \"value\"; value = \"{tissue}\"; classes = [\"gland\", \"sheet\", \"septa\"]; }\n"
     ");\n"
     "split = { fractions = [0.7, 0.15, 0.15]; seed = 1; };\n"},
    {0}};
