"""make_names.py [--check DIR]: asks torchvision, timm and Hugging Face transformers for names and shapes of the weights of Swin encoders and
writes tests/parity/ref/names_PROGRAM.txt. --check compares with stored files (TAP), programs that are not installed are left out.

File: a line "names NAMING PROGRAM VERSION", per encoder a line "encoder NAME" and a line "NAME SHAPE" for each tensor of its state_dict but
those of the classifier ([] is a number, [2,3] two rows of three)."""
import argparse
import os
import sys

HEADS = ("head.", "classifier.")


def torchvision_nets():
    import torchvision
    from torchvision.models import swin_transformer as tv
    yield "torchvision", torchvision.__version__
    for encoder in ("swin_t", "swin_v2_t", "swin_b"):
        yield encoder, getattr(tv, encoder)()


def timm_nets():
    import timm
    yield "timm", timm.__version__
    for encoder, model in (("swin_t", "swin_tiny_patch4_window7_224"), ("swin_v2_t", "swinv2_tiny_window8_256"), ("swin_b", "swin_base_patch4_window7_224")):
        yield encoder, timm.create_model(model)


def huggingface_nets():
    import transformers as hf
    yield "transformers", hf.__version__
    yield "swin_t", hf.SwinForImageClassification(hf.SwinConfig())
    yield "swin_v2_t", hf.Swinv2ForImageClassification(hf.Swinv2Config(window_size=8, image_size=256))
    yield "swin_b", hf.SwinForImageClassification(hf.SwinConfig(embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]))


def lines(naming, nets):
    program, version = next(nets)
    out = [f"names {naming} {program} {version}"]
    for encoder, net in nets:
        out.append(f"encoder {encoder}")
        out += [f"{k} [{','.join(map(str, v.shape))}]" for k, v in net.state_dict().items() if not k.startswith(HEADS)]
    return out


def main():
    ap = argparse.ArgumentParser()
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--check", metavar="DIR")
    a = ap.parse_args()
    number = bad = 0
    for naming, nets in (("torchvision", torchvision_nets), ("timm", timm_nets), ("huggingface", huggingface_nets)):
        path = os.path.join(a.check or os.path.join(here, "ref"), f"names_{naming}.txt")
        number += 1
        try:
            got = lines(naming, nets())
        except ImportError as e:
            print(f"ok {number} - {naming} # SKIP {e}" if a.check else f"{naming}: {e}")
            continue
        if not a.check:
            open(path, "w").write("\n".join(got) + "\n")
            print(path, len(got), "lines")
            continue
        want = open(path).read().splitlines()
        good = sorted(got[1:]) == sorted(want[1:])  # another version may have the same names
        bad += not good
        print(f"{'ok' if good else 'not ok'} {number} - {got[0]}, stored by {want[0]}", flush=True)
    if a.check:
        print(f"1..{number}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
